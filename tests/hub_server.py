"""A hub on this machine: the part of the Hugging Face hub's protocol that making, filling and reading a model
repository takes. Files go by LFS or inside the commit, as the real one asks by their kind."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN, OWNER, COMMIT = "a-token-of-the-test", "somebody", "1" * 40


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        repos: The files of each repository.
        private: Which of them are.
        objects: What LFS was given, by sha256.
        refusal: A status that every writing request is answered with.
        asked: (method, path) of each request.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    refusal: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def hub() -> Iterator[Hub]:
    """A running one."""
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request; the base class calls a method by the request's own."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """The test's output is no log of requests."""

    def do_HEAD(self) -> None:
        self._take(self._read)

    def do_GET(self) -> None:
        self._take(self._read)

    def do_POST(self) -> None:
        self._take(self._write)

    def do_PUT(self) -> None:
        """An LFS object: its address was signed, and no token comes with it."""
        self.hub.asked.append((self.command, self.path))
        body = self._body()
        self.hub.objects[hashlib.sha256(body).hexdigest()] = body
        self._answer(200, {})

    def _take(self, answer: Any) -> None:
        self.hub.asked.append((self.command, self.path))
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"})
        else:
            answer(urlsplit(unquote(self.path)).path, body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _write(self, path: str, body: bytes) -> None:
        if self.hub.refusal is not None:
            self._answer(self.hub.refusal, {"error": "refused by the test"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            _, head, _ = json.loads(body)["content"].split("---\n", 2)
            known = isinstance(yaml.safe_load(head), dict)
            self._answer(200 if known else 400, {"errors": [] if known else [{"message": "no metadata"}]})
        elif path.endswith("/preupload/main"):
            self._answer(200, {"files": [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                 "shouldIgnore": False} for file in json.loads(body)["files"]]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._answer(200, {"transfer": "basic", "objects": [
                one | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]]})
        elif path.endswith("/commit/main"):
            self._commit(path.removeprefix("/api/models/").removesuffix("/commit/main"), body)
        else:
            self._answer(404, {"error": f"no {path}"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or OWNER}/{asked['name']}"
        if name in self.hub.repos:
            self._answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
            return
        self.hub.repos[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.hub.private[name] = asked.get("visibility") == "private"
        self._answer(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def _commit(self, repo: str, body: bytes) -> None:
        files = self.hub.repos[repo]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        self._answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}"})

    def _read(self, path: str, _: bytes) -> None:
        if path == "/api/models":
            self._answer(200, [])
            return
        if path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").partition("/revision/")[0]
            name, _, tree = name.partition("/tree/")
            if name not in self.hub.repos:
                self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            elif tree:
                self._answer(200, [{"type": "file", "path": file, "size": len(content), "oid": "0" * 40}
                                   for file, content in self.hub.repos[name].items()])
            else:
                self._answer(200, {"id": name, "sha": COMMIT, "private": self.hub.private[name], "tags": [],
                                   "siblings": [{"rfilename": file} for file in self.hub.repos[name]]})
            return
        repo, _, place = path.lstrip("/").partition("/resolve/")
        content = self.hub.repos.get(repo, {}).get(place.partition("/")[2])
        if content is None:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

"""A request is refused before anything is done with it where it is not meant for this machine, or is too long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from llmtrain.demo import guard
from llmtrain.demo.guard import Guard

JSON = ("content-type", "application/json")
HOST = ("host", "localhost:8000")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def ask(*headers: tuple[str, str], method: str = "GET", pieces: Sequence[bytes | None] = (b"",), characters: int = 10,
        ) -> tuple[int, Any, dict[str, str]]:
    """(status, body, headers) of a request; a piece that is None never comes."""
    sent: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        piece = left.pop(0)
        if piece is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "scheme": "http", "path": "/",
             "headers": [(name.encode(), value.encode()) for name, value in headers]}
    asyncio.run(Guard(echo, characters, 2)(scope, receive, send))
    body = b"".join(one.get("body", b"") for one in sent)
    return sent[0]["status"], json.loads(body) if sent[0]["status"] != 200 else body, {
        name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "LocalHost:1", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machine_by_its_names_is_answered(host: str) -> None:
    status, _, headers = ask(("host", host))
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("hosts", [["evil.example"], ["localhost.evil.example"], ["localhost:8000@evil.example"], [],
                                   ["127.0.0.1.nip.io"], ["localhost", "evil.example"], ["192.168.0.3:8000"]])
def test_another_name_is_refused(hosts: list[str]) -> None:
    """A page whose own name was made to lead to this machine is let read nothing (DNS rebinding)."""
    status, told, headers = ask(*(("host", host) for host in hosts))
    assert status == 403 and "localhost alone" in told["error"] and "content-security-policy" in headers


def test_a_page_of_another_origin_cannot_make_models_work() -> None:
    body = [b'{"rows": []}']
    assert ask(HOST, JSON, ("origin", "http://localhost:8000"), method="POST", pieces=body)[0] == 200
    for origin in ("http://evil.example", "null", "http://localhost:9000", "https://localhost:8000"):
        assert ask(HOST, JSON, ("origin", origin), method="POST", pieces=body)[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert ask(HOST, ("content-type", kind), method="POST", pieces=body)[0] == 415
    assert ask(HOST, method="POST", pieces=body)[0] == 415
    assert ask(HOST, ("content-type", "Application/JSON; charset=utf-8"), method="POST", pieces=body)[0] == 200


def test_a_long_body_is_refused_by_its_length_or_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BESIDE_TEXTS", 0)
    assert ask(HOST, JSON, method="POST", pieces=[b"x" * 60, b"y" * 60])[1] == b"x" * 60 + b"y" * 60
    status, told, _ = ask(HOST, JSON, ("content-length", "121"), method="POST", pieces=[None])
    assert status == 413 and "longer than 10 characters (demo.max_characters)" in told["error"]
    assert ask(HOST, JSON, ("content-length", "9" * 400), method="POST", pieces=[None])[0] == 413
    assert ask(HOST, JSON, method="POST", pieces=[b"x" * 60, b"y" * 61, None])[0] == 413


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS_FOR_A_BODY", 0.05)
    status, told, _ = ask(HOST, JSON, method="POST", pieces=[b"{", None])
    assert status == 408 and told["error"].startswith("the body did not come")


def test_few_requests_are_read_at_one_time() -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    app = Guard(waits, 10, 2)

    async def one() -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "scheme": "http", "headers": [(b"host", b"localhost")]}
        await app(scope, receive, send)
        return int(sent[0]["status"])

    async def several() -> list[int]:
        return [*await asyncio.gather(*(one() for _ in range(5))), await one()]

    assert asyncio.run(several()) == [200, 200, 503, 503, 503, 200]

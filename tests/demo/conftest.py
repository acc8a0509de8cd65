"""Small trained models of every task, and a server of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_multi_of_every_task import TASKS, write_data

import several
from helpers import environment, pairs, warm_cli, write_jsonl
from warm.libraries import python


class Client:
    """Asks a server of this machine."""

    def __init__(self, port: int, process: Any = None) -> None:
        self.port, self.process = port, process

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, seconds: float = 60,
            ) -> tuple[int, str, Mapping[str, str]]:
        """(status, text, headers); a POST of JSON where there is a body, of bytes as they are."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, sent, {
                "Host": f"localhost:{self.port}", **({} if body is None else {"Content-Type": "application/json"}),
                **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def predict(self, **body: Any) -> Any:
        """What POST /predict answers, which must be 200."""
        status, text, _ = self.ask("/predict", body)
        assert status == 200, text
        return json.loads(text)

    def refused(self, status: int, **body: Any) -> str:
        """The line that POST /predict refuses with."""
        found, text, _ = self.ask("/predict", body)
        assert found == status, text
        told = json.loads(text)
        assert list(told) == ["error"] and "\n" not in told["error"]
        return str(told["error"])


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Client]:
    """``llmtrain demo ARGUMENTS`` in a process of its own, until the block ends."""
    process = subprocess.Popen([python(), "-m", "llmtrain", "demo", *arguments, "--port", "0"], cwd=folder,
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = []
        while "http://localhost:" not in (line := process.stdout.readline()):
            lines.append(line)
            assert line, (lines, process.stderr and process.stderr.read())
        yield Client(int(line.split("localhost:")[1].split("/")[0]), process)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tiny_base_mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one task (runs/one, runs/two) and a run of all of them (runs/every)."""
    if absent := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        pytest.skip(f"needs {' and '.join(absent)}: pip install 'llmtrain[dev]'")
    folder = write_data(tmp_path_factory.mktemp("demo"))
    write_jsonl(folder / "train.jsonl", pairs(24))
    write_jsonl(folder / "held.jsonl", [*pairs(3, 9), {"id": "hostile", "document": HOSTILE, "summary": HOSTILE[:40]}])
    for name, layers in (("one", 1), ("two", 2)):
        made = warm_cli("train", f"model.path={tiny_base}", f"data.cache_dir={folder / 'cache'}", "data=files",
                        "data.train=train.jsonl", "data.validation=held.jsonl", "data.test=held.jsonl",
                        "data.max_source_tokens=40", f"head.layers={layers}", "trainer.batch_size=8",
                        "trainer.max_steps=3", "generation.max_new_tokens=6", "eval.bootstrap_samples=5",
                        f"run.name={name}", f"run.seed={layers}", cwd=folder)
        assert made.returncode == 0, made.stderr
    made = several.train(tiny_base_mlm, folder, "run.name=every", "data.max_validation_rows=2", "data.max_test_rows=2",
                         tasks=TASKS)
    assert made.returncode == 0, made.stderr
    return folder


HOSTILE = ("<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> the red tree 😀 "
           "loads a file; مرحبا \u202e&lt;b&gt; {{ 7*7 }} ${document.title='owned'}")


@pytest.fixture(scope="session")
def client(trained: Path) -> Iterator[Client]:
    """A server of all three runs."""
    with served(trained, "checkpoint=runs/one", "checkpoint=runs/two", "checkpoint=runs/every") as made:
        yield made

"""Many clients of ``llmtrain demo`` at once: how long each waits, how many rows a second, how much memory.

    python scripts/benchmarks/demo_load.py runs/NAME precision=bf16 [--clients 64] [--requests 4] [--rows FILE.jsonl]

Each client sends the next row of a data file (default: the run's own predictions.jsonl) once its last one was answered
or refused, first with rows decoded together, then (``demo.batch=1``) each by itself, and compares every answer with
that of ``llmtrain predict``. What is behind the run is given to both.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from common import table

COLUMNS = ("prediction", "references", "scores", "copied", "sentences", "citations", "label", "id", "task")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=4, help="of each client")
    parser.add_argument("--queue", type=int, default=64, help="demo.queue")
    parser.add_argument("--batch", type=int, default=16, help="demo.batch")
    parser.add_argument("--rows", type=Path)
    given, overrides = parser.parse_known_args()
    source = given.rows or given.run / "predictions.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()[:given.clients]
    rows = [{name: value for name, value in json.loads(line).items() if name not in COLUMNS} for line in lines]
    wanted = predicted(given.run, rows, overrides)
    shown = [measured(given, rows, wanted, [*overrides, f"demo.batch={batch}", f"demo.queue={given.queue}"], batch)
             for batch in dict.fromkeys((given.batch, 1))]
    print(table(["rows together", "answered", "429", "rows a second", "median s", "95 % s", "longest s",
                 "memory before", "highest", "other texts than predict's"], shown))


def predicted(run: Path, rows: list[dict[str, Any]], overrides: list[str]) -> list[str]:
    """What ``llmtrain predict`` gives for each row alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        done = subprocess.run([sys.executable, "-m", "llmtrain", "predict", f"checkpoint={run}", f"input={file.name}",
                               "predict.format=jsonl", "predict.batch=1", *overrides], capture_output=True, text=True,
                              check=True)
    return [json.loads(line)["prediction"] for line in done.stdout.splitlines()]


def measured(given: Any, rows: list[dict[str, Any]], wanted: list[str], overrides: list[str], batch: int) -> list[Any]:
    """A row of the table, of a server of its own."""
    server = subprocess.Popen([sys.executable, "-m", "llmtrain", "demo", f"checkpoint={given.run}", "--port", "0",
                               "demo.timeout_seconds=600", *overrides], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = next(int(found[1]) for line in server.stdout if (found := re.search(r"http://localhost:(\d+)/", line)))
    try:
        ask(port, rows[0])  # the first one warms everything up
        before = memory(server.pid, "VmRSS")
        seconds: list[float] = []
        statuses: Counter[int] = Counter()
        different: list[int] = []

        def client(number: int) -> None:
            for turn in range(given.requests):
                which = (number + turn) % len(rows)
                begun = time.monotonic()
                status, answer = ask(port, rows[which])
                statuses[status] += 1
                if status == 200:
                    seconds.append(time.monotonic() - begun)
                    if answer["models"][0]["answers"][0]["prediction"] != wanted[which]:
                        different.append(which)
                else:
                    time.sleep(0.2)

        begun = time.monotonic()
        clients = [threading.Thread(target=client, args=(number,)) for number in range(given.clients)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        passed = time.monotonic() - begun
        ordered = sorted(seconds)
        return [batch, statuses[200], statuses[429], f"{statuses[200] / passed:.1f}",
                *(f"{ordered[int(share * (len(ordered) - 1))]:.2f}" for share in (0.5, 0.95, 1)),
                f"{before:.0f} MiB", f"{memory(server.pid, 'VmHWM'):.0f} MiB", len(different)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def ask(port: int, row: dict[str, Any]) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=900)
    try:
        connection.request("POST", "/predict", json.dumps({"rows": [row]}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def memory(process: int, which: str) -> float:
    """MiB of a process: ``VmRSS`` now, ``VmHWM`` at most so far."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which)) / 1024


if __name__ == "__main__":
    main()

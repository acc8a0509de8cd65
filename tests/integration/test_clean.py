"""``llmtrain clean``: shows and removes what unfinished work left, and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import environment, warm_cli
from llmtrain.core.lock import FolderLock
from llmtrain.fetch.packaged_bases import PACKAGED_BASES
from llmtrain.integrity.clean import leftovers, take_away

CONFIG = "head:\n  layers: 1\nobjective:\n  lam: 0.5\nrun:\n  name: x\ntrainer:\n  max_steps: 4\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs in every state, a cache, and things that belong to somebody."""
    root = tmp_path / "runs"
    for name in ("good", "dead", "empty", "busy", "others"):
        (root / name).mkdir(parents=True)
        (root / name / ".lock").touch()
        (root / name / "config.yaml").write_text(CONFIG)
    for name in ("good", "busy"):
        (root / name / "checkpoints/step-4").mkdir(parents=True)
        (root / name / "checkpoints/.tmp-step-6").mkdir()
        (root / name / "checkpoints/.tmp-step-6/part").write_bytes(b"x" * 2000)
    (root / "good/checkpoints/.tmp-pruned-step-2").mkdir()
    (root / "good/.tmp-results.json-17").write_text("{")
    (root / "dead/environment.json").write_text("{}")
    (root / "dead/metrics.jsonl").write_text("")
    (root / "others/thesis.txt").write_text("mine")
    arrow, old, base = b"\xff\xff\xff\xff more", 7200, next(iter(PACKAGED_BASES))
    for name, content, age in (
            ("features/tmpold_1234", arrow, old), ("features/tmpempty123", b"", old),
            ("features/tmpnew12345", arrow, 0),
            ("features/abc.arrow", arrow, old), ("features/tmp_utils.py", b"mine", old),
            ("features/tmp_diary42", b"mine", old), (f"selected/.tmp-{'a1' * 12}.json-17", b"{", old),
            ("selected/.tmp-mine", b"", old), (".tmp-docstrings-0123456789abcdef.jsonl-17", b"", old),
            (".tmp-mine", b"", old), (f"bases/.tmp-{base}", b"", old), ("bases/.fetch-x/.lock", b"", old)):
        file = root / "cache" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o600)
        os.utime(file, (time.time() - age,) * 2)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    (elsewhere / ".lock").touch()
    (elsewhere / ".tmp-mine").touch()
    (root / "link").symlink_to(elsewhere)
    (root / "plain").mkdir()
    (root / "plain/.tmp-somebodys").touch()
    for name in ("saved", "linked", "app"):  # not a run's, or not below the root, whatever they are called
        (root / name).mkdir()
        (root / name / ".lock").touch()
        (root / name / ".tmp-here").touch()
    (root / "app/config.yaml").write_text("theme: dark\n")
    (root / "saved/config.yaml").write_text(CONFIG)
    (root / "saved/checkpoints").mkdir()
    (root / "saved/checkpoints/thesis.txt").write_text("mine")
    (root / "linked/config.yaml").write_text(CONFIG)
    (root / "linked/checkpoints").symlink_to(elsewhere)
    return root


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


GOES = {"good/checkpoints/.tmp-step-6", "good/checkpoints/.tmp-step-6/part", "good/checkpoints/.tmp-pruned-step-2",
        "good/.tmp-results.json-17", "dead", "dead/.lock", "dead/config.yaml", "dead/environment.json",
        "dead/metrics.jsonl", "empty", "empty/.lock", "empty/config.yaml", "cache/features/tmpold_1234",
        "cache/features/tmpempty123", f"cache/selected/.tmp-{'a1' * 12}.json-17",
        "cache/.tmp-docstrings-0123456789abcdef.jsonl-17", f"cache/bases/.tmp-{next(iter(PACKAGED_BASES))}",
        "cache/bases/.fetch-x", "cache/bases/.fetch-x/.lock", "saved/.tmp-here", "linked/.tmp-here"}


def test_it_shows_and_with_yes_removes_what_was_left(runs: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    with FolderLock(runs / "busy"):
        shown = warm_cli("clean", str(runs), cwd=tmp_path)
        assert shown.returncode == 0
        assert files(tmp_path) == before
        assert "13 left" in shown.stdout and f"llmtrain clean {runs} --yes removes them" in shown.stdout
        assert f"{runs / 'good/checkpoints/.tmp-step-6'}  2.0 kB  a write that was stopped" in shown.stdout
        assert f"{runs / 'dead'}  {len(CONFIG) + 2} bytes  a run that came to no checkpoint" in shown.stdout
        assert f"a run is already using {runs / 'busy'}" in shown.stderr
        done = warm_cli("clean", str(runs), "--yes", cwd=tmp_path)
        assert done.returncode == 0 and "13 removed" in done.stdout
    assert before - files(tmp_path) == {f"runs/{name}" for name in GOES}
    again = warm_cli("clean", str(runs), cwd=tmp_path)
    assert "busy/checkpoints/.tmp-step-6" in again.stdout and "1 left" in again.stdout  # its holder is gone
    assert warm_cli("clean", str(runs / "good"), cwd=tmp_path).stdout.startswith("nothing was left below")


def test_beside_another_clean_what_is_gone_is_gone(runs: Path, tmp_path: Path) -> None:
    walk = leftovers(runs)
    first = [next(walk) for _ in range(5)]
    assert first[-1].path == runs / "cache/features/tmpempty123"  # in the middle of a folder
    with FolderLock(runs / "busy"):
        dead = next(left for left in leftovers(runs / "dead"))
        assert warm_cli("clean", str(runs), "--yes", cwd=tmp_path).returncode == 0
        after = files(tmp_path)
        assert list(walk) == []
        for left in (*first, dead):
            take_away(left)
        assert not take_away(dead)
    assert files(tmp_path) == after


def test_what_may_not_be_read_is_told_and_the_rest_goes(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        ) -> None:
    def guarded(call: Any, closed: Path) -> Any:
        def opened(path: Any, *how: Any) -> Any:
            if not isinstance(path, int) and Path(path) == closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *how)
        return opened

    monkeypatch.setattr(os, "scandir", guarded(os.scandir, runs / "others"))
    monkeypatch.setattr(Path, "open", guarded(Path.open, runs / "app/config.yaml"))
    result = warm_cli("clean", str(runs), cwd=tmp_path)
    assert result.returncode == 0 and "14 left" in result.stdout, result.stderr
    for closed in (runs / "others", runs / "app/config.yaml"):
        assert f"left alone: {closed} may not be read (Permission denied)" in result.stderr
    result = warm_cli("clean", str(runs / "others"), cwd=tmp_path)
    assert result.returncode == 5 and "nothing was left" not in result.stdout


def test_a_reader_that_leaves_does_not_stop_it(runs: Path, tmp_path: Path) -> None:
    command = f'set -o pipefail; "{sys.executable}" -m llmtrain clean {runs / "cache"} --yes | true'
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True,
                            check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert warm_cli("clean", str(runs / "cache"), cwd=tmp_path).stdout.startswith("nothing was left below")


def test_a_name_is_told_on_one_line_without_escapes(runs: Path, tmp_path: Path) -> None:
    (runs / "good/.tmp-x\x1b[2J\nllmtrain: fine").touch()
    result = warm_cli("clean", str(runs / "good"), cwd=tmp_path)
    assert "/.tmp-x\\x1b[2J\\nllmtrain: fine  0 bytes" in result.stdout and "\x1b" not in result.stdout


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "clean takes one folder"), (["--all"], "clean takes one folder"), (["nowhere"], "no folder at nowhere"),
    (["a", "b", "--yes"], "clean takes one folder"), ([""], "clean takes one folder")])
def test_wrong_arguments(arguments: list[str], told: str, tmp_path: Path) -> None:
    result = warm_cli("clean", *arguments, cwd=tmp_path)
    assert result.returncode == 2 and told in result.stderr

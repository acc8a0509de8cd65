"""Committing files: all or nothing, whatever stops the process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from llmtrain.core.errors import CheckpointError, ConfigError, ResourceError
from llmtrain.core.files import (
    clear_staged,
    make_folder,
    read_json,
    remove,
    stage_folder,
    write_json,
    write_text,
    writing,
)
from llmtrain.core.lock import FolderLock


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has printed its first line."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_atomic_imports_no_torch() -> None:
    done = python("import sys, llmtrain.core.files; print('torch' in sys.modules, 'numpy' in sys.modules)")
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"x": 1})
    write_json(path, {"x": [2.5, "é"]})
    assert read_json(path) == {"x": [2.5, "é"]}
    assert names(path.parent) == ["a.json"]


def test_nan_is_not_written_and_the_old_content_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == 1


def test_a_killed_writer_leaves_old_or_new(tmp_path: Path) -> None:
    process = start("""
        import sys
        from llmtrain.core.files import write_text
        write_text(sys.argv[1], "0" * 200_000)
        print("ready", flush=True)
        number = 0
        while True:
            number = (number + 1) % 10
            write_text(sys.argv[1], str(number) * 200_000)
        """, tmp_path / "a.txt")
    for _ in range(50):
        text = (tmp_path / "a.txt").read_text()
        assert len(text) == 200_000 and len(set(text)) == 1
        time.sleep(0.002)
    process.kill()
    process.wait()
    text = (tmp_path / "a.txt").read_text()
    assert len(text) == 200_000 and len(set(text)) == 1
    clear_staged(tmp_path)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("content", "reason"), [
    (b'{"a": NaN}', "NaN"), (b'{"a": -Infinity}', "Infinity"), (b'{"a": 1e999}', "out of range"),
    (b'{"a": 1, "a": 2}', "stands twice"), (b'{"b": {"a": 1, "a": 1}}', "stands twice"), (b'{"a": 1', "JSON"),
    (b'"\xff"', "utf-8"), (b"[" * 100_000, "RecursionError|recursion"), (b"1" * 10_000, "digit"),
    (b" " * 2000, "larger than 1000 bytes"),
])
def test_json_is_read_strictly(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_json(path, limit=1000 if content.startswith(b" ") else 1 << 20)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_json(tmp_path / "a.json")


def test_a_staged_folder_is_committed_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    with stage_folder(tmp_path / "step-1") as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "a").write_text("one")
        (staged / "sub" / "a").chmod(0o600)
        assert staged == tmp_path / ".tmp-step-1"
        assert not (tmp_path / "step-1").exists()
    assert (tmp_path / "step-1" / "sub" / "a").read_text() == "one"
    assert (tmp_path / "step-1" / "sub" / "a").stat().st_mode & 0o777 == tmp_path.joinpath(
        "step-1").stat().st_mode & 0o666
    assert names(tmp_path) == ["step-1"]


def test_a_staged_folder_replaces_the_one_that_stands_there(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with stage_folder(tmp_path / "a") as staged:
            (staged / content).write_text(content)
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new"]


def test_a_failed_body_leaves_the_old_folder(tmp_path: Path) -> None:
    with stage_folder(tmp_path / "a") as staged:
        (staged / "old").write_text("")
    with pytest.raises(KeyboardInterrupt), stage_folder(tmp_path / "a") as staged:
        (staged / "new").write_text("")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


def test_a_replacement_that_fails_gives_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").touch()
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == ".tmp-a":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ResourceError, match="Input/output error"), stage_folder(tmp_path / "a") as staged:
        (staged / "new").touch()
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["old"]


@pytest.mark.parametrize("committed", [False, True])
def test_a_kill_between_a_replacements_two_renames_loses_nothing(committed: bool, tmp_path: Path) -> None:
    for name in (".tmp-old-a/old", *(["a/new"] if committed else [".tmp-a/new"])):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    clear_staged(tmp_path)
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["new" if committed else "old"]


def test_clear_staged_removes_links_but_not_their_targets(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").write_text("")
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "kept", target_is_directory=True)
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / ".tmp-file-1").write_text("")
    clear_staged(tmp_path)
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == ["a"]


LIMITED = """
    import resource, sys
    from pathlib import Path
    from llmtrain.core.errors import ResourceError
    from llmtrain.core.files import stage_folder, write_text
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    folder = Path(sys.argv[1])
    try:
        {body}
    except ResourceError as error:
        print(error)
        sys.exit(error.exit_code)
    """


def test_a_file_beyond_the_limit_is_a_resource_error_with_the_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    done = python(LIMITED.format(body="write_text(folder / 'a.txt', 'x' * 50_000)"), tmp_path)
    assert done.returncode == 5, done.stderr
    assert "50000 bytes are needed" in done.stdout and str(tmp_path) in done.stdout
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("write", [
    "(staged / 'a').write_bytes(b'x' * 50_000)",
    # safetensors tells the error's number in its message alone
    "import numpy; from safetensors.numpy import save_file; save_file({'a': numpy.zeros(9000)}, staged / 'a')",
])
def test_a_full_disk_inside_a_staged_folder_removes_it(tmp_path: Path, write: str) -> None:
    done = python(LIMITED.format(body=f"with stage_folder(folder / 'step-1', 123_456) as staged: {write}")
                  if ";" not in write else
                  LIMITED.format(body=f"exec(\"with stage_folder(folder / 'step-1', 123456) as staged:\\n {write}\")"),
                  tmp_path)
    assert done.returncode == 5, done.stderr
    assert "123456 bytes are needed" in done.stdout and "\n" not in done.stdout.strip()
    assert names(tmp_path) == []


def test_a_path_in_the_way_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write at"):
        write_text(tmp_path / "file" / "a.txt", "")


CLOSED = f"""
    import sys
    from pathlib import Path
    sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
    from torture.hooks import drop_privileges
    from llmtrain.cli.main import main
    drop_privileges()
    folder = Path(sys.argv[1])
    folder.chmod(0o555)
    try:
        code = main(["clean", str(folder.parent)]) if "clean" in sys.argv else None
        if code is None:
            from llmtrain.core.files import write_text
            from llmtrain.core.errors import ResourceError
            try:
                write_text(folder / "a.txt", "x" * 50)
            except ResourceError as error:
                print(error)
                code = error.exit_code
    finally:
        folder.chmod(0o755)
    sys.exit(code)
"""


def test_a_closed_folder_is_told_with_the_bytes(tmp_path: Path) -> None:
    done = python(CLOSED, tmp_path)
    assert done.returncode == 5, done.stderr
    assert "Permission denied): 50 bytes are needed there; make its folder writable" in done.stdout
    assert names(tmp_path) == []


def test_the_run_of_somebody_else_is_left_alone_when_cleaning(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name / "checkpoints" / ".tmp-step-6").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "step-4").mkdir()
        (tmp_path / name / ".lock").touch()
        (tmp_path / name / "config.yaml").write_text("head:\n  layers: 1\nobjective:\n  lam: 0.5\nrun:\n  name: x\n"
                                                     "trainer:\n  max_steps: 4\n")
    (tmp_path / "theirs" / ".lock").chmod(0o444)
    done = python(CLOSED, tmp_path / "theirs", "clean")
    assert done.returncode == 0, done.stderr
    assert "left alone: cannot write at" in done.stderr and f"{tmp_path / 'theirs' / '.lock'}" in done.stderr
    assert f"{tmp_path / 'mine' / 'checkpoints' / '.tmp-step-6'}" in done.stdout and "1 left" in done.stdout


def test_a_second_holder_is_refused_and_the_first_can_give_back(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "run"):
        with pytest.raises(ConfigError, match="already using"):
            FolderLock(tmp_path / "run")
        done = python("""
            import sys
            from pathlib import Path
            from llmtrain.core.lock import FolderLock
            from llmtrain.core.errors import ConfigError
            try:
                FolderLock(Path(sys.argv[1]))
            except ConfigError as error:
                sys.exit(error.exit_code)
            """, tmp_path / "run")
        assert done.returncode == 2, done.stderr
    FolderLock(tmp_path / "run").release()


def test_the_parents_of_new_folders_are_forced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a checkpoint's folder would be lost with the power although all that is in it is on the disk."""
    forced: list[Path] = []
    monkeypatch.setattr("llmtrain.core.files.sync_folder", forced.append)
    assert make_folder(tmp_path / "runs/a/b") == [tmp_path / "runs/a/b", tmp_path / "runs/a", tmp_path / "runs"]
    assert sorted(forced) == [tmp_path, tmp_path / "runs", tmp_path / "runs/a"]
    assert make_folder(tmp_path / "runs/a") == [] and len(forced) == 3


def test_what_another_program_holds_on_to_is_left_for_the_next_start(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS does, where an open file that is removed stays as .nfs000... and its folder with it."""
    rmtree = shutil.rmtree

    def busy(path: Path, **how: Any) -> None:
        if path.name == ".tmp-pruned-step-2":
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        rmtree(path, **how)

    monkeypatch.setattr(shutil, "rmtree", busy)
    for name in (".tmp-pruned-step-2", ".tmp-step-4"):
        (tmp_path / name).mkdir()
    clear_staged(tmp_path)
    assert names(tmp_path) == [".tmp-pruned-step-2"]


def test_a_folder_that_vanishes_before_it_is_locked_is_made_again(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that failed removes its folder, and this one may have found it a moment before."""
    made = []

    def make_and_lose(path: Path) -> list[Path]:
        missing = make_folder(path)
        made.append(path)
        if len(made) == 1:
            path.rmdir()
        return missing

    monkeypatch.setattr("llmtrain.core.lock.make_folder", make_and_lose)
    with FolderLock(tmp_path / "run") as lock:
        assert len(made) == 2 and lock.path.is_dir()


def test_the_lock_dies_with_its_holder_even_when_a_forked_worker_lives_on(tmp_path: Path) -> None:
    process = start("""
        import os, sys, time
        from pathlib import Path
        from llmtrain.core.lock import FolderLock
        lock = FolderLock(Path(sys.argv[1]))
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        Path(sys.argv[2]).write_text(str(child))
        time.sleep(0.2)  # the child passes its fork hook
        print("ready", flush=True)
        time.sleep(30)
        """, tmp_path / "run", tmp_path / "child")
    try:
        with pytest.raises(ConfigError, match="already using"):
            FolderLock(tmp_path / "run")
        process.send_signal(signal.SIGKILL)
        process.wait()
        FolderLock(tmp_path / "run").release()
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
        process.stdout.close()  # type: ignore[union-attr]


def test_two_may_remove_the_same_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree/inner").mkdir(parents=True)
    for name in ("a", "inner/b", "inner/c"):
        (tmp_path / "tree" / name).touch()
    unlink = os.unlink

    def unlinked_twice(path: str, **where: int) -> None:
        unlink(path, **where)
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", unlinked_twice)
    remove(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_removed_folder_is_locked_anew(tmp_path: Path) -> None:
    first = FolderLock(tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run").rmdir()
    second = FolderLock(tmp_path / "run")
    with pytest.raises(ConfigError, match="already using"):
        FolderLock(tmp_path / "run")
    first.release()
    second.release()


def test_a_holder_that_is_killed_leaves_its_note_and_an_orderly_one_takes_it_back(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "run") as lock:
        lock.note({"kills": {}})
    with FolderLock(tmp_path / "run") as lock:
        assert lock.left == {}
    killed = python("""
        import os, signal, sys
        from pathlib import Path
        from llmtrain.core.lock import FolderLock
        lock = FolderLock(Path(sys.argv[1]))
        lock.note({"kills": {"here": 3}})
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    """, tmp_path / "run")
    assert killed.returncode == -9
    with FolderLock(tmp_path / "run") as lock:
        assert lock.left == {"kills": {"here": 3}}
        lock.note({})
    assert (tmp_path / "run" / ".lock").read_bytes() == b""


@pytest.mark.parametrize("content", [b"somebody's own", b"[1]", b"\xff\xfe", b"{" * 9000, b"[" * 9000])
def test_a_file_of_the_locks_name_that_is_not_ours_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with FolderLock(tmp_path) as lock:
        assert lock.left == {}
        lock.note({"kills": {}})
    assert (tmp_path / ".lock").read_bytes() == content


def test_a_library_that_fails_once_more_while_it_tidies_up_hides_nothing(tmp_path: Path) -> None:
    """As datasets' writer does, which closes its file twice."""
    with pytest.raises(ResourceError, match="Input/output error.*17 bytes"), writing(tmp_path / "cache", 17):
        try:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        finally:
            file = (tmp_path / "x").open("w")
            file.close()
            file.write("more")
    with pytest.raises(ValueError, match="closed file"), writing(tmp_path / "cache"):
        try:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except FileExistsError:
            file.write("more")

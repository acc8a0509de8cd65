"""llmtrain push, against a hub on this machine that speaks the protocol of the real one."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download
from tests.docs.pages import Page

from helpers import Finished, environment, warm_cli
from hub_server import OWNER, TOKEN, Hub, hub
from llmtrain import checkpoint

OLD_RUN = Path(__file__).resolve().parents[1] / "before_rooms/train-e65dcfdd"
CARD = "---\nlicense: apache-2.0\n---\n\n# A card\n"
FILES = {"README.md", "config.json", "generation_config.json", "llmtrain.json", "manifest.json", "model.safetensors",
         "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small run whose best model has a card."""
    made = shutil.copytree(OLD_RUN, tmp_path / "runs/small")
    checkpoint.replace_file(checkpoint.locate_model(made).parent, "README.md", CARD)
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub that this process's huggingface_hub asks; what it reads of the environment once is set in its place."""
    with hub() as state:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        for name, value in (("ENDPOINT", state.url), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True),
                            ("HF_TOKEN_PATH", str(tmp_path / "token"))):
            monkeypatch.setattr(constants, name, value)
        yield state


def push(run: Path, *more: str, stdin: str = "") -> Finished:
    return warm_cli("push", str(run), *more, cwd=run.parent, stdin=stdin)


def refused(done: Finished, code: int) -> str:
    """The one line that a refused push tells."""
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_what_is_pushed_is_private_comes_back_whole_and_predicts(run: Path, tmp_path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # for the download, in this process
    with hub() as state:
        own = environment({"HF_ENDPOINT": state.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0",
                           "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")})
        done = subprocess.run([sys.executable, "-m", "llmtrain", "push", str(run), "--repo", "small", "--yes"], env=own,
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == f"to:    small at {state.url}, private"
        assert f"sent:  {state.url}/{OWNER}/small" in done.stdout and TOKEN not in done.stdout + done.stderr
        assert state.private == {f"{OWNER}/small": True}
        assert set(state.repos[f"{OWNER}/small"]) == FILES | {".gitattributes"}
        assert len(state.objects) == 1  # the weights, by LFS
        copy = snapshot_download(f"{OWNER}/small", local_dir=tmp_path / "copy", endpoint=state.url, token=TOKEN)
    checkpoint.verify(copy)
    answers = [warm_cli("predict", f"checkpoint={one}", cwd=tmp_path, stdin="the array\n") for one in (copy, run)]
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == answers[1].stdout


def test_nothing_is_sent_before_somebody_agrees(run: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nobody can be asked here; --yes sends it" in refused(push(run, "--repo", "small"), 2)
    monkeypatch.setattr("os.isatty", lambda number: True)
    done = push(run, "--repo", "small", stdin="n\n")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "send it? [y/N] nothing was sent")
    assert "model.safetensors" in done.stdout and "  # A card" in done.stdout
    assert not server.asked
    assert push(run, "--repo", "small", stdin="y\n").stdout.endswith(f"sent:  {server.url}/{OWNER}/small\n")


def test_a_repository_that_is_there_is_changed_only_on_demand(run: Path, server: Hub) -> None:
    name = f"{OWNER}/small"
    assert push(run, "--repo", name, "--yes").returncode == 0
    assert f"there is a repository {name} already; --update" in refused(push(run, "--repo", name, "--yes"), 2)
    server.repos[name]["selector/config.json"] = b"{}"  # of an earlier push
    assert push(run, "--repo", name, "--yes", "--update").returncode == 0
    assert set(server.repos[name]) == FILES | {".gitattributes"}
    server.private[name] = False
    assert f"{name} is public" in refused(push(run, "--repo", name, "--yes", "--update"), 2)
    assert push(run, "--repo", name, "--yes", "--update", "--public").returncode == 0


def test_the_commands_of_the_page_run(run: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda number: True)
    monkeypatch.chdir(run.parents[1])
    run.rename(run.with_name("NAME"))
    page = Page("docs/publishing.md")
    for command in page.commands:
        done = warm_cli(*shlex.split(command)[1:], cwd=run.parents[1], stdin="y\n")
        assert done.returncode == 0, done.stderr
    assert set(server.repos["me/NAME"]) == FILES | {".gitattributes"}


@pytest.mark.parametrize(("status", "code", "told"), [
    (401, 2, "does not know the token"), (403, 2, "may not write to small"), (404, 2, "has no place for small"),
    (429, 5, "status 429"), (418, 5, "status 418")])
def test_what_the_hub_refuses_is_one_line(status: int, code: int, told: str, run: Path, server: Hub,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    server.refusal = status
    assert told in refused(push(run, "--repo", "small", "--yes"), code)


def test_without_a_way_to_send_it_says_so(run: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.repos["x/y"] = {}
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached" in refused(push(run, "--repo", "small", "--yes"), 5)
    monkeypatch.delenv("HF_TOKEN")
    assert "no token for http://127.0.0.1:9; run `hf auth login`" in refused(push(run, "--repo", "small", "--yes"), 2)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in refused(push(run, "--repo", "small", "--yes"), 2)
    assert "is no name of a repository" in refused(push(run, "--repo", "a b", "--yes"), 2)
    assert "push takes one path and --repo NAME" in refused(push(run, "--yes"), 2)
    assert not server.asked


@pytest.mark.parametrize(("file", "secret", "what"), [
    ("README.md", "hf_" + "a1" * 15, "a hub token"), ("README.md", "https://me:pass@host/x", "a login in a URL"),
    ("llmtrain.json", "-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
    ("config.json", "AKIA" + "Z" * 16, "an AWS key"),
    ("README.md", "a-value-that-is-held-here", "the environment's MY_SERVICE_TOKEN"), (".env", "x", "usually holds")])
def test_a_secret_is_refused_and_not_repeated(file: str, secret: str, what: str, run: Path, server: Hub,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "a-value-that-is-held-here")
    folder = checkpoint.locate_model(run)
    before = (folder / file).read_text() if (folder / file).exists() else ""
    checkpoint.replace_file(folder.parent, file, f"{before}{secret}\n")
    line = refused(push(run, "--repo", "small", "--yes"), 2)
    assert what in line and file in line and (len(secret) == 1 or secret not in line)
    assert not server.asked


def test_what_is_not_whole_is_not_sent(run: Path, server: Hub) -> None:
    weights = checkpoint.locate_model(run) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "damaged file at" in refused(push(run, "--repo", "small", "--yes"), 3)
    assert not server.asked

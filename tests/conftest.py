"""Fixtures every test may use. No test reaches the network, or reads or writes the user's cache."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # another test file: tests.ROOM.test_NAME
sys.path.insert(0, str(Path(__file__).resolve().parent))  # helpers, by their name alone

import pytest

from cost import Cost
from fast import in_slow_room, starts_a_program
from helpers import make_tiny_base
from warm.libraries import python


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmtrain")
    group.addoption("--fast", action="store_true", help="leave out the torture table, whole commands and every test "
                                                        "that starts a program or costs as much (marked process)")
    group.addoption("--cost", action="store_true", help="tell the CPU seconds of the ten dearest test files, with "
                                                        "those of the programs that they start")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device; skipped, with the reason, where there is none")
    config.addinivalue_line("markers", "process: starts a program; put on by what a test's code names (fast.py)")
    if config.getoption("cost"):
        config.pluginmanager.register(Cost())
    if not hasattr(config, "workerinput"):  # xdist's processes share the cache of the one that starts them
        cache = tempfile.TemporaryDirectory(prefix="llmtrain-tests-")
        config.add_cleanup(cache.cleanup)
        os.environ["LLMTRAIN_CACHE"] = cache.name


SLOW_FIRST = ("torture", "integration")  # so that no long file begins when the other process is done


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    left_out = config.getoption("fast") and collection_path.suffix == ".py" and in_slow_room(collection_path)
    return True if left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if in_slow_room(item.path) or (isinstance(item, pytest.Function) and starts_a_program(item)):
            item.add_marker(pytest.mark.process)
    if config.getoption("fast"):
        started = [item for item in items if item.get_closest_marker("process")]
        items[:] = [item for item in items if not item.get_closest_marker("process")]
        config.hook.pytest_deselected(items=started)
    items.sort(key=lambda item: [item.path.parent.name != name for name in SLOW_FIRST])
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device and torch sees none"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer BERT without a masked-LM head."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny_base"))


@pytest.fixture(scope="session")
def tiny_base_mlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its masked-LM head."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny_base_mlm"), mlm=True)


@pytest.fixture
def warm_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """What llmtrain starts has the libraries loaded."""
    monkeypatch.setattr(sys, "executable", python())

"""docs/architecture.md tells the truth: the picture, the path of a run, the rooms and the files."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from helpers import pairs, warm_cli, write_jsonl

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "llmtrain"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import draw_rooms

    return draw_rooms


def test_the_picture_shows_the_imports_as_they_are(drawing: Any) -> None:
    assert drawing.with_picture(PAGE) == PAGE, "run scripts/make_docs"


def test_an_arrow_is_left_out_where_another_way_stands_for_it(drawing: Any) -> None:
    assert drawing.drawn({"top": {"middle", "low"}, "middle": {"low"}, "low": set()}) == [
        ("middle", "low"), ("top", "middle")]


def test_every_room_has_a_line(drawing: Any) -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) == set(drawing.rooms())


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert len(named) > 40
    patterns = {name: name.replace("NAME", "*") for name in named if name != "options.py"}
    assert not [name for name, pattern in patterns.items() if not list(SOURCE.glob(pattern))]


def test_a_run_passes_the_files_that_are_named_in_their_order(tiny_base: Path, tmp_path: Path) -> None:
    """Followed from the second start on, which goes on from a checkpoint."""
    (block,) = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    told = [tuple(line.split()[:2]) for line in block.splitlines()]
    write_jsonl(tmp_path / "train.jsonl", pairs(8))
    given = ["train", f"model.path={tiny_base}", "head.layers=1", "data=files", "data.train=train.jsonl",
             f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=2", "trainer.save_every=1",
             "data.max_source_tokens=32", "trainer.batch_size=4", "generation.max_new_tokens=2", "run.name=run"]
    first = warm_cli(*given, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    shutil.rmtree(tmp_path / "runs/run/checkpoints/step-2")
    (tmp_path / "runs/run/results.json").unlink()
    passed: dict[tuple[str, ...], None] = {}

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(SOURCE)):
            passed.setdefault((str(Path(frame.f_code.co_filename).relative_to(SOURCE)), frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        again = warm_cli(*given, cwd=tmp_path)
    finally:
        sys.setprofile(before)
    assert again.returncode == 0 and "going on from step 1" in again.stdout, again.stderr
    found = [call for call in passed if call in told]
    assert found == told, "\n".join(map(str, found))

"""Documents beyond the base's positions: cuts, windows, stretched positions, and models that keep them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from helpers import WORDS, Measuring, decoder_tokenizer, make_tiny_base, tiny_tokenizer, warm_cli, write_jsonl
from llmtrain.config.convert import to_dict
from llmtrain.config.from_checkpoint import Stored
from llmtrain.config.load import load_config
from llmtrain.config.run_id import run_hash
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example
from llmtrain.data.inspect import Reader
from llmtrain.data.truncation import LONGEST_WHOLE, Cut, bounded, frame
from llmtrain.models.backbone.families import family_of, positions
from llmtrain.models.backbone.long_context import plan_windows, stretch_positions
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.tasks.summarization.summarizer import Summarizer
from running import Runs, take


def test_cuts_keep_special_tokens_and_the_asked_ends() -> None:
    row = [101, *range(10), 102]
    assert Cut(6, 1, 1)(row) == [101, 0, 1, 2, 3, 102]
    assert Cut(6, 1, 1, 0.25)(row) == [101, 0, 7, 8, 9, 102]
    assert Cut(6, 1, 0, 0.5)(row[:-1]) == [101, 0, 1, 7, 8, 9]
    assert Cut(6, 0, 0)(row) == row[:6]
    assert Cut(12, 1, 1, 0.5)(row) == row
    assert Cut(1, 1, 1)(row) == [101, 102]


def test_the_tokenizers_frame(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    assert frame(tokenizer) == (1, 1)
    text = " ".join(WORDS)
    cut = Cut(20, 1, 1)(tokenizer(text)["input_ids"])
    assert cut == tokenizer(text, truncation=True, max_length=20)["input_ids"]


@pytest.mark.parametrize(("piece", "share"), [
    (" ".join(WORDS) + ". ", 1.0), ("".join(WORDS), 1.0), ("长文本没有空格。", 1.0), ("x", 1.0),
    (" ".join(WORDS) + ". ", 0.5)])
def test_what_is_left_of_a_long_text_holds_all_that_is_kept(tiny_base: Path, piece: str, share: float) -> None:
    tokenizer, cut, text = load_tokenizer(str(tiny_base)), Cut(50, 1, 1, share), piece * (400_000 // len(piece))
    part = bounded(text, tokenizer, cut)
    assert share < 1 or text.startswith(part)
    assert cut(tokenizer(part)["input_ids"]) == cut(tokenizer(text)["input_ids"])
    words = piece.isascii() and piece.endswith(" ")
    assert (len(part) < 140_000) == (words or not piece.isascii())
    assert bounded(text[:60_000], tokenizer, cut) == text[:60_000]


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_both_ends_of_a_long_text_are_those_of_the_whole(family: str, share: float, tmp_path: Path) -> None:
    tokenizer, draw = load_tokenizer(str(make_tiny_base(tmp_path / "base", family))), random.Random(3)
    cut = Cut(50, *frame(tokenizer), share)
    for length in (2 * LONGEST_WHOLE, 2 * LONGEST_WHOLE + 1, 3 * LONGEST_WHOLE):
        text = "".join(draw.choices([*(f" {word}" for word in WORDS), ".\n", "  ", "ünïq", "东西。"], k=length // 3))
        text = (text + " red" * (length // 4))[:length]
        part = bounded(text, tokenizer, cut)
        assert (part == text) == (length <= 2 * LONGEST_WHOLE) and len(part) <= 2 * LONGEST_WHOLE
        short, whole = (tokenizer(one, return_offsets_mapping=True, verbose=False) for one in (part, text))
        assert cut(short["input_ids"]) == cut(whole["input_ids"])
        inner = slice(cut.before, cut.limit - cut.after)
        assert (cut.places(short["offset_mapping"], len(text) - len(part))[inner]
                == cut(whole["offset_mapping"])[inner])


@pytest.mark.parametrize(("width", "overlap", "before", "after"),
                         [(12, 4, 1, 1), (12, 0, 1, 1), (9, 3, 1, 0), (8, 4, 0, 0)])
def test_every_token_takes_the_state_with_most_context(width: int, overlap: int, before: int, after: int) -> None:
    lengths = np.array([31, 7, 12, 13, 40, before + after + 1])
    plan = plan_windows(lengths, width, overlap, before, after)
    assert plan.real_NX.sum(1).max() == width
    where = plan.column_NX.flatten()
    for row, length in enumerate(lengths):
        own = plan.row_N == row
        room = width - before - after
        content = length - before - after
        assert own.sum() == 1 + max(0, -(-(content - room) // (room - overlap)))
        columns = [plan.column_NX[n][plan.real_NX[n]] for n in np.flatnonzero(own)]
        for window in columns:  # framed by the row's own special tokens, whole pieces between
            assert list(window[:before]) == list(range(before))
            assert list(window[len(window) - after:]) == list(range(length - after, length))
            assert (np.diff(window[before:len(window) - after]) == 1).all()
        places = plan.place_BS[row, :length]
        assert (where[places] == np.arange(length)).all()
        assert (plan.row_N[places // plan.column_NX.shape[1]] == row).all()
        for column in range(before, length - after):
            contexts = [min(column - w[before], w[len(w) - after - 1] - column) for w in columns
                        if w[before] <= column <= w[len(w) - after - 1]]
            chosen = plan.column_NX[places[column] // plan.column_NX.shape[1]]
            chosen = chosen[plan.real_NX[places[column] // plan.column_NX.shape[1]]]
            assert min(column - chosen[before], chosen[len(chosen) - after - 1] - column) >= max(contexts) - 1


def long_rows(count: int, words: int, seed: int = 0) -> list[dict[str, str]]:
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        found = draw.choices(WORDS, k=words if index % 2 else 10)
        rows.append({"id": f"l{index}", "document": " ".join(found), "summary": " ".join(found[-5:])})
    return rows


@pytest.fixture(scope="module")
def runs(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Runs(tiny_base, tmp_path_factory.mktemp("long"), rows=long_rows(16, 300))
    yield made
    made.close()


@pytest.fixture
def runs_on(tmp_path: Path) -> Iterator[Callable[..., Runs]]:
    """Runs on a tiny base of a family, whose folders are given free at the end."""
    with ExitStack() as stack:
        def on(family: str, **how: Any) -> Runs:
            made = Runs(make_tiny_base(tmp_path / family, family), tmp_path, **how)
            stack.callback(made.close)
            return made

        yield on


def test_short_documents_are_read_as_ever_and_long_ones_in_windows(runs: Any) -> None:
    plain, sliding = runs("data.max_source_tokens=128"), runs("data.long=sliding", "data.max_source_tokens=400",
                                                               "data.window_overlap=16")
    ids = torch.randint(5, 100, (2, 100))
    with torch.no_grad():
        whole, pieces = (one.model.task_model.encode(ids).hidden_BSD for one in (plain, sliding))
        assert torch.equal(whole, pieces)
        row = torch.cat([torch.tensor([2]), torch.randint(5, 100, (298,)), torch.tensor([3])])
        long = torch.stack([row, torch.cat([row[:129], torch.tensor([3]), torch.zeros(170, dtype=torch.long)])])
        mask = (torch.arange(300) < torch.tensor([[300], [130]])).long()
        states = sliding.model.task_model.encode(long, mask).hidden_BSD
        first = torch.cat([row[:127], torch.tensor([3])])[None]  # the window that the row begins with, framed
        wanted = sliding.model.task_model.trunk(input_ids=first).last_hidden_state[0, :100]
    assert states.shape == (2, 300, 32)
    torch.testing.assert_close(states[0, :100], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[1, :60], wanted[:60], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(states[0, 150], states[0, 20])
    first_ids, second_ids = (run.data.loader._collate.features.input_ids for run in (plain, sliding))
    assert max(first_ids.lengths) == 128 and max(second_ids.lengths) > 300


@pytest.mark.parametrize("base", [("mlm",), ("denoise", "objective.denoise.mode=consistency")], ids=str)
def test_windows_are_trained_through(base: tuple[str, ...], runs: Any) -> None:
    name, *more = base
    run = runs("data.long=sliding", "data.max_source_tokens=400", "data.window_overlap=16", f"objective.base={name}",
               f"objective.{name}.fraction=1", *more)
    before = {name: p.detach().clone() for name, p in run.model.task_model.trunk.named_parameters()}
    results = take(run, 2)
    assert all(np.isfinite(result.losses["summary"]) for result in results)
    changed = [name for name, p in run.model.task_model.trunk.named_parameters() if not torch.equal(p, before[name])]
    assert "embeddings.position_embeddings.weight" in changed and len(changed) > 20


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
def test_positions_are_stretched_between_their_ends(family: str, runs_on: Any) -> None:
    made = runs_on(family)
    short = 127 if family == "roberta" else 128
    run, plain = made("data.long=interpolate", "data.max_source_tokens=255"), made()
    path = family_of(run.model.task_model.trunk.config).positions
    old, new = (one.model.task_model.trunk.get_submodule(path).weight for one in (plain, run))
    first = len(old) - short
    assert positions(run.model.task_model.trunk.config) == 255 and len(new) == 255 + first
    assert torch.equal(new[:first + 1], old[:first + 1]) and torch.allclose(new[-1], old[-1])
    place = 2 * (short - 1) / 254  # of the third new position among the old ones
    low = int(place)
    torch.testing.assert_close(new[first + 2], torch.lerp(old[first + low], old[first + low + 1], place - low),
                               atol=1e-5, rtol=1e-5)
    head = run.model.task_model.head.positions.weight
    assert head.shape == plain.model.task_model.head.positions.weight.shape
    if family != "gpt2":  # the head starts from an encoder's layers, and afresh on a decoder
        assert torch.equal(head, plain.model.task_model.head.positions.weight)
    with torch.no_grad():
        assert run.model.task_model.encode(torch.randint(5, 100, (1, 250))).hidden_BSD.isfinite().all()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_padding_beyond_the_positions_is_not_read(family: str, runs_on: Any) -> None:
    """Batches are padded to a multiple of 8, and a base may have any number of positions."""
    model = runs_on(family)("data.long=interpolate", "data.max_source_tokens=251").model.task_model.eval()
    ids = torch.randint(5, 100, (2, 256))
    mask = (torch.arange(256) < torch.tensor([[251], [100]])).long()
    with torch.no_grad():
        whole, cut = model.encode(ids, mask), model.encode(ids[:, :251], mask[:, :251])
        assert torch.equal(whole.hidden_BSD[:, :251], cut.hidden_BSD) and not whole.hidden_BSD[:, 251:].any()
        with pytest.raises((IndexError, RuntimeError)):  # as the base tells it
            model.encode(ids, torch.ones_like(ids))


def test_rotary_positions_are_interpolated(runs_on: Any) -> None:
    """Token 2n of a stretched base is turned as token n was: equal states where every second position is left out."""
    made = runs_on("llama")
    run, plain = made("data.long=interpolate", "data.max_source_tokens=256"), made()
    assert positions(run.model.task_model.trunk.config) == 256
    ids = torch.randint(5, 100, (2, 100))
    place = torch.arange(100)[None]
    with torch.no_grad():
        wide = run.model.task_model.trunk(input_ids=ids, position_ids=2 * place).last_hidden_state
        short = plain.model.task_model.trunk(input_ids=ids, position_ids=place).last_hidden_state
        other = plain.model.task_model.trunk(input_ids=ids, position_ids=2 * place).last_hidden_state
    torch.testing.assert_close(wide, short, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(other, short, atol=1e-3)
    stretch_positions(run.model.task_model, 512)  # and once more: the factors multiply
    with torch.no_grad():
        again = run.model.task_model.trunk(input_ids=ids, position_ids=4 * place).last_hidden_state
    torch.testing.assert_close(again, short, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_stretched_positions_are_published(family: str, runs_on: Any, tmp_path: Path) -> None:
    model = runs_on(family)("data.long=interpolate", "data.max_source_tokens=255").model.task_model.eval()
    model.save_pretrained(tmp_path / "published")
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "published").eval()
    ids = torch.randint(5, 100, (2, 250))
    with torch.no_grad():
        assert torch.equal(loaded.encode(ids).hidden_BSD, model.encode(ids).hidden_BSD)


def test_rotary_positions_scaled_in_another_way_are_refused(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "llama", "llama")
    config = json.loads((base / "config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "dynamic", "factor": 2.0}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="are scaled already, by 'dynamic'; use data.long=sliding or head_tail"):
        Runs(base, tmp_path)("data.long=interpolate", "data.max_source_tokens=256")


def test_nothing_is_stretched_that_fits(runs: Any) -> None:
    run = runs("data.long=interpolate", "data.max_source_tokens=64")
    weight = run.model.task_model.trunk.embeddings.position_embeddings.weight.clone()
    stretch_positions(run.model.task_model, 128)
    assert torch.equal(weight, run.model.task_model.trunk.embeddings.position_embeddings.weight)
    assert getattr(run.model.task_model.config, "written_positions", None) is None


@pytest.mark.parametrize(("overrides", "told"), [
    (["data.max_source_tokens=200"], "data.max_source_tokens=200 is more than the 128 tokens that the base at"),
    (["data.max_source_tokens=200", "data.long=head_tail"], "lower it, or choose data.long=sliding or interpolate"),
    (["data.max_source_tokens=200", "data.long=sliding", "data.window_overlap=64"],
     "data.window_overlap=64 is more than half of the 126 tokens of a window"),
])
def test_what_cannot_be_read_is_refused(runs: Any, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runs(*overrides)
    assert told in caught.value.problems[0]


@pytest.mark.parametrize(("overrides", "told"), [
    (["head=extractive", "data.long=head_tail"], "use data.long=truncate, sliding or interpolate"),
    (["head=extractive", "head.segments=true", "data.long=sliding"], "use data.long=interpolate, or head.segments"),
    (["head=prefix_lm", "data.long=sliding"], "head=prefix_lm reads and writes in one piece; use data.long=int"),
    (["data.long=head_tail", "data.head_share=1.5"], "data.head_share=1.5 must be from 0 to 1"),
    (["data.long=sliding", "data.window_overlap=-1"], "data.window_overlap=-1 must be 0 or more"),
])
def test_what_the_configuration_tells_alone(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("train", overrides)  # type: ignore[arg-type]
    assert any(told in problem for problem in caught.value.problems)


def test_the_hash_is_of_what_is_used() -> None:
    def hash_of(*overrides: str) -> str:
        return run_hash(load_config("train", list(overrides)))  # type: ignore[arg-type]

    plain = hash_of()
    assert plain == hash_of("data.head_share=0.5", "data.window_overlap=10") != hash_of("data.long=sliding")
    assert hash_of("data.long=sliding", "data.head_share=0.5") == hash_of("data.long=sliding")
    assert hash_of("data.long=sliding", "data.window_overlap=1") != hash_of("data.long=sliding")


def test_a_checkpoint_keeps_its_way_of_reading() -> None:
    stored = to_dict(load_config("train", ["data.long=head_tail", "data.head_share=0.5"]))
    again = load_config("eval", ["data=files", "data.test=x"], Stored(stored))
    assert again.data.long.value == "head_tail" and again.data.head_share == 0.5
    with pytest.raises(ConfigError, match=r"data.long is fixed by the checkpoint"):
        load_config("eval", ["data.long=sliding"], Stored(stored))


@pytest.mark.parametrize(("mode", "family", "head"), [
    ("head_tail", "bert", "transformer"), ("sliding", "bert", "transformer"), ("interpolate", "bert", "transformer"),
    ("interpolate", "llama", "prefix_lm")])
def test_trained_scored_and_written_through_the_commands(mode: str, family: str, head: str, tiny_base: Path,
                                                         tmp_path: Path) -> None:
    """The last words of the document reach the model, in training and at work, in every mode."""
    base = tiny_base if family == "bert" else make_tiny_base(tmp_path / family, family)
    train, validation = (write_jsonl(tmp_path / f"{name}.jsonl", long_rows(12, 250, seed))
                         for seed, name in enumerate("ab"))
    tokens = 100 if mode == "head_tail" else 2000 if family == "llama" else 300
    done = warm_cli("train", f"model.path={base}", f"head={head}", "objective=summary_only", "data=files",
                    f"data.train={train}", f"data.validation={validation}", f"data.long={mode}",
                    f"data.max_source_tokens={tokens}", "data.window_overlap=16", "data.max_test_rows=0",
                    f"data.cache_dir={tmp_path / 'cache'}", "trainer.max_steps=2", "trainer.batch_size=4",
                    "schedule.warmup_steps=1", "run.name=r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (longest,) = re.findall(rf"long documents: {mode}, up to (\d+) tokens", done.stdout)
    assert int(longest) == min(tokens, 252) if family == "bert" else 252 < int(longest) < tokens
    assert ("(25% from the beginning, the rest from the end)" in done.stdout) == (mode == "head_tail")
    assert (", the longest in 3 windows of 128 that share 16;" in done.stdout) == (mode == "sliding")
    checkpoint = f"checkpoint={tmp_path / 'runs' / 'r'}"
    scored = warm_cli("eval", checkpoint, "eval.split=validation", f"eval.output={tmp_path / 'e'}", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    own = json.loads((tmp_path / "runs" / "r" / "results.json").read_text())["metrics"]["validation"]
    assert json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]["validation"]["rougeL"] == own["rougeL"]
    summarizer = Summarizer(tmp_path / "runs" / "r")
    text = long_rows(2, 250)[1]["document"]
    other = text.rsplit(" ", 5)[0] + " red red red red red"
    one, two = summarizer.details([text, other], with_copies=True)
    assert one.score != two.score


@pytest.mark.parametrize(("head", "family"), [("gru", "bert"), ("extractive", "bert"), ("lstm", "roberta"),
                                              ("transformer", "gpt2"), ("lstm", "llama")])
@pytest.mark.parametrize("mode", ["sliding", "interpolate"])
def test_every_head_reads_long_documents(head: str, family: str, mode: str, runs_on: Any) -> None:
    run = runs_on(family, rows=long_rows(8, 250))(
        f"head={head}", f"data.long={mode}", "data.max_source_tokens=300", "data.window_overlap=16",
        "objective=summary_only")
    (batch,) = next(iter(run.data.loader.iterate(0))).micro
    assert batch["input_ids"].shape[1] > 250
    (result,) = take(run)
    assert np.isfinite(result.losses["summary"])


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level"])
def test_a_very_long_document_is_measured_in_pieces(kind: str) -> None:
    """``data show`` tells how long documents are; 10 MB tokenised at once take gigabytes."""
    plain = tiny_tokenizer() if kind == "wordpiece" else decoder_tokenizer(begins=True)
    tokenizer, text = Measuring(plain), " ".join(random.Random(1).choices(WORDS, k=30_000))
    example = Example("a", text, "red blue", ("red blue",))
    reader = Reader(tokenizer, SummarizationData(max_source_tokens=64))
    profile, read = reader.profile([example, example]), reader.read(example)
    assert tokenizer.longest <= LONGEST_WHOLE < len(text)
    whole = plain(text, verbose=False)["input_ids"]
    assert profile.source_tokens.tolist() == [len(whole)] * 2
    assert len(read.tokens) == len(whole) and len(read.kept) == 64
    assert len(profile.copied) == len(profile.copied_read) == 2

"""Text is text: control tokens that a document or a summary spells are read, learnt and written as characters."""

from __future__ import annotations

import copy
import json
import pickle
import string
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from helpers import decoder_tokenizer, make_tiny_base, tiny_tokenizer, vocabulary
from llmtrain.config.sentence_input import SentenceInput
from llmtrain.data.control_tokens import control_tokens, text_only
from llmtrain.data.examples import Example
from llmtrain.data.features import describe, tokenize
from llmtrain.data.sentence_features import END, START
from llmtrain.data.special_tokens import special_ids
from llmtrain.data.truncation import frame, token_ids
from llmtrain.models.backbone.families import FAMILIES
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.tasks.summarization.options import SummarizationData
from llmtrain.training.run_folder.built_on import SAMPLE

PIECES = [*string.ascii_lowercase, *string.digits, *"<>/[]|_.\u2581"]
NAMES = ("<s>", "<pad>", "</s>", "<unk>")
KNOWN = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "model_max_length": 128}


def unigram(_: Path) -> Any:
    """SentencePiece's Unigram in a class of its own: control tokens are pieces, at the best score there is."""
    pieces = [(name, 0.0) for name in NAMES] + [(piece, -5.0) for piece in PIECES]
    return XLMRobertaTokenizer(vocab=[*pieces, ("\u2581the", -3.0), ("<mask>", 0.0)], model_max_length=128)


def unigram_of_bytes(_: Path) -> Any:
    """Unigram with a piece for each byte, and a normalizer that makes control tokens of full-width letters."""
    pieces = [(name, 0.0) for name in NAMES] + [(piece, -5.0) for piece in PIECES]
    made = Tokenizer(models.Unigram([*pieces, *((f"<0x{byte:02X}>", 0.0) for byte in range(256))], unk_id=3,
                                    byte_fallback=True))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return PreTrainedTokenizerFast(tokenizer_object=made, **KNOWN)


def merging(_: Path) -> Any:
    """SentencePiece's BPE as transformers converts it: no pre-tokenizer, and merges that end in a control token."""
    held = [*NAMES, *PIECES, "</", "s>", "<p", "ad", "ad>"]
    merges = [("<", "/"), ("s", ">"), ("</", "s>"), ("<", "s>"), ("<", "p"), ("a", "d"), ("ad", ">"), ("<p", "ad>")]
    made = Tokenizer(models.BPE({piece: index for index, piece in enumerate(held)}, merges, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.post_processor = processors.TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, **KNOWN)


def in_python(folder: Path) -> Any:
    """A tokenizer without a Rust backend: what it is told to split it keeps where it stands between spaces."""
    (folder / "vocab.txt").write_text("\n".join(vocabulary()), encoding="utf-8")
    return BertTokenizerLegacy(str(folder / "vocab.txt"), model_max_length=128)


KINDS = {one.__name__: one for one in (unigram, unigram_of_bytes, merging, in_python)}


@pytest.fixture(scope="module", params=[*FAMILIES, *KINDS])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in FAMILIES:
        return load_tokenizer(str(make_tiny_base(folder, request.param)))
    return text_only(KINDS[request.param](folder))


def spelling(tokenizer: Any) -> str:
    """A text of all of a tokenizer's control tokens, alone and inside of words."""
    names = sorted(control_tokens(tokenizer))
    assert names
    return f"the {' '.join(names)} a{'b'.join(names)}c {names[0]}"


def squeezed(text: str) -> str:
    """What of a text an uncased tokenizer keeps, without the spaces."""
    return "".join(text.lower().split())


def test_labels_hold_the_end_token_once_and_last_and_give_the_text_back(tokenizer: Any, tmp_path: Path) -> None:
    text, eos = spelling(tokenizer), special_ids(tokenizer).eos
    config = SummarizationData(cache_dir=str(tmp_path), max_summary_tokens=500, max_source_tokens=500)
    features = tokenize([Example("1", text, text, ())], tokenizer, config)
    labels, ids, (before, after) = list(features.labels[0]), list(features.input_ids[0]), frame(tokenizer)
    assert labels.index(eos) == len(labels) - 1
    special = set(tokenizer.all_special_ids)
    assert special.isdisjoint(labels[:-1])
    assert special.isdisjoint(ids[before:len(ids) - after])
    assert special.issuperset([*ids[:before], *ids[len(ids) - after:]])
    for made in (labels, ids):
        assert squeezed(tokenizer.decode(made, skip_special_tokens=True)) == squeezed(text)
    assert token_ids(text, tokenizer) == ids
    assert features.stats.unwritable == 0
    assert features.stats.notes("train")[0].startswith("1 of 1 rows of train spell control tokens of the tokenizer (")


def test_it_stays_so_in_copies_in_processes_and_when_it_is_published(tokenizer: Any, tmp_path: Path) -> None:
    text = spelling(tokenizer)
    ids = tokenizer(text)["input_ids"]
    for again in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert again(text)["input_ids"] == ids
    examples = [Example(str(n), text, text, ()) for n in range(2)]
    made = tokenize(examples, tokenizer, SummarizationData(cache_dir=str(tmp_path / "cache"), processes=2))
    assert list(made.input_ids[1]) == ids
    assert made.stats.notes("test")[0].startswith("2 of 2 rows of test spell")
    tokenizer.save_pretrained(tmp_path / "published")
    assert json.loads((tmp_path / "published" / "tokenizer_config.json").read_text())["split_special_tokens"] is True
    if tokenizer.is_fast:
        alone = AutoTokenizer.from_pretrained(tmp_path / "published")
        assert alone(text)["input_ids"] == ids
        assert text_only(alone) is alone  # nothing is left to do
        assert describe(alone) == describe(tokenizer)


def test_a_tokenizer_is_made_anew_only_where_its_class_would_lose_the_change(tmp_path: Path) -> None:
    """It takes seconds for a vocabulary of 250,000 pieces."""
    for kind in (unigram_of_bytes, merging, in_python):
        made = kind(tmp_path)
        assert text_only(made) is made
    assert type(text_only(unigram(tmp_path))) is PreTrainedTokenizerFast


def test_padding_truncation_and_marks_are_still_control_tokens(tokenizer: Any) -> None:
    text = spelling(tokenizer)
    whole = tokenizer(text)["input_ids"]
    (before, after), length = frame(tokenizer), len(whole) - 3
    cut = tokenizer(text, truncation=True, max_length=length)["input_ids"]
    assert cut == [*whole[:length - after], *whole[len(whole) - after:]]
    assert before + after == len(tokenizer("")["input_ids"])
    if tokenizer.pad_token is not None:
        padded = tokenizer(text, padding="max_length", max_length=len(whole) + 5)["input_ids"]
        assert padded == [*whole, *[tokenizer.pad_token_id] * 5]


def test_a_call_may_still_ask_for_control_tokens(tokenizer: Any) -> None:
    """A prompt of the configuration does."""
    names = control_tokens(tokenizer)
    ids = tokenizer("".join(names), add_special_tokens=False, split_special_tokens=False)["input_ids"]
    assert ids == tokenizer.convert_tokens_to_ids(names)
    assert set(tokenizer.all_special_ids).isdisjoint(tokenizer("".join(names), add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", [*FAMILIES, *KINDS])
def test_texts_without_control_tokens_have_the_ids_they_had(kind: str, tmp_path: Path) -> None:
    plain = KINDS[kind](tmp_path) if kind in KINDS else AutoTokenizer.from_pretrained(make_tiny_base(tmp_path, kind))
    made = text_only(copy.deepcopy(plain))
    for text in (SAMPLE, "the < s > of <a href='x'>", "a [sep b] <", "<|end|>", " ".join(vocabulary()[5:]), ""):
        assert made(text)["input_ids"] == plain(text)["input_ids"]


@pytest.mark.parametrize("kind", [unigram, unigram_of_bytes])
def test_full_width_letters_and_bytes_that_are_spelled_are_text_too(kind: Any, tmp_path: Path) -> None:
    made = text_only(kind(tmp_path))
    assert made.decode(made("a<0x0a>b", add_special_tokens=False)["input_ids"]) == "a<0x0a>b"
    if kind is unigram_of_bytes:
        assert made.decode(made("a<0x0A>b", add_special_tokens=False)["input_ids"]) == "a<0x0A>b"
        assert made.decode(made("a\u4e2db", add_special_tokens=False)["input_ids"]) == "a\u4e2db"  # by its bytes
        full = made("a\uff1c\uff0fs\uff1eb", add_special_tokens=False)["input_ids"]
        assert made.decode(full, skip_special_tokens=True) == "a</s>b"


@pytest.mark.parametrize("kind", ["fast", "python"])
def test_added_tokens_that_control_nothing_stay_whole(kind: str, tmp_path: Path) -> None:
    made = decoder_tokenizer(begins=True) if kind == "fast" else in_python(tmp_path)
    made.add_tokens(["<name>", "<ab>"])
    made = text_only(made)
    whole = made.convert_tokens_to_ids("<name>")
    ids = made("a <name></s> <name>", add_special_tokens=False)["input_ids"]
    assert ids.count(whole) == 2
    assert set(made.all_special_ids).isdisjoint(ids)
    assert squeezed(made.decode(ids, skip_special_tokens=True)) == "a<name></s><name>"
    assert text_only(pickle.loads(pickle.dumps(made)))("<name>", add_special_tokens=False)["input_ids"] == [whole]


def test_sentences_keep_their_marks_and_their_places(tmp_path: Path) -> None:
    made = text_only(tiny_tokenizer())
    text = "The [SEP] of a tree. A [CLS] red [MASK] node."
    asked = SentenceInput(marked=True)
    features = tokenize([Example("1", text, text, ())], made, SummarizationData(cache_dir=str(tmp_path)), asked)
    ids, starts, ends = list(features.input_ids[0]), list(features.extra[START][0]), list(features.extra[END][0])
    assert len(starts) == 2
    assert [place for place, one in enumerate(ids) if one == made.cls_token_id] == starts
    assert [place + 1 for place, one in enumerate(ids) if one == made.sep_token_id] == ends
    assert features.stats.spelled == ("[SEP]",)
    plain = tokenize([Example("1", text, text, ())], made, SummarizationData(cache_dir=str(tmp_path)), SentenceInput())
    parts = [made.decode(list(plain.input_ids[0])[start:end])
             for start, end in zip(plain.extra[START][0], plain.extra[END][0], strict=True)]
    assert [squeezed(part) for part in parts] == ["the[sep]ofatree.", "a[cls]red[mask]node."]


def test_what_no_token_stands_for_is_counted_and_told(tmp_path: Path) -> None:
    """A vocabulary without a bracket cannot keep ``[SEP]``; nor a snowman."""
    from transformers import BertTokenizerFast

    names = [token for token in vocabulary() if token != "["]
    made = text_only(BertTokenizerFast(vocab={token: index for index, token in enumerate(names)}))
    rows = [Example("1", "a tree", "a [SEP] tree", ()), Example("2", "a tree \u2603", "a tree", ()),
            Example("3", "a tree", "a \u2603", ())]
    stats = tokenize(rows, made, SummarizationData(cache_dir=str(tmp_path))).stats
    assert stats.notes("train") == [
        "1 of 3 rows of train spell control tokens of the tokenizer ([SEP]): they are read and written as text",
        "2 of 3 targets of train hold characters that the tokenizer has no token for: the model cannot write them"]
    assert tokenize(rows[1:2], made, SummarizationData(cache_dir=str(tmp_path))).stats.notes("train") == []


def test_an_end_token_that_stands_for_text_ends_no_summary_in_its_middle(tmp_path: Path) -> None:
    """One of a single character cannot be spelled otherwise: it is left out, counted and told."""
    made = text_only(tiny_tokenizer())
    made.add_special_tokens({"sep_token": "."})
    features = tokenize([Example("1", "a tree. a node.", "a tree. a node", ())], made,
                        SummarizationData(cache_dir=str(tmp_path)))
    ids = made("a tree a node", add_special_tokens=False)["input_ids"]
    assert list(features.labels[0]) == [*ids, made.sep_token_id]
    assert features.stats.unwritable == 1


def test_features_of_a_tokenizer_that_reads_control_tokens_are_others(tmp_path: Path) -> None:
    plain = tiny_tokenizer()
    before = describe(plain)
    assert describe(text_only(plain)) != before


def test_the_frame_is_found_by_a_tokenizer_that_does_not_know_the_letter_a(tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    names = [token for token in vocabulary() if token != "a"]
    made = text_only(BertTokenizerFast(vocab={token: index for index, token in enumerate(names)}))
    assert frame(made) == (1, 1)

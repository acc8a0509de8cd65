"""The row about what people summarize: nothing, far too much, and characters nobody thought of."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from torture.bench import Bench, must
from torture.observe import finished

MEMORY = 3 << 29
SECONDS = 90  # of a case on a busy machine; 10 MB are tokenised in some of them
MEGABYTES = 10 << 20
PLAIN = "Red systems read every file. Blue ones write a second sentence here. Nobody minds."


def filled(piece: str, size: int) -> str:
    """The piece again and again, up to so many bytes of UTF-8."""
    return piece * (size // len(piece.encode("utf-8", "surrogatepass")))


CASES: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "10 MB": lambda: filled(PLAIN + " ", MEGABYTES),
    "only emoji": lambda: "😀🤖👩‍👩‍👧‍👦🇩🇪" * 40,
    "right to left": lambda: "שלום עולם. זה משפט שני. مرحبا بالعالم. هذه جملة ثانية؟",
    "NUL": lambda: "a\0b\0. c\0 d.",
    "lone surrogates": lambda: "high \ud800 and low \udfff. Another \udc00.",
    "one word of 1 MB": lambda: "x" * (1 << 20),
    "10 MB of emoji": lambda: filled("😀", MEGABYTES),
    "blank": lambda: " \t\u3000\u200b\u00a0 ",
    "marks on marks": lambda: "e" + "\u0301" * 20_000 + " and. more.",
    "control characters": lambda: "".join(chr(code) for code in range(1, 32) if chr(code) not in "\n\r") + "end.",
    "a byte order mark": lambda: "\ufeff" + PLAIN,
    "line separators": lambda: "one\u2028two\u2029three\x85four\x0bfive\x0csix",
    "carriage returns": lambda: "one\rtwo\rthree. four\r",
    "Chinese": lambda: "第一句话在这里。第二句话!第三句?" * 30,
    "full stops alone": lambda: ". . . ! ? 。 ！" * 200,
    "special tokens": lambda: "[CLS] [SEP] [MASK] [PAD] [UNK] </s> <s> <|endoftext|>",
    "marks of direction": lambda: "\u202eabc\u202c def \u2066ghi\u2069.",
    "zero width": lambda: "\u200b\u200c\u200d\ufeff".join("letters between") + ".",
    "private and unassigned": lambda: "\ue000\U000f0000\U0010ffff\u0378 \ufffe\uffff.",
    "digits": lambda: "9" * 5000 + ". " + "1,234.56 " * 500,
    "10 MB of spaces": lambda: " " * MEGABYTES + "end.",
    "10 MB of full stops": lambda: filled(". ", MEGABYTES),
    "markup": lambda: "<p>One &amp; two.</p><script>alert('x')</script> {{ three }} ${four} %s",
}
WAYS = ("rows", "lines", "text")
HEADS = ("transformer", "extractive", "ext_abs")


def documents(bench: Bench, n: int, draw: random.Random) -> str:
    """R18: each document by each way in, through each head; then many short ones.

    A summary or one clear line for each; the order is kept, and memory is bounded.
    """
    peak, slowest, refused = 0, 0.0, 0
    plan = [(name, WAYS[(turn + number) % len(WAYS)], HEADS[(turn + number // 2) % len(HEADS)])
            for turn in range(len(WAYS)) for number, name in enumerate(CASES)]
    for name, way, head in plan[:n]:
        text = CASES[name]()
        told = f"{name} as {way} through {head}"
        run = bench.cli("summarize", f"checkpoint={trained(bench, head)}", *given(bench, way, text),
                        "generation.max_new_tokens=6",
                        stdin=in_lines(text) if way == "lines" else None, timeout=SECONDS)
        must("Traceback" not in run.err(), f"{told}: {run.err()[-1200:]}")
        must(run.code in (0, 2), f"{told}: it ended with {run.code}: {run.err()[-800:]}")
        lines = run.err().splitlines()
        must(all(len(line) < 400 for line in lines) and len(lines) < 5, f"{told}: it said {run.err()[:800]}")
        if run.code == 0:
            summaries = run.out().split("\n")[:-1]
            must(len(summaries) == expected(way, text), f"{told}: {len(summaries)} summaries, {summaries[:3]}")
            check_neighbours(summaries, way, told)
        else:
            must(len(lines) == 1, f"{told}: refused in {len(lines)} lines")
            refused += 1
        peak, slowest = max(peak, run.peak), max(slowest, run.seconds)
        must(run.peak < MEMORY, f"{told}: {run.peak >> 20} MiB")
    count = 1000 if n < len(CASES) else 100_000
    short = many(bench, count, draw)
    return (f"{len(plan[:n])} cases, {refused} of them refused, up to {slowest:.0f} s and {peak >> 20} MiB; {count:,} "
            f"short ones {short}")


def trained(bench: Bench, head: str) -> Path:
    folder = bench.run_folder(f"documents-{head}")
    if not folder.is_dir():
        own = ["head.select=count", "head.count=1"] if head == "extractive" else []
        finished(bench, *bench.train_args(folder.name, f"head={head}", *own, "objective=summary_only",
                                          "trainer.best_metric=loss.summary", "trainer.max_steps=2"))
    return folder


def in_lines(text: str) -> str:
    """The document between two plain ones, a line each, as far as its own line breaks let it."""
    return f"{PLAIN}\n{text}\n{PLAIN}\n".encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def given(bench: Bench, way: str, text: str) -> list[str]:
    path = bench.folder / ("document.jsonl" if way == "rows" else "document.txt")
    if way == "rows":
        path.write_text("".join(json.dumps({"document": part}) + "\n" for part in (PLAIN, text, PLAIN)))
    elif way == "text":
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return [] if way == "lines" else [f"input={path}"]


def expected(way: str, text: str) -> int:
    if way == "lines":
        return in_lines(text).count("\n")
    return 3 if way == "rows" else 1


def check_neighbours(summaries: list[str], way: str, told: str) -> None:
    """The plain documents on both sides have their own summary, one and the same."""
    if way != "text":
        must(summaries[0] == summaries[-1] != "", f"{told}: its neighbours became {summaries[0]!r}, {summaries[-1]!r}")


def many(bench: Bench, count: int, draw: random.Random) -> str:
    """So many short documents by stdin: each summary is a sentence of the document that stands in its line."""
    rows = [f"Number {draw.randrange(10**6)} is here. It is not {draw.randrange(10**6)} at all." for _ in range(count)]
    run = finished(bench, "summarize", f"checkpoint={trained(bench, 'extractive')}",
                   stdin="\n".join(rows) + "\n", timeout=60 + count / 50)
    summaries = run.out().splitlines()
    must(len(summaries) == count, f"{count} short documents: {len(summaries)} summaries")
    wrong = [(row, made) for row, made in zip(rows, summaries, strict=True) if not made or made not in row]
    must(not wrong, f"{len(wrong)} summaries are not of their documents: {wrong[:2]}")
    must(run.peak < MEMORY, f"{count} short documents: {run.peak >> 20} MiB")
    return f"in {run.seconds:.0f} s and {run.peak >> 20} MiB, in order"

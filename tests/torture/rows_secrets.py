"""A row about secrets: a hub token in the environment, on the command line, in a URL."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from torture.bench import Bench, must
from torture.rows_input import trained

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
Make = Callable[[Bench, list[str], str], tuple[list[str], dict[str, str]]]  # (.., a good command, the canary)


def kept(bench: Bench, n: int, draw: random.Random) -> str:
    """R13: the canary stands in no file, no output, and in no process's title (what is typed, its own
    command line shows until it is refused)."""
    codes = []
    trained(bench)
    for number in range(n):
        name, make = CASES[number % len(CASES)]
        canary = "".join(draw.choices(LETTERS, k=34))
        folder = bench.folder / f"secret-{number}"
        folder.mkdir()
        args, env = make(bench, bench.train_args("run", f"run.root={folder / 'runs'}", "trainer.max_steps=1"),
                         f"hf_{canary}")
        # a child of the warm server has the server's title: the first, with nothing typed, is a program of its own
        how = {"hook": ("torture.hooks:hub_of_the_environment", [])} if "HF_ENDPOINT" in env else {}
        run = (bench.start if number else bench.cold)(*args, cwd=folder, env=env, **how)
        shown = run.until(lambda text=canary: in_a_title(text), 90, 0.05)  # type: ignore[misc]
        must(not shown, f"{name}: the canary is in the title of a process")
        run.wait(90)
        must(run.code in (0, 2, 3), f"{name}: ended with {run.code}: {run.err()[-800:].replace(canary, '<canary>')}")
        for what, said in (("output", run.out()), ("errors", run.err())):
            must(canary not in said, f"{name}: the canary is in its {what}: {said[-500:].replace(canary, '<canary>')}")
        where = [path for root in (folder, bench.folder / "cache", bench.folder / "runs") for path in root.rglob("*")
                 if path.is_file() and canary.encode() in path.read_bytes()]
        must(not where, f"{name}: the canary is in {where}")
        codes.append(run.code)
        shutil.rmtree(folder)
    return f"{codes.count(0)} worked with it in the environment, {len(codes) - codes.count(0)} refused; found nowhere"


def in_a_title(text: str) -> bool:
    """Whether any process of this machine shows it to ``ps``."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (path / "cmdline").read_bytes() + (path / "comm").read_bytes():
                return True
    return False


def typed(*arguments: str, **env: str) -> Make:
    """CANARY in these arguments and variables becomes a hub's token, PASSWORD one that nothing tells for a token."""
    def filled(text: str, canary: str) -> str:
        return text.replace("CANARY", canary).replace("PASSWORD", canary.removeprefix("hf_"))

    return lambda bench, good, canary: ([*good, *(filled(one, canary) for one in arguments)],
                                        {key: filled(value, canary) for key, value in env.items()})


def unreachable(*arguments: str, **env: str) -> Make:
    """The same, with a hub allowed that nobody serves."""
    return typed(*arguments, HF_HUB_OFFLINE="", HF_ENDPOINT="http://user:PASSWORD@127.0.0.1:9", HF_TOKEN="CANARY",
                 **env)


def scored(command: str, *arguments: str) -> Make:
    return lambda bench, good, canary: (
        [command, f"checkpoint={bench.run_folder('to-read')}",
         *(one.replace("CANARY", canary) for one in arguments)], {"HF_TOKEN": canary})


CASES: list[tuple[str, Make]] = [
    ("HF_TOKEN of a run", typed(HF_TOKEN="CANARY")),
    ("+token=", typed("+token=CANARY")),
    ("a login in a URL", typed("data.train=https://user:PASSWORD@example.org/train.jsonl")),
    ("a hub that nobody serves", unreachable("model.path=some/base")),
    ("the run's name", typed("run.name=CANARY")),
    ("HF_TOKEN typed too", typed("run.name=x-CANARY", HF_TOKEN="CANARY")),
    ("a sweep", typed("--multirun", "run.name=CANARY,other")), ("not KEY=VALUE", typed("CANARY")),
    ("a quote left open", typed("data.document='CANARY")), ("a resolver", typed("data.document=${oc.env:HF_TOKEN}",
                                                                                HF_TOKEN="CANARY")),
    ("a hub's dataset", unreachable("data=hub", "data.hub.name=some/data")),
    ("a revision", typed("model.revision=CANARY")), ("--plugin", typed("--plugin", "CANARY.py")),
    ("--cfg", typed("--cfg", "job", HF_TOKEN="CANARY")), ("--cfg with it", typed("--cfg", "job", "run.name=CANARY")),
    ("a wrong option", typed("head=CANARY")), ("eval", scored("eval", "eval.split=validation")),
    ("eval, an output", scored("eval", "eval.output=CANARY")), ("summarize", scored("summarize", "input=CANARY.txt")),
    ("a login, looked into", typed("data.test=s3://me:CANARY@bucket/x")),
    ("a login without a user", typed("data.test=https://PASSWORD@example.org/x")),
    ("inside a name", typed("run.name=my_CANARY", "trainer.max_step=1")),
    ("percent-encoded", typed("data.train=https%3A%2F%2Fuser%3ACANARY%40example.org")),
    ("a resolver that another key names", typed("--cfg", "job", "data.document=${oc.${data.summary}:HF_TOKEN}",
                                                "data.summary=env", HF_TOKEN="CANARY")),
    ("a login with @ and /", typed("data.train=https://user:p@/PASSWORD@example.org/x")),
]

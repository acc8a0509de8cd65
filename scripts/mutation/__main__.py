"""Breaks a file or folder of src/llmtrain in many small ways and says which breaks no test sees.

    scripts/mutate src/llmtrain/models/heads/copy.py
    scripts/mutate src/llmtrain/optim --sample 50 --seed 1 --seconds 300

Each mutant is tried on the tests that reach its line: of those that scripts/mutation/known.toml names for the file, or
else of the unit tests that import the module. No file is changed: a process that has the tests loaded forks once for
each mutant and exchanges the code there. known.toml also lists the mutants that compute the same as the program, with
the reason. Ends with 0 when none survived, 1 when some did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.dont_write_bytecode = True

from group import run_group  # noqa: E402
from sources import PACKAGE, ROOT, Source, Trial, read_source, shown, tests_of  # noqa: E402

KNOWN = Path(__file__).resolve().parent / "known.toml"
VERDICTS = ("killed", "survived", "equivalent", "unreached", "left")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a Python file or a folder of them")
    parser.add_argument("--tests", nargs="+", type=Path, help="test files; default: those that known.toml names, or "
                                                              "the unit tests that import the module")
    parser.add_argument("--sample", type=int, metavar="N", help="try only N mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600, help="stop after this time; default: an hour")
    parser.add_argument("--each", type=float, default=20, metavar="SECONDS",
                        help="try a mutant on the fastest tests that reach it, so many seconds of them; default: 20")
    parser.add_argument("--parallel", type=int, default=2, help="mutants tried at once; default: 2")
    parser.add_argument("--match", default="", help="only mutants with this text in their name")
    parser.add_argument("--known", type=Path, default=KNOWN, help="tests of files, and equivalents")
    parser.add_argument("--report", type=Path, help="write what became of each mutant, as JSON")
    parser.add_argument("--again", type=Path, help="only what survived in this --report")
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    options = parser.parse_args(arguments)
    options.root = ROOT
    for path in (*options.paths, *(options.tests or [])):
        if not path.exists():
            parser.error(f"no file or folder at {path}; name one of src/llmtrain")
    options.paths = [path.resolve() for path in options.paths]
    options.tests = options.tests and [path.resolve() for path in options.tests]
    return options


def chosen(sources: list[Source], options: argparse.Namespace, known: dict[str, Any]) -> list[Trial]:
    trials = [Trial(source, number) for source in sources for number in range(len(source.mutants))
              if options.match in source.mutants[number].name]
    if options.again:
        before = json.loads(options.again.read_text(encoding="utf-8"))
        names = {(row["path"], row["name"]) for row in before if row["verdict"] in ("survived", "unreached", "left")}
        trials = [trial for trial in trials if (shown(trial.source.path), trial.name) in names]
    if options.sample is not None and options.sample < len(trials):
        kept = set(random.Random(options.seed).sample(range(len(trials)), options.sample))
        trials = [trial for number, trial in enumerate(trials) if number in kept]
    for source in sources:
        listed = known.get("equivalent", {}).get(shown(source.path), {})
        for name in listed.keys() - {mutant.name for mutant in source.mutants}:
            print(f"listed as equivalent and made no more: {shown(source.path)} {name}", file=sys.stderr)
        for trial in trials:
            if trial.source is source and trial.name in listed:
                trial.verdict, trial.why = "equivalent", listed[trial.name]
    return trials


def table(sources: list[Source], trials: list[Trial]) -> Iterator[str]:
    rows = [("", "mutants", *VERDICTS)]
    for source in [*sources, None]:
        own = [trial for trial in trials if source in (None, trial.source)]
        counts = Counter(trial.verdict for trial in own)
        name = "together" if source is None else shown(source.path)
        if source is not None or len(sources) > 1:
            rows.append((name, str(len(own)), *(str(counts[verdict]) for verdict in VERDICTS)))
    width = max(len(row[0]) for row in rows)
    for name, *numbers in rows:
        yield f"{name:{width}}" + "".join(f"{number:>12}" for number in numbers)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    started = time.monotonic()
    known = tomllib.loads(options.known.read_text(encoding="utf-8")) if options.known.exists() else {}
    paths = [file for path in options.paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    sources = [source for source in map(read_source, dict.fromkeys(paths)) if source.mutants]
    trials = chosen(sources, options, known)

    def done(trial: Trial) -> None:
        print(f"{trial.verdict}{f' ({trial.why})' if trial.why else ''}  {trial.place}  {trial.name}", flush=True)

    groups: dict[tuple[Path, ...], list[Source]] = {}
    for source in sources:
        groups.setdefault(tuple(options.tests or tests_of(source, known)), []).append(source)
    for trial in trials:
        if trial.verdict == "equivalent" or options.list:
            done(trial)
    if not options.list:
        prepare(sources)
        with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
            for tests, members in groups.items():
                own = [trial for trial in trials if trial.source in members and trial.verdict == "left"]
                if own and tests and time.monotonic() - started < options.seconds:
                    run_group(members, own, list(tests), options, started + options.seconds, Path(folder), done)
    if options.report:
        options.report.write_text(json.dumps([{"path": shown(trial.source.path), "name": trial.name,
                                               "verdict": trial.verdict, "why": trial.why} for trial in trials],
                                             indent=1), encoding="utf-8")
    print("\n".join(table(sources, trials)))
    print(f"{time.monotonic() - started:.0f} seconds")
    return int(any(trial.verdict in ("survived", "unreached") for trial in trials))


def prepare(sources: list[Source]) -> None:
    """Load what every fork needs, and end all that was started when this process is told to."""
    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sys.path[:0] = [str(ROOT / "tests"), str(PACKAGE.parent), *dict.fromkeys(
        str(source.path.parent) for source in sources if not source.path.is_relative_to(PACKAGE))]
    if any(source.path.is_relative_to(PACKAGE) for source in sources):
        from warm.process import load_libraries

        load_libraries()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        try:
            sys.exit(main(sys.argv[1:]))
        except KeyboardInterrupt:
            sys.exit("mutate: stopped; nothing was changed")

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
import ast
import contextlib
import functools
import gc
import importlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "src" / "llmtrain"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.dont_write_bytecode = True

from mutants import mutants_of  # noqa: E402
from trial import (  # noqa: E402
    FAILED,
    NEEDS_IMPORT,
    PASSED,
    Baseline,
    Child,
    Importing,
    Source,
    exchange,
    fork,
    functions_of,
    keep,
    measure,
    quiet,
    run_tests,
    wait,
    with_tests,
)

VERDICTS = ("killed", "survived", "equivalent", "unreached", "left")


@dataclass
class Trial:
    """A mutant and what became of it."""

    source: Source
    number: int
    verdict: str = "left"
    why: str = ""

    @property
    def name(self) -> str:
        return self.source.mutants[self.number].name

    @property
    def place(self) -> str:
        return f"{shown(self.source.path)}:{self.source.mutants[self.number].line}"


def shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path)


def read_source(path: Path) -> Source:
    tree, mutants = mutants_of(path.read_text(encoding="utf-8"))
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts if path.is_relative_to(PACKAGE) else (path.stem,)
    return Source(path, ".".join(parts).removesuffix(".__init__"), tree, mutants)


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, or that stands in it as a text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("llmtrain."):
            names.add(node.value.split(":")[0])  # as the registry names it
    return names


def importers(module: str) -> list[Path]:
    """The unit tests that import a module, or else those of the modules that import it."""
    wanted, known = {module}, {module}
    tests = {path: imported(path) for room in sorted(PACKAGE.iterdir()) if (ROOT / "tests" / room.name).is_dir()
             for path in sorted((ROOT / "tests" / room.name).rglob("test_*.py"))}
    sources = {read_name(path): imported(path) for path in sorted(PACKAGE.rglob("*.py"))}
    while wanted:
        if found := [path for path, names in tests.items() if names & wanted]:
            return found
        wanted = {name for name, names in sources.items() if names & wanted} - known
        known |= wanted
    return []


def read_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def tests_of(source: Source, known: dict[str, Any]) -> list[Path]:
    for pattern, names in known.get("tests", {}).items():
        if fnmatch(shown(source.path), pattern):
            return [ROOT / "tests" / name for name in names]
    return importers(source.module)


# A group of files with the same tests


def collected(session: Any, sources: list[Source], trials: list[Trial], options: argparse.Namespace, deadline: float,
              folder: Path, tell: Callable[[Trial], None]) -> int:
    """In the process that has the tests: measure, then try every mutant whose code can be exchanged."""
    for source in sources:  # the registry imports many a module when it is first asked for it
        importlib.import_module(source.module)
    base = folder / "baseline"
    keep(base, Baseline())
    wait([fork(lambda: keep(base, measure(session, sources)) or PASSED)])
    baseline: Baseline = pickle.loads(base.read_bytes())
    functions = functions_of({str(source.path) for source in sources})
    gc.collect()
    gc.freeze()  # so that no fork copies what its collector looks through

    def work(trial: Trial, tests: list[str]) -> int:
        mutant = trial.source.mutants[trial.number]
        try:
            code = mutant.compiled(trial.source.tree, str(trial.source.path))
        except SyntaxError:
            return FAILED
        if not exchange(functions[str(trial.source.path)], code):
            return NEEDS_IMPORT
        return PASSED if run_tests(session, tests) else FAILED

    def jobs() -> Iterator[tuple[Trial, Callable[[], int], float]]:
        for trial in trials:
            tests = baseline.fitting(trial.source, trial.source.mutants[trial.number], options.each)
            if not tests:
                trial.verdict = "unreached"
                tell(trial)
            elif not trial.source.mutants[trial.number].inside:
                trial.verdict = "import"
                tell(trial)
            else:
                yield trial, functools.partial(work, trial, tests), sum(baseline.seconds[test] for test in tests)

    pool(jobs(), options.parallel, deadline, tell)
    return PASSED


def pool(jobs: Iterator[tuple[Trial, Callable[[], int], float]], parallel: int, deadline: float,
         tell: Callable[[Trial], None]) -> None:
    """Run the jobs, so many at a time, until the time is up."""
    running: dict[int, tuple[Trial, Child]] = {}

    def take_one() -> None:
        child, code = wait([child for _, child in running.values()])
        trial, _ = running.pop(child.pid)
        trial.verdict = {PASSED: "survived", NEEDS_IMPORT: "import"}.get(code, "killed")
        trial.why = "by time" if code < 0 else ""
        tell(trial)

    try:
        for trial, work, seconds in jobs:
            while len(running) >= parallel:
                take_one()
            if time.monotonic() > deadline:
                break
            child = fork(work, seconds)
            running[child.pid] = trial, child
        while running:
            take_one()
    finally:
        for _, child in running.values():
            child.kill()
            shutil.rmtree(child.folder, ignore_errors=True)


def run_group(sources: list[Source], trials: list[Trial], tests: list[Path], options: argparse.Namespace,
              deadline: float, folder: Path, done: Callable[[Trial], None]) -> None:
    numbers = {(str(trial.source.path), trial.number): trial for trial in trials}
    reading, writing = os.pipe()

    def group() -> int:
        os.close(reading)
        quiet()

        def tell(trial: Trial) -> None:
            line = json.dumps([str(trial.source.path), trial.number, trial.verdict, trial.why])
            os.write(writing, f"{line}\n".encode())

        return with_tests(tests, options.root, lambda session: collected(
            session, sources, trials, options, deadline, folder, tell))

    (folder / "baseline").unlink(missing_ok=True)
    child = fork(group)
    os.close(writing)
    later: list[Trial] = []
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                path, number, verdict, why = json.loads(line)
                trial = numbers[path, number]
                trial.verdict, trial.why = verdict, why
                if verdict == "import":
                    trial.verdict = "left"
                    later.append(trial)
                else:
                    done(trial)
        _, code = wait([child])
    except BaseException:
        child.kill()
        raise
    if code != PASSED:
        names = ", ".join(path.name for path in tests)
        sys.exit(f"mutate: the tests could not be collected: {names}; run them with scripts/test")
    baseline: Baseline = pickle.loads((folder / "baseline").read_bytes())
    for name in baseline.failed:
        print(f"left out, fails or is skipped without any change: {name}", file=sys.stderr)
    wanted = baseline.fastest(options.each, baseline.seconds.keys())

    def fresh(trial: Trial) -> int:
        quiet()
        try:
            code = trial.source.mutants[trial.number].compiled(trial.source.tree, str(trial.source.path))
        except SyntaxError:
            return FAILED
        sys.meta_path.insert(0, Importing(trial.source, code))
        return with_tests(tests, options.root, lambda session: PASSED if run_tests(session, wanted) else FAILED)

    total = sum(baseline.seconds[test] for test in wanted) + 20
    pool(((trial, functools.partial(fresh, trial), total) for trial in later), options.parallel, deadline, done)


# The command


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
    parser.add_argument("--known", type=Path, default=HERE / "known.toml", help="tests of files, and equivalents")
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

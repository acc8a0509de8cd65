"""The card at the end of the report: how the figures came about, and how to get them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmtrain.config.keys import WHERE
from llmtrain.config.reference import keys
from llmtrain.report.run_record import RunRecord
from llmtrain.report.task_parts import TaskPart

NOT_COMPARED = ("experiment_name", "fingerprints", "command", "run.name", "run.root")
Facts = list[tuple[str, list[str]]]  # what a line is about, and what each run has


def blocks(runs: Sequence[RunRecord], parts: Sequence[TaskPart], unlike: Mapping[str, list[str]],
           ) -> Iterator[dict[str, Any]]:
    """The card's blocks as the template shows them.

    Args:
        unlike: See :func:`differing_keys`.
    """
    names = [run.name for run in runs] if len(runs) > 1 else []

    def block(title: str, facts: Any = (), about: str = "", commands: Any = (), named: Any = None) -> dict[str, Any]:
        return {"title": title, "facts": list(facts), "about": about, "commands": list(commands),
                "names": names if named is None else named}

    if unlike:
        yield block("What differs between the runs", unlike.items())
    for part in parts:
        own = [run.name for run in part.runs] if len(part.runs) > 1 else []
        yield block(f"Outputs{f', {part.title}' if part.title else ''}", facts_of_output(part), named=own)
    for run in runs:
        if audit := run.results.get("precisions"):
            yield block(f"Decoded in several precisions{f', {run.name}' if names else ''}", facts_of_precisions(audit),
                        named=list(audit["decoded"]))
    if facts := facts_of_training(runs):
        yield block("Training", facts)
    if facts := environment_of(runs):
        yield block("Environment", facts)
    commands = [{"name": run.name if len(runs) > 1 else "", "text": text} for run in runs
                if (text := command_of(run))]
    about = ("As it was typed, in the folder where the run was started. What lies at its paths must be the same, as "
             "the hash above tells." if commands else "An older version, or a program, started this and kept no "
             "command; config.yaml in the run's folder holds every key.")
    yield block("To repeat it", about=about, commands=commands)


def differing_keys(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """The keys by which runs' configurations differ, with the value of each, names and places of files apart."""
    flat = [_flat(run.config) for run in runs]
    known = keys("train")
    found = {}
    for key in sorted({key for one in flat for key in one}):
        where = key in known and known[key].affects == WHERE
        values = [_plain(one.get(key)) for one in flat]
        if not where and not key.startswith(NOT_COMPARED) and len(set(values)) > 1 and all(flat):
            found[key] = values
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def command_of(run: RunRecord) -> str:
    """The command that repeats a run, as it was typed; empty where nobody kept it."""
    typed = run.config.get("command")
    if not isinstance(typed, list):
        return ""
    words = [str(word) for word in typed]
    if not any(word.startswith("run.name=") for word in words) and (name := (run.config.get("run") or {}).get("name")):
        words.append(f"run.name={name}")
    return shlex.join(["llmtrain", *words])


def facts_of_training(runs: Sequence[RunRecord]) -> Facts:
    """What each run cost, and in what it ran."""
    def each(read: Any) -> list[str]:
        return [read(run.results) if run.results else "" for run in runs]

    def number(name: str, form: str) -> list[str]:
        return each(lambda results: form.format(results[name]) if results.get(name) is not None else "")

    facts = [
        ("precision asked for", each(lambda r: _plain((r.get("precision") or {}).get("requested")))),
        ("precision that ran", each(lambda r: _plain((r.get("precision") or {}).get("effective")))),
        ("weights are kept in", each(lambda r: _plain((r.get("kept_in") or {}).get("weights")))),
        ("steps", number("steps", "{:,}")), ("steps skipped", number("skipped_steps", "{:,}")),
        ("best checkpoint, step", number("best_step", "{:,}")),
        ("seconds of training", number("seconds", "{:,.0f}")),
        ("tokens a second", number("tokens_per_second", "{:,.0f}")),
        ("peak memory, MiB", each(lambda r: f"{r['peak_memory_bytes'] / 2**20:,.0f}" if r.get("peak_memory_bytes")
                                  else "")),
        ("processes", number("world_size", "{}")),
        ("hash of the data", each(lambda r: _plain(r.get("data_hash"))[:16]))]
    return [(name, values) for name, values in facts if any(values)]


def facts_of_output(part: TaskPart) -> Facts:
    """What each run's outputs are like: lengths, repetition, novelty, what was cut."""
    names = list(dict.fromkeys(name for run in part.runs for name in run.scores.get("extras") or {}))
    facts = [(name.replace("_", " "), [_measure((run.scores.get("extras") or {}).get(name)) for run in part.runs])
             for name in names]
    facts.insert(0, ("signature", [str(run.scores.get("signature") or "") for run in part.runs]))
    cut = [(run.scores.get("truncation") or {}).get(run.split or "") or {} for run in part.runs]
    for key, words in (("sources", "sources cut"), ("targets", "references cut")):
        told = [f"{one[key]:.1%} to {one[f'max_{key[:-1]}_tokens']:.0f} tokens" if key in one else "" for one in cut]
        facts.append((words, told))
    return [(name, values) for name, values in facts if any(values)]


def facts_of_precisions(audit: Mapping[str, Any]) -> Facts:
    """What ``llmtrain eval eval.precisions=[...]`` found: how much changes from the first precision, and the speed."""
    decoded = audit["decoded"]
    facts = [("ran in", [_plain(one.get("effective")) for one in decoded.values()]),
             ("rows a second", [_measure(one.get("rows_per_second")) for one in decoded.values()]),
             ("outputs that change", [_plain(one.get("changed")) for one in decoded.values()]),
             ("the first change", [_first_change(one.get("first_change")) for one in decoded.values()])]
    for metric in audit["comparison"]["metrics"].values():
        tests = metric["differences"]
        facts.append((metric["heading"], [tests[name]["verdict"] if name in tests else "" for name in decoded]))
    return facts


def _first_change(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"row {found['id']}, character {found['character'] + 1}"


def _measure(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:.3f}"


def environment_of(runs: Sequence[RunRecord]) -> Facts:
    """What each run ran on."""
    flat = [_flat(run.environment) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    facts = [(name.removeprefix("packages.").replace("cpu.", "CPU "), [_listed(one.get(name)) for one in flat])
             for name in names if not name.startswith(("plugins.", "own_configs."))]
    return [(name, values) for name, values in facts if any(values)]


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else _plain(value)

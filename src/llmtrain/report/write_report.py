"""From paths to the report's file: read, choose what fits, say what was found, write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmtrain import __version__
from llmtrain.core.files import write_text
from llmtrain.report.curves import charts, columns_of
from llmtrain.report.differences import differences, mean_of_seeds, method, settings, told
from llmtrain.report.evaluation_card import blocks, differing_keys
from llmtrain.report.headline import Sentence, best_run, of_copying, of_one_run, of_training
from llmtrain.report.inputs import Inputs, read_inputs
from llmtrain.report.page import ASSETS, LIBRARY, as_script, render
from llmtrain.report.prediction_rows import MOST_ROWS, Compared, as_json, chosen, compared_rows
from llmtrain.report.ranking import SEED, of_seeds, of_several_runs, of_sides
from llmtrain.report.run_record import RunRecord
from llmtrain.report.score_table import score_table
from llmtrain.report.study_section import data_of, section_of, verdict_of
from llmtrain.report.task_parts import TaskPart, logged_metrics, parts_of

NAME = "report.html"
ROOM = 3_900_000  # bytes of the file that predictions may take; with all else it stays below 5 MB
SIZES = ((MOST_ROWS, 20_000), (MOST_ROWS, 8_000), (MOST_ROWS, 4_000), (MOST_ROWS, 2_000), (MOST_ROWS, 1_000),
         (MOST_ROWS, 600), (1_000, 600), (500, 600), (250, 500), (100, 300), (30, 200))  # rows, characters of a text


def write_report(paths: Sequence[Path], output: Path | None = None, texts: bool = True) -> Path:
    """Write the report of one or several runs.

    Args:
        paths: Run folders, or folders of scores that ``llmtrain eval`` wrote; or one study, or one file of what
            ``llmtrain compare --json`` printed.
        output: The file; None: ``report.html`` in the run's folder, of several beside them.
        texts: Show what rows hold and what was written. Without them the file can go where the data must not.

    Returns:
        The file.

    Raises:
        ConfigError: There is no run at a path, or nothing can be written.
        CheckpointError, DataError: A file of a run cannot be read.
        ResourceError: The disk is full, or may not be written.
    """
    inputs = read_inputs(paths)
    target = output or inputs.home / NAME
    write_text(target, page_of(inputs, texts))
    return target


def page_of(inputs: Inputs, texts: bool = True) -> str:
    """The page of what was read."""
    runs = inputs.runs
    parts, metrics = parts_of(runs), logged_metrics(runs)
    drawn = charts(runs, metrics)
    wanted = [line for chart in drawn for line in (*chart.lines, *chart.weighted)]
    data: dict[str, Any] = {
        "runs": [run.name for run in runs], "charts": [asdict(chart) for chart in drawn],
        "curves": [columns_of(run.log, wanted) for run in runs], "parts": []}
    study = inputs.study
    if study is not None:
        data["study"] = data_of(study)
    unlike = differing_keys(runs)
    verdict: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    if study is not None:
        verdict.append({"title": "", "sentences": verdict_of(study)})
    predictions: list[dict[str, Any]] = []
    room = ROOM // max(1, len(parts))
    for number, part in enumerate(parts):
        identity = f"p{number}"
        rows = compared_rows(part)
        differ = differing_keys([runs[run.number] for run in part.runs])
        found, mismatch = _compared(inputs, part, differ)
        sentences = [*_sentences(inputs, part, found, mismatch, list(differ)), *of_copying(part, rows, identity)]
        if not texts:
            rows, sentences = [], [replace(one, goes_to="") for one in sentences]
        if study is not None:
            verdict[0]["sentences"] += sentences
        elif sentences:
            verdict.append({"title": part.title, "sentences": sentences})
        if study is None and (table := score_table(part, found)) is not None:
            compared = {} if found is None else {"differences": told(found), "best": found["sides"][0]["label"],
                                                 "method": method(found)}
            scores.append({"id": identity, "differences": [], **table, **compared})
        shown, size = _fitting(part, rows, room)
        data["parts"].append({"id": identity, **_part(part, shown)})
        if rows:
            predictions.append({"id": identity, "title": part.title, "notes": list(_notes(part, rows, shown, size))})
    if course := list(of_training(runs, metrics)):
        if len(verdict) == 1:  # what was copied stays last: it leads to the predictions
            said = verdict[0]["sentences"]
            verdict[0]["sentences"] = [*(one for one in said if not one.goes_to), *course,
                                       *(one for one in said if one.goes_to)]
        else:
            verdict.append({"title": "Training", "sentences": course})
    return render(_facts(inputs, parts, verdict, scores, predictions, bool(wanted), unlike), data)


def _sentences(inputs: Inputs, part: TaskPart, found: Mapping[str, Any] | None, mismatch: Sequence[str],
               unlike: Sequence[str]) -> Iterator[Sentence]:
    """What is said of a part's scores; a study has said it itself."""
    if inputs.study is not None:
        return
    if inputs.comparison is not None and found is not None:
        yield from of_sides(part, found)
    elif len(part.runs) > 1 and unlike == [SEED] and (mean := mean_of_seeds(part, inputs.runs)) is not None:
        yield from of_seeds(part, mean)
    elif len(part.runs) > 1:
        yield from of_several_runs(part, found, mismatch)
    else:
        yield from of_one_run(part)


def _compared(inputs: Inputs, part: TaskPart, unlike: Mapping[str, Sequence[str]],
              ) -> tuple[dict[str, Any] | None, list[str]]:
    """How the runs of a part differ: as the comparison that the report is of tells it, or as it would be told."""
    if inputs.comparison is not None:
        return (inputs.comparison if inputs.comparison["task"] == part.task.name else None), []
    if len(part.runs) < 2 or inputs.study is not None:
        return None, []
    return differences(part, inputs.runs, settings(part, unlike))


def _fitting(part: TaskPart, rows: list[Compared], room: int) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The rows as the page has them, as many and as long as fit, and how many and how long that is."""
    ranked = part.of_rows()
    first = ranked[0] if ranked else None
    made: list[dict[str, Any]] = []
    size = SIZES[-1]
    for size in SIZES:
        if size != SIZES[-1] and _least(rows[:size[0]], size[1]) > room:  # found out without writing it
            continue
        kept = chosen(rows, first.name if first else None, first.more_is_better if first else True, size[0])
        made = as_json(kept, ranked, size[1])
        if len(as_script(made).encode()) <= room:
            break
    return made, size


def _least(rows: Sequence[Compared], limit: int) -> int:
    """What these rows' texts take at least, in bytes."""
    return sum(min(len(text), limit) for row in rows for text in _texts(row))


def _texts(row: Compared) -> Iterator[str]:
    yield from row.first.evidence.inputs.values()
    yield from row.first.evidence.references
    yield from (one.evidence.prediction for one in row.outputs if one is not None)


def _part(part: TaskPart, rows: list[dict[str, Any]]) -> dict[str, Any]:
    pictures = [{**asdict(picture), "run": run.number} for run in part.runs for picture in part.task.pictures(run.rows)]
    best = best_run(part, part.task.metrics[0])
    return {"runs": [run.number for run in part.runs], "best": best and best.number, "rows": rows, "pictures": pictures,
            "metrics": [{"heading": metric.heading, "more": metric.more_is_better, "digits": metric.digits}
                        for metric in part.of_rows()]}


def _notes(part: TaskPart, rows: list[Compared], shown: list[dict[str, Any]], size: tuple[int, int]) -> Iterator[str]:
    """What of the predictions is not on the page."""
    if len(shown) < len(rows):
        yield (f"{len(shown):,} of {len(rows):,} rows are on this page: a quarter each of the worst, the best and the "
               "most changed, the rest evenly. predictions.jsonl in the run's folder has all.")
    longest = max((len(text) for row in rows for text in _texts(row)), default=0)
    if longest > size[1]:
        yield (f"Texts of more than {size[1]:,} characters are cut here (the longest has {longest:,}), each with a "
               "note at the place; what stands around evidence is kept.")
    elif len(part.runs) > 1 and any(None in row.outputs for row in rows):
        yield "Not every run was scored on every row."


def _facts(inputs: Inputs, parts: Sequence[TaskPart], verdict: list[dict[str, Any]], scores: list[dict[str, Any]],
           predictions: list[dict[str, Any]], curves: bool, unlike: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the template writes."""
    runs, study = inputs.runs, inputs.study
    sections = [("verdict", "Verdict"), *([("scores", "Scores")] if scores else []),
                *([("study", "Study")] if study else []),
                *([("curves", "Curves")] if curves else []),
                *((f"predictions-{one['id']}", f"Predictions{f' ({one_title})' if (one_title := one['title']) else ''}")
                  for one in predictions), ("card", "Card")]
    return {"title": inputs.title, "about": _about(runs), "version": __version__,
            "study": section_of(study) if study else None,
            "sections": [{"id": identity, "title": name} for identity, name in sections], "verdict": verdict,
            "scores": scores, "curves": curves, "predictions": predictions, "chart_version": chart_version(),
            "card": list(blocks(runs, parts, unlike))}


def _about(runs: Sequence[RunRecord]) -> str:
    tasks = dict.fromkeys(run.task.replace("_", " ") for run in runs)
    experiments = dict.fromkeys(str(run.config["experiment_name"]) for run in runs if "experiment_name" in run.config)
    return f"{', '.join(tasks)}{' · experiment ' + ', '.join(experiments) if experiments else ''}"


def chart_version() -> str:
    """Of the library that draws, as its file says."""
    found = re.search(r"\(v([\d.]+)\)", (ASSETS / LIBRARY).read_text(encoding="utf-8")[:200])
    return found[1] if found else ""

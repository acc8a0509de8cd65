"""data=files: a user's own rows."""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llmtrain.config.choices import OnBadRow
from llmtrain.config.sections.data import DataConfig, RowColumns
from llmtrain.core.errors import DataError, shown
from llmtrain.core.files import SURROGATE
from llmtrain.core.paths import given_path
from llmtrain.data.examples import Example, Splits, take_from_train
from llmtrain.data.row_labels import LabelBeside
from llmtrain.data.sources.cells import Reading, Unusable
from llmtrain.data.sources.columns import Columns, near_names
from llmtrain.data.sources.encodings import NOT_UTF8, NUL, SAVE_AS
from llmtrain.data.sources.parallel_text import is_parallel, read_parallel, swapped
from llmtrain.data.sources.readers import SUFFIXES, read_rows
from llmtrain.data.sources.tables import DELIMITERS

SHOWN_PROBLEMS = 10
HALF = "half a character (a lone surrogate, as in \\ud83d)"
REFERENCES = "references"  # the column that is looked for where data.references names none


def read_files(config: DataConfig, only: str | None, labelled: bool = True) -> Splits:
    """Read each named split; a missing validation or test split is taken from train by a hash of the document."""
    if only is not None and getattr(config, only) is None and config.train is None:
        raise DataError(f"data.{only} is not given; name the file to score, data.{only}=FILE")
    notes: list[str] = []
    splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    from_train = only is None or getattr(config, only) is None  # a split that train must give
    pairs: dict[str, list[Path]] = {}
    for name in splits:
        value = getattr(config, name)
        if value is not None and (name == only or (from_train and (only is None or name == "train"))):
            paths = paths_of(value, f"data.{name}", config.folder)
            how = Reading.of(config, notes)
            if how.parallel and isinstance(value, list | tuple) and len(value) == 2 and is_parallel(paths, SUFFIXES):
                pairs[name] = paths
                if (problem := swapped(pairs)) is not None:
                    raise DataError(problem)
            rows = read_parallel(paths, how) if name in pairs else rows_of(paths, how)
            splits[name] = examples_of(rows, config, name, notes, labelled)
    missing = [name for name in ("test", "validation") if from_train and getattr(config, name) is None]
    notes += take_from_train(splits, missing, "data.{}", config.validation_from_train, config.split_seed)
    return Splits(splits["train"], splits["validation"], splits["test"], "files", notes)


def paths_of(value: Any, key: str, folder: str | None = None) -> list[Path]:
    """Files of one path, a list, or a glob (an existing file wins over a glob), in ``folder`` first.

    Raises:
        DataError: The folder is none, or nothing matches.
    """
    if folder is not None and not given_path(folder, "data.folder").is_dir():
        raise DataError(f"no folder at {folder}; check data.folder")
    paths: list[Path] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        path = given_path(item, key)
        places = [path] if folder is None else [given_path(Path(folder).expanduser() / path, key), path]
        found = next((matches for place in places if (matches := _matches(place))), [])
        if not found and folder is None and not path.is_absolute():
            raise DataError(f"no data file at {item}; check {key}, or name the folder it lies in, data.folder=FOLDER")
        if not found:
            raise DataError(f"no data file at {places[0]}; check {key}{'' if folder is None else ' and data.folder'}")
        paths += found
    return paths


def _matches(path: Path) -> list[Path]:
    """The file itself, else what it matches as a glob."""
    return [path] if path.is_file() else [Path(match) for match in sorted(glob.glob(_pattern(path), recursive=True))]


def _pattern(path: Path) -> str:
    """A glob in which the folders that exist stand for themselves, whatever brackets their names hold."""
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    return str(Path(glob.escape(str(folder)), path.relative_to(folder)))


def rows_of(paths: list[Path], how: Reading) -> Iterable[tuple[str, Any]]:
    for path in paths:
        yield from read_rows(path, how)


def examples_of(rows: Iterable[tuple[str, Any]], config: DataConfig, split: str, notes: list[str],
                labelled: bool = True) -> list[Example]:
    """Checked examples of parsed rows; a row may lack a target where they need not be ``labelled``.

    Raises:
        DataError: Bad rows under ``data.on_bad_row=error`` (the first few, a line each), or no good row at all.
    """
    read: list[tuple[str, Example | str, Example | str | None]] = []
    place = split
    named = config.columns()
    columns = Columns(named.named(), notes)
    absent: Counter[str] = Counter()
    beside = LabelBeside(config)
    for number, (place, row) in enumerate(expanded(rows, named)):
        if not isinstance(row, str):
            row = columns.find(row)
            row = _emptied(row if named.read else columns.join(row, named.source_key), config, absent)
        if not isinstance(row, str) and named.read is not None:
            read.append((place, beside(row, _read_by_task(row, named, f"{split}-{number}", labelled)), None))
            continue
        if not labelled and isinstance(row, dict) and not _has_text(row, named.target):
            read.append((place, beside(row, _source_alone(row, named, f"{split}-{number}")), None))
            continue
        plain = row if isinstance(row, str) else beside(
            row, _example(row, named, f"{split}-{number}", named.references))
        look = not isinstance(row, str) and named.references is None and REFERENCES in row
        listed = beside(row, _example(row, named, f"{split}-{number}", REFERENCES)) if look else None
        read.append((place, plain, listed))
    if absent:
        told = ", ".join(f"{count} {shown(text, 16)}" for text, count in absent.most_common(6))
        notes.append(f"texts of {split} taken as empty: {told} (data.empty_cells)")
    chosen = _with_references(read, named, split, notes)
    examples = [one for _, one in chosen if isinstance(one, Example)]
    problems = [(one, place) for place, one in chosen if isinstance(one, str)]
    if not examples and (config.on_bad_row is not OnBadRow.error or not problems):
        problem, place = problems[0] if problems else ("no rows", place)
        todo = SAVE_AS if problem == NOT_UTF8 else (
            f"rows need the columns of {named.source_key} and {named.target_key}")
        raise DataError(f"no usable row among {len(chosen)} of {split}: {problem} at {place}; {todo}")
    if problems and config.on_bad_row is OnBadRow.error:
        raise DataError(_told(problems, split))
    if problems:
        notes.append(f"{len(problems)} bad rows skipped in {split}, first: {problems[0][0]} at {problems[0][1]}")
    if apart := sum(bool(e.target) and e.target not in e.references for e in examples):
        what = named.target_key.rpartition(".")[2]
        notes.append(f"in {apart} of {len(examples)} rows of {split} the {what} is not one of the references")
    return examples


def expanded(rows: Iterable[tuple[str, Any]], columns: RowColumns) -> Iterator[tuple[str, Any]]:
    """Each row, or those that are nested in it."""
    for place, row in rows:
        inner = None if columns.expand is None or isinstance(row, str) else columns.expand(row)
        if inner is None:
            yield place, row
        else:
            yield from ((f"{place} {where}", one) for where, one in inner)


def _read_by_task(row: dict[str, Any], columns: RowColumns, number: str, labelled: bool) -> Example | str:
    """The row as an example as the task makes it, or what is wrong with it."""
    assert columns.read is not None
    made = columns.read(row, labelled)
    name, problem = _name(row, number)
    if isinstance(made, str) or problem:
        return made if isinstance(made, str) else problem
    example = Example(name, made.source, made.target, made.references, made.fields)
    texts = (name, made.source, made.target, *made.references, json.dumps(made.fields, ensure_ascii=False))
    if any(SURROGATE.search(text) for text in texts):
        return HALF
    if any("\0" in text for text in texts[:-1]) or "\\u0000" in texts[-1]:
        return f"a column {NUL}"
    return example


def _emptied(row: dict[str, Any], config: DataConfig, absent: Counter[str]) -> dict[str, Any]:
    """The row with nothing where a text is one that stands for no value; a table's cells were looked at before."""
    columns = config.columns()
    found = {name: row[name] for name in (columns.source, columns.target)
             if isinstance(row.get(name), str) and row[name] in config.empty_cells}
    absent.update(found.values())
    return row | dict.fromkeys(found) if found else row


def _told(problems: list[tuple[str, str]], split: str) -> list[str]:
    """A line for each different problem, the first few, with its first place and how often it stands."""
    places: dict[str, list[str]] = {}
    for problem, place in problems:
        places.setdefault(problem, []).append(place)
    lines, shown_rows = [], 0
    for problem, at in list(places.items())[:SHOWN_PROBLEMS]:
        more = f" and {len(at) - 1} more rows" if len(at) > 1 else ""
        todo = SAVE_AS if problem == NOT_UTF8 else "mend it"
        lines.append(f"bad row: {problem} at {at[0]}{more}; {todo} or set data.on_bad_row=skip")
        shown_rows += len(at)
    hidden = len(problems) - shown_rows
    return lines + ([f"... and {hidden} more bad rows in {split}"] if hidden else [])


def without_target(row: dict[str, Any], columns: RowColumns, number: str) -> Example | str:
    """The row as an example that somebody wants a prediction for, or what is wrong with it."""
    if columns.read is not None:
        return _read_by_task(row, columns, number, False)
    return _source_alone(row, columns, number)


def _has_text(row: dict[str, Any], column: str) -> bool:
    value = row.get(column)
    return isinstance(value, Unusable) or (isinstance(value, str) and bool(value.strip()))


def _source_alone(row: dict[str, Any], columns: RowColumns, number: str) -> Example | str:
    """The row as an example without a target, or what is wrong with it."""
    source, problem = text_of(row, columns.source)
    name, unusable = _name(row, number)
    problem = problem or unusable
    if not problem and any(SURROGATE.search(text) for text in (name, source)):
        problem = HALF
    return problem or Example(name, source, "", ())


def _with_references(read: list[tuple[str, Example | str, Example | str | None]], columns: RowColumns, split: str,
                     notes: list[str]) -> list[tuple[str, Example | str]]:
    """Each row by its column ``references`` where every usable row has a list of texts there, else without it."""
    usable = [listed for _, plain, listed in read if isinstance(plain, Example) or isinstance(listed, Example)]
    having = sum(isinstance(listed, Example) for listed in usable)
    if having and having == len(usable):
        return [(place, plain if listed is None else listed) for place, plain, listed in read]
    if having:
        notes.append(f"column {REFERENCES!r} is a list of texts in {having} of {len(usable)} rows of {split} and was "
                     f"left out; {columns.references_key}={REFERENCES} asks for it in every row")
    return [(place, plain) for place, plain, _ in read]


def _example(row: dict[str, Any], columns: RowColumns, number: str, column: str | None) -> Example | str:
    """The row as an example with the references listed in ``column``, or what is wrong with it."""
    source, problem = text_of(row, columns.source)
    if problem:
        return problem
    references: tuple[str, ...] = ()
    if column is not None:
        listed = row.get(column)
        if not isinstance(listed, list) or not listed or not all(isinstance(r, str) and r.strip() for r in listed):
            return f"column {shown(column)} is not a list of texts"
        references = tuple(listed)
    target = references[0] if references else ""
    if not references or row.get(columns.target) is not None:
        target, problem = text_of(row, columns.target)
        if problem:
            return problem
    name, problem = _name(row, number)
    if problem:
        return problem
    if any(SURROGATE.search(text) for text in (name, source, target, *references)):
        return HALF
    if any("\0" in text for text in (name, *references)):
        return f"column {shown('id' if chr(0) in name else column or REFERENCES)} {NUL}"
    return Example(name, source, target, references or (target,))


def _name(row: dict[str, Any], number: str) -> tuple[str, str]:
    """(name, "") or ("", problem)."""
    identity = row.get("id")
    if isinstance(identity, Unusable):
        return "", f"column 'id' {identity.why}"
    return number if identity is None or identity == "" else str(identity), ""


def text_of(row: dict[str, Any], column: str) -> tuple[str, str]:
    """(text, "") or ("", problem)."""
    if column not in row:
        known = ", ".join(shown(name, 16) for name in list(row)[:6])
        if len(row) == 1 and (cut := next((one for one in DELIMITERS if one in next(iter(row))), None)):
            return "", (f"no column {shown(column)} but the one column {known}; if the table is cut by {cut!r}, set "
                        "data.delimiter")
        meant = " or ".join(shown(name, 16) for name in near_names(row, column)[:3])
        return "", f"no column {shown(column)} (it has {known}{f'; did you mean {meant}?' if meant else ''})"
    value = row[column]
    if isinstance(value, Unusable):
        return "", f"column {shown(column)} {value.why}"
    if not isinstance(value, str):
        return "", f"column {shown(column)} is {'empty' if value is None else type(value).__name__}, not text"
    if not value.strip():
        return "", f"column {shown(column)} is empty"
    if "\0" in value:
        return "", f"column {shown(column)} {NUL}"
    return value, ""

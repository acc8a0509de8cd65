"""data=docstrings: the embedded default. Pairs (rest of a docstring -> its first line, a human's summary of it).

Read with ``ast`` from the sources of the libraries the project installs anyway; nothing is imported or downloaded.
Deterministic for given library versions: files in sorted order, splits by a hash of the module's name.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from llmtrain.config.sections.data import DataConfig, DocstringsConfig
from llmtrain.core.cache import find_cached, open_cache
from llmtrain.core.files import SURROGATE, write_text
from llmtrain.core.processes import spread
from llmtrain.data.examples import SPLIT_PERCENT, Example, Splits, digest, share_out

PACKAGES = ("absl", "accelerate", "datasets", "fsspec", "huggingface_hub", "jinja2", "joblib", "networkx", "nltk",
            "numpy", "pandas", "pyarrow", "pygments", "rich", "sympy", "torch", "transformers")
EXTRACTOR = 1  # raise when the rules below change: it names the cache
COMMON_SUMMARY = 3  # a first line that stands over more documents than this is boilerplate
SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "vendored", "__pycache__"}
NOISE = re.compile(r"^\s*(>>>|\.\.\.|\.\. )|^[\s=\-~^*#`+|]+$")
WORDS = re.compile(r"\w+")
Pair = tuple[str, str, str]  # (module:line, document, summary)
Job = tuple[str, str, str]  # (package, its folder, file)


def read_docstrings(config: DataConfig) -> Splits:
    """The rest of each docstring, and its first line as what is learnt."""
    pairs, source = docstring_pairs(config)
    return by_module([Example(place, document, summary, (summary,)) for place, document, summary in pairs], source)


def docstring_pairs(config: DataConfig) -> tuple[list[Pair], str]:
    """Extract (or read from the cache), filter and deduplicate; the pairs, and where they come from in few words."""
    rows, libraries = cached_rows("docstrings", EXTRACTOR, _pairs_of_files, config)
    pairs = _filtered([(row[0], row[1], row[2]) for row in rows], config.docstrings)
    return pairs, f"docstrings of {libraries} installed libraries"


def cached_rows(kind: str, extractor: int, extract: Callable[[list[Job]], list[list[Any]]], config: DataConfig,
                ) -> tuple[list[Any], int]:
    """(what ``extract`` finds in the sources of the installed libraries, how many of these there are).

    It is kept under a name that tells the libraries' versions.

    Args:
        kind: What the rows are called in the cache.
        extractor: The version of ``extract``.
        extract: Gives a list of rows (JSON) for each file; picklable, since processes share the files out.
    """
    roots = {name: root for name in PACKAGES if (root := _root(name)) is not None}
    distributions = packages_distributions()  # reads every installed package's list of files: once is enough
    versions = {name: version(distributions.get(name, [name])[0]) for name in roots}
    if config.docstrings.stdlib:
        roots["stdlib"] = Path(sysconfig.get_path("stdlib"))
        versions["stdlib"] = sys.version.split()[0]
    name = f"{kind}-{digest(json.dumps([extractor, sorted(versions.items())]))[:16]}.jsonl"
    if (folder := find_cached(config.cache_dir, "", [name])) is not None:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()], len(roots)
    folder = open_cache(config.cache_dir, "")  # tried before the work
    files = [(package, str(root), str(file)) for package, root in sorted(roots.items()) for file in _sources(root)]
    count = min(4, os.cpu_count() or 1)
    made = spread(extract, [files[first::count] for first in range(count)])  # as much work for each
    rows = [row for index in range(len(files)) for row in made[index % count][index // count]]
    if folder is not None:
        write_text(folder / name, "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows))
    return rows, len(roots)


def _root(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _sources(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*.py")
                  if not SKIPPED_FOLDERS & set(file.relative_to(root).parts)
                  and "site-packages" not in file.relative_to(root).parts and not file.name.startswith("test_"))


def _pairs_of_files(jobs: list[Job]) -> list[list[Pair]]:
    return [[(place, *pair) for place, text in docstrings_of(job) if (pair := _pair(text)) is not None] for job in jobs]


def docstrings_of(job: Job) -> list[tuple[str, str]]:
    """(module:line, docstring) of each docstring of a file, indentation taken off; none of one that is no Python."""
    package, root, file = job
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's sources
            tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError):
        return []
    module = ".".join([package, *Path(file).relative_to(root).with_suffix("").parts])
    return [(f"{module}:{line}", text) for line, text in _docstrings(tree)]


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=True)
            if text:
                yield getattr(node, "lineno", 0), text
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("add_docstr", "add_docstr_all"):
            # torch documents its compiled functions by calls; the first line there is the signature
            last = node.args[-1] if node.args else None
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                yield node.lineno, inspect.cleandoc(last.value).partition("\n")[2].strip()


def _pair(text: str) -> tuple[str, str] | None:
    """(document, summary), or None where the first paragraph is not one line of prose."""
    first, _, rest = text.partition("\n\n")
    if "\n" in first.strip() or not rest:
        return None
    lines = [line.strip() for line in rest.splitlines() if not NOISE.match(line)]
    document, summary = " ".join(" ".join(lines).split()), " ".join(first.split())
    if not summary[:1].isalpha() or not summary.isascii() or ">>>" in summary or "deprecated" in summary.lower():
        return None
    return document, summary


def _words(text: str) -> int:
    return len(WORDS.findall(text))


def _filtered(pairs: list[Pair], options: DocstringsConfig) -> list[Pair]:
    """Drop pairs outside the length limits, boilerplate summaries, and duplicates of a summary or a document."""
    common = Counter(summary.lower() for _, _, summary in pairs)
    kept: list[Pair] = []
    seen: set[str] = set()
    for place, document, summary in pairs:
        keys = near_keys(document, summary)
        if (common[summary.lower()] <= COMMON_SUMMARY and not keys & seen and not SURROGATE.search(document)
                and options.min_document_words <= _words(document) <= options.max_document_words
                and options.min_summary_words <= _words(summary) <= options.max_summary_words):
            kept.append((place, document, summary))
            seen |= keys
    return kept


def near_keys(document: str, summary: str) -> set[str]:
    """What near-copies share: the first 60 letters and digits of the document, or the whole summary's."""
    return {"d" + "".join(WORDS.findall(document.lower()))[:60], "s" + "".join(WORDS.findall(summary.lower()))}


def by_module(examples: list[Example], source: str) -> Splits:
    """Examples named MODULE:LINE in splits: whole modules go to one; near-copies were dropped before, so none
    straddles."""
    splits = Splits([], [], [], source)
    for example in examples:
        module = example.id.rpartition(":")[0]
        name = next((s for s in ("test", "validation") if share_out(module, SPLIT_PERCENT, s)), "train")
        getattr(splits, name).append(example)
    return splits

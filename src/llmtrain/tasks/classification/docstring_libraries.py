"""data=docstrings for this task: from which of the installed libraries a docstring comes.

The names of all libraries, and what they are usually imported as, are taken out of every text: what is left to go by is
what a library is about and how its authors write. Whole modules stay in one split.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from llmtrain.config.sections.data import DataConfig
from llmtrain.data.examples import Example, Splits, digest
from llmtrain.data.sources.docstrings import PACKAGES, by_module, docstring_pairs

MOST = {"train": 600, "validation": 60, "test": 60}  # rows of a library: of a larger one some are left out
LEAST = 100  # training rows of a library: a smaller one is left out
OTHERS = ("abseil", "huggingface", "hugging face", "pytorch", "tensorflow", "matplotlib", "scipy", "sklearn",
          "scikit-learn", "apache arrow")  # names that stand for one of them, or nearly
SHORT = ("absl", "rich", "np", "pd", "pa", "nx", "sp", "hf", "arrow", "hub", "tf", "jax", "jnp", "plt")  # whole words
LONG = sorted((name.replace("_", "[_ -]?") for name in {*PACKAGES, *OTHERS} - {*SHORT}),
              key=lambda name: (-len(name), name))
NAMES = re.compile(rf"(?<![a-z0-9])(?:(?:{'|'.join(LONG)})|(?:{'|'.join(SHORT)})(?![a-z0-9]))", re.IGNORECASE)
INSTEAD = "lib"


def read_libraries(config: DataConfig) -> Splits:
    """Docstrings with the library that each comes from: of each at most :data:`MOST` in a split, chosen by a hash of
    the text, where it has :data:`LEAST` to train on."""
    pairs, source = docstring_pairs(config)
    rows = [_labelled(*pair) for pair in pairs]
    splits = by_module(rows, f"{source}, by library")
    counts = Counter(row.target for row in splits.train)
    large = {library for library, count in counts.items() if count >= LEAST}
    for name, most in MOST.items():
        setattr(splits, name, _capped([row for row in getattr(splits, name) if row.target in large], most))
    kept = sum(len(getattr(splits, name)) for name in MOST)
    splits.notes.append(f"{kept} of {len(pairs)} docstrings: at most {MOST['train']} to train on of each of "
                        f"{len(large)} libraries that have {LEAST} or more; libraries' own names are replaced by "
                        f"{INSTEAD!r}")
    return splits


def _labelled(place: str, rest: str, first_line: str) -> Example:
    library = place.partition(".")[0]
    return Example(place, NAMES.sub(INSTEAD, f"{first_line} {rest}"), library, (library,))


def _capped(rows: list[Example], most: int) -> list[Example]:
    """At most so many rows of each library, in their order."""
    of_library: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        of_library[row.target].append(row)
    chosen = {id(row) for own in of_library.values() for row in sorted(own, key=lambda row: digest(row.source))[:most]}
    return [row for row in rows if id(row) in chosen]

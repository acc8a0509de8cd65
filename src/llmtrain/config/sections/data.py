"""Keys of the rows a run reads, whatever its task; a task adds its own columns and limits in a class of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmtrain.config.choices import LongMode, OnBadRow
from llmtrain.config.keys import CONTENT, SPEED, WHERE, key

EMPTY_CELLS = ("NaN", "nan", "NA", "None", "null", "NULL", "N/A", "<NA>", "#N/A", "#REF!", "#VALUE!", "#DIV/0!",
               "#NAME?", "#NUM!", "#NULL!")  # as pandas, R, databases and Excel write them


DOCSTRINGS = "llmtrain.data.sources.docstrings:read_docstrings"


@dataclass(frozen=True, slots=True)
class RowTexts:
    """What a task takes from a row.

    Attributes:
        source: What the model reads.
        target: What it learns to give, as a text; empty for a row without one.
        references: What a prediction is scored against.
        fields: JSON values beside them that the task's encoder and scorer ask for.
    """

    source: str
    target: str = ""
    references: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Which columns of a row a task reads, each beside the key that names it.

    Attributes:
        source: What the model reads.
        target: What it learns to give.
        references: A list of what it may give, for scores; None: the target alone, or the column of that default name
            where every row lists texts there.
        others: Further columns, by the key that names each.
        read: Makes texts of a row whose columns were found, or says what is wrong with it. Its second argument is
            whether the row must have a target. None: source, target and references are texts as they stand.
        expand: The rows inside a nested one, each with its place there (``(place, row)``), or None for a row that is
            none; None: no row is nested.
        parallel: Two plain-text files may hold a split: sources in the one, line by line targets in the other.
        embedded: ``"module:function"`` that reads data=docstrings for the task; None: it has no such data.
    """

    source: str
    target: str
    references: str | None = None
    source_key: str = "data.source"
    target_key: str = "data.target"
    references_key: str = "data.references"
    targets: str = "targets"  # several of what the target column holds, in the task's word
    others: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Mapping[str, Any], bool], RowTexts | str] | None = None
    expand: Callable[[Mapping[str, Any]], Iterable[tuple[str, dict[str, Any] | str]] | None] | None = None
    parallel: bool = False
    embedded: str | None = None

    @property
    def source_word(self) -> str:
        """What a source is called where it is shown: as its key."""
        return self.source_key.rpartition(".")[2]

    @property
    def target_word(self) -> str:
        """What a target is called where it is shown: as its key."""
        return self.target_key.rpartition(".")[2]

    def named(self) -> dict[str, str]:
        """The columns that were asked for, by the key that names each."""
        found = {self.source_key: self.source, self.target_key: self.target, **self.others}
        return found | ({} if self.references is None else {self.references_key: self.references})


@dataclass(kw_only=True, slots=True)
class DocstringsConfig:
    """Keys of data=docstrings."""

    stdlib: bool = key(False, "also read the standard library (differs between Python versions)")
    min_document_words: int = key(12, "shorter documents are left out", "words", min=0)
    max_document_words: int = key(400, "longer documents are left out", "words", min=1)
    min_summary_words: int = key(3, "shorter summaries are left out", "words", min=0)
    max_summary_words: int = key(30, "longer summaries are left out", "words", min=1)


@dataclass(kw_only=True, slots=True)
class HubConfig:
    """Keys of data=hub."""

    name: str | None = key(None, "Hugging Face dataset name, or a local folder in the hub's layout", affects=CONTENT)
    config: str | None = key(None, "dataset configuration")
    revision: str | None = key(None, "dataset revision")
    train_split: str = key("train", "name of the training split")
    validation_split: str = key("validation", "name of the validation split")
    test_split: str = key("test", "name of the test split")


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Keys that every task has; the class of a task's section derives from it."""

    name: str = key("docstrings", "source: docstrings, files or hub")
    folder: str | None = key(None, "folder that data.train, validation, test and unlabelled are looked for in first",
                             affects=CONTENT)
    train: Any = key(None, "training file, list of files or glob (data=files)", affects=CONTENT)
    validation: Any = key(None, "validation file, list or glob; default: split off by a hash of the document",
                          affects=CONTENT)
    test: Any = key(None, "test file, list or glob; default: split off by a hash of the document when train is given",
                    affects=CONTENT)
    validation_from_train: int | None = key(None, "hold out this many training rows as validation, chosen by a hash of "
                                            "the document; near-copies stay together", "rows", min=1)
    split_seed: int = key(0, "another seed holds out other rows (data.validation_from_train)", min=0)
    unlabelled: Any = key(None, "file, list or glob of further training documents without a target: the base's own "
                                "term alone reads them", affects=CONTENT)
    unlabelled_share: float = key(0.5, "share of a step's rows that are documents of data.unlabelled; an epoch is a "
                                       "pass over the pairs", "share", above=0, below=1)
    label: str | None = key(None, "column of a row's label: a text, a number, true or false, or a list of labels; "
                                  "default where the task itself gives labels: label", late=True)
    label_separator: str | None = key(None, "what stands between the labels of a text that lists them; default: a text "
                                            "is one label, or a JSON list", late=True)
    delimiter: str | None = key(None, "between the cells of a table, one character or tab; default: comma, of a .tsv "
                                "tab, else what the first lines show", late=True)
    empty_cells: list[str] = key(lambda: list(EMPTY_CELLS), "whole cells of a table that stand for no value", late=True)
    max_source_tokens: int = key(192, "longer documents are cut", "tokens", min=1)
    long: LongMode = key(LongMode.truncate, "truncate: keep the first tokens; head_tail: keep both ends; "
                         "select_then_write: keep the sentences that data.selector chooses; beyond the base's "
                         "positions, sliding: windows, joined; interpolate: its positions stretched")
    selector: str | None = key(None, "long=select_then_write: run or model folder of an extractive model",
                               affects=CONTENT)
    head_share: float = key(0.25, "long=head_tail: share of the kept tokens that are the document's first", "share",
                            min=0, max=1)
    window_overlap: int = key(64, "long=sliding: tokens that two windows share", "tokens", min=0)
    max_train_rows: int | None = key(None, "use only this many training rows", "rows", min=1)
    max_validation_rows: int | None = key(None, "use only this many validation rows", "rows", min=1)
    max_test_rows: int | None = key(None, "use only this many test rows (0: leave the test split alone)", "rows", min=0)
    preprocess: list[Any] = key(list, "steps that change what is read and learnt, in order: names, or "
                                      "{name: NAME, option: value}; `llmtrain list preprocess` shows them")
    on_bad_row: OnBadRow = key(OnBadRow.error, "error: stop at the first bad rows; skip: count and leave out")
    license: str | None = key(None, "licence of the data, as the hub writes it (cc-by-4.0), for the model card; "
                                    "default: what a dataset of the hub says of itself", affects=WHERE)
    languages: list[str] | None = key(None, "languages of the data, as the hub writes them (en), for the model card; "
                                            "default: English and Chinese are recognised", affects=WHERE)
    cache_dir: str | None = key(None, "folder for tokenised data; default: the user's cache folder", affects=WHERE)
    workers: int = key(0, "data loader processes", "processes", affects=SPEED, min=0, max=4096)
    processes: int | None = key(None, "tokenising processes; default: by size, at most the cores", "processes",
                                affects=SPEED, min=1, max=4096)
    docstrings: DocstringsConfig = key(DocstringsConfig, "options of data=docstrings")
    hub: HubConfig = key(HubConfig, "options of data=hub")

    target_limit: ClassVar[str] = ""  # the key of :attr:`max_target_tokens`

    def columns(self) -> RowColumns:
        """The columns that the task reads of a row."""
        raise NotImplementedError(f"{type(self).__name__} names no columns")

    def folders(self) -> dict[str, str]:
        """The folders that keys of the task name, by key: a run counts what lies there, not the path."""
        return {}

    @property
    def max_target_tokens(self) -> int:
        """The longest target that is learnt, its end token included; 1 where targets are no texts."""
        return 1

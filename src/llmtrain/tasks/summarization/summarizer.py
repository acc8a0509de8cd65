"""The public Python of summarization: ``Summarizer("folder")(["text"])``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, overload

from llmtrain.config.sections.task import DEFAULT
from llmtrain.core.errors import ConfigError
from llmtrain.data.examples import Example
from llmtrain.data.python_texts import given_texts
from llmtrain.inference.generated import Generated
from llmtrain.tasks.loaded_model import LoadedModel


def check_summarizes(task: str, folder: Path) -> None:
    """Raise ConfigError for a model of another task."""
    if task != DEFAULT:
        raise ConfigError(f"the model at {folder} was trained with task={task} and writes no summaries; use llmtrain "
                          f"predict checkpoint={folder}, in Python llmtrain.load")


class Summarizer(LoadedModel):
    """A trained model, ready to summarize.

    Arguments, copies and threads as of :class:`LoadedModel`; another task's model is refused.
    """

    verb: ClassVar[str] = "summarize"

    def check_task(self, name: str) -> None:
        check_summarizes(name, self.folder)

    @overload
    def __call__(self, rows: str) -> str: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, rows: Iterable[str]) -> list[str]: ...

    def __call__(self, rows: Any) -> Any:
        """The summary of one text, or a list of summaries in the order of several; an empty text has an empty one.

        With ``num_return_sequences`` above 1 each text has a list of them, the best first where beams rank them.

        Args:
            rows: A str, or anything that gives str: a list, a generator, an array, a column of a table or dataset.

        Raises:
            DataError: Something else than a str, with its place.
        """
        return super().__call__(rows)

    @overload
    def details(  # type: ignore[overload-overlap]
        self, texts: str, with_copies: bool = False) -> Generated: ...

    @overload
    def details(self, texts: Iterable[str], with_copies: bool = False) -> list[Generated]: ...

    def details(self, texts: Any, with_copies: bool = False) -> Any:
        """Summaries with their scores, the sentences a selecting head chose, the citations of a head that cites and,
        with copies, what each token of a head with a copy gate was copied from."""
        made = [one.made for one in self._predict(self._examples(texts), with_copies)]
        return made[0] if isinstance(texts, str) else made

    def _examples(self, rows: Any) -> list[Example]:
        return [Example(f"text {number}", text, "", ()) for number, text in enumerate(given_texts(rows, self.verb))]

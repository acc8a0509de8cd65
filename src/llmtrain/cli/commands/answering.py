"""What the commands that predict share: the model opened and told of, and its predictions batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmtrain.cli.commands.checkpoint_config import Opened, idle_told
from llmtrain.core.logging import quiet_libraries, warn

if TYPE_CHECKING:
    from llmtrain.data.sources.rows_to_predict import AskedRow
    from llmtrain.tasks.predictor import Predictor
    from llmtrain.tasks.task import Prediction

SHOWN_CUTS = 5


class Answering:
    """A model behind a command, and the lines that tell what it does not read.

    Args:
        opened: The checkpoint, with the command's configuration.
    """

    def __init__(self, opened: Opened) -> None:
        import torch

        from llmtrain.inference.published import load_published
        from llmtrain.tasks.predictor import Predictor

        quiet_libraries()
        self.config = config = opened.config
        self.published = load_published(opened.folder, config.precision, config.trainer.device, opened.task)
        self.predictor: Predictor = Predictor(self.published, config)
        if config.generation.do_sample:
            torch.manual_seed(config.run.seed)
        if beyond := self.published.model.beyond_positions(
                {"generation.max_new_tokens": config.generation.max_new_tokens}):
            warn(beyond)
        longest = config.data.max_source_tokens
        self._limit = f"data.max_source_tokens={longest}"
        if longest > (readable := self.published.source_limit(config.generation)):
            self._limit = f"the {readable} positions of the base"
            warn(f"data.max_source_tokens={longest} is more than {self._limit}; longer documents are cut there")

    def answered(self, batches: Iterator[list[AskedRow]], overrides: list[str], in_full: bool,
                 ) -> Iterator[list[tuple[AskedRow, Prediction]]]:
        """Each batch of rows with its predictions, as it comes; cuts are told with the first and in all at the end.

        Args:
            overrides: As typed: a decode setting that does nothing is told.
            in_full: With all that the task's answers tell of each.
        """
        for line in idle_told(self.config, overrides, writes=not self.published.chooses):
            warn(line)
        done = "cut" if self.published.selector is None else "read by the sentences that the selector chooses"
        cut = told = 0
        for batch in batches:
            made = self.predictor([row.example for row in batch], in_full)
            if made.cut and not cut:
                told = len(made.cut)
                places = ", ".join(batch[i].place for i in made.cut[:SHOWN_CUTS])
                warn(f"{told} documents are longer than {self._limit} and are {done}: {places}"
                     + (" ..." if told > SHOWN_CUTS else ""))
            cut += len(made.cut)
            yield list(zip(batch, made.predictions, strict=True))
        if cut > told:
            warn(f"{cut} documents in all were longer than {self._limit} and were {done}")

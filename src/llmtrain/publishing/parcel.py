"""What would be sent: the files of a checkpoint's model, verified, and looked through for what must not go out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtrain import checkpoint
from llmtrain.checkpoint.manifest import MANIFEST, record_of
from llmtrain.core.errors import ConfigError
from llmtrain.publishing.secrets_in_files import secrets_in

README, RECORD, RESULTS = "README.md", "llmtrain.json", "results.json"
HOME = re.compile(r"(?:/home|/Users|[A-Z]:\\\\?Users)[/\\]+[^/\\\s\"']+")
CARD_LINES = 12  # that are shown


@dataclass(frozen=True, slots=True)
class Parcel:
    """A model that can be sent.

    Attributes:
        folder: Where it lies.
        step: Of the run.
        files: (name, bytes) of each file, the card first.
        card: The first lines of its card.
        notes: What whoever sends it should know.
    """

    folder: Path
    step: int
    files: list[tuple[str, int]]
    card: list[str]
    notes: list[str]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.files)


def parcel_of(path: Path) -> Parcel:
    """The model that ``path`` means: of a run its best checkpoint's.

    Raises:
        ConfigError: Nothing is there, or a file holds what looks like a secret; one line for each.
        CheckpointError: It is no checkpoint, or a damaged one.
    """
    folder = checkpoint.locate_model(path)
    manifest = checkpoint.verify(folder)
    if problems := list(secrets_in(folder, sorted(manifest.files))):
        raise ConfigError(problems)
    sizes = {name: record.size for name, record in manifest.files.items()} | {
        MANIFEST: record_of(folder / MANIFEST).size}
    files = sorted(sizes.items(), key=lambda file: (file[0] != README, file[0]))
    card = (folder / README).read_text(encoding="utf-8").splitlines() if README in sizes else []
    return Parcel(folder, int(checkpoint.read_model_config(folder)["step"]), files, card[:CARD_LINES],
                  list(_notes(path, folder, sizes)))


def _notes(path: Path, folder: Path, sizes: dict[str, int]) -> Iterator[str]:
    if README not in sizes:
        yield "it has no model card: an earlier version of llmtrain saved it"
    elif (path / "checkpoints").is_dir() and not (path / RESULTS).is_file():
        yield "the run is not finished: its card has the scores of a validation alone"
    for name in (README, RECORD):
        if name in sizes and (found := HOME.findall((folder / name).read_text(encoding="utf-8"))):
            yield f"{name} names folders of this machine ({', '.join(sorted(set(found))[:3])})"

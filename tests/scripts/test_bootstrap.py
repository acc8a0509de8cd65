"""The scripts of a checkout make its environment once, and again where the checkout has come to lie elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from helpers import SOURCE

# a Python that makes environments at once, and whose pip installs nothing
PYTHON = """#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
printf '#!/bin/sh\\necho %s $LLMTRAIN_STARTED_AS\\n' "$3" >"$3/bin/llmtrain"
chmod +x "$3/bin/llmtrain"
"""


def test_a_moved_or_copied_checkout_sets_itself_up_again(tmp_path: Path) -> None:
    (programs := tmp_path / "bin").mkdir()
    (programs / "python3.11").write_text(PYTHON)
    (programs / "python3.11").chmod(0o755)
    first = tmp_path / "first"
    (first / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "scripts/bootstrap", "scripts/llmtrain"):
        shutil.copy(SOURCE.parent / name, first / name)

    def start(checkout: Path) -> tuple[str, bool]:
        done = subprocess.run([str(checkout / "scripts/llmtrain")], capture_output=True, text=True, check=True,
                              env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})
        place, started_as = done.stdout.split()
        assert started_as == str(checkout / "scripts/llmtrain")
        return place, "setting up" in done.stderr

    assert start(first) == (str(first / ".venv"), True)
    assert start(first) == (str(first / ".venv"), False)
    copied, moved = shutil.copytree(first, tmp_path / "copied"), tmp_path / "moved"
    assert start(copied) == (str(copied / ".venv"), True)
    first.rename(moved)
    assert start(moved) == (str(moved / ".venv"), True)
    assert start(moved) == (str(moved / ".venv"), False)

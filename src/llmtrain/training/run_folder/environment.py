"""What a run ran on, for environment.json: versions and hardware facts; no host name, path or environment variable."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmtrain import __version__, plugins
from llmtrain.config.overrides import config_files

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "safetensors", "tokenizers", "numpy", "hydra-core",
             "rouge-score")
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_fp16",  # x86
             "asimd", "asimdhp", "bf16", "sve")  # Arm


def describe(threads: int | None) -> dict[str, Any]:
    """Facts that can change results in the last bits. ``threads``: as configured, None for torch's own choice."""
    added = {record["name"]: record["sha256"] for record in plugins.records()}
    return {"llmtrain": __version__, "commit": _commit(), "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}", "libc": " ".join(platform.libc_ver()).strip(),
            "packages": {name: found for name in _PACKAGES if (found := _version(name))},
            "cpu": _cpu(), "cores": _cores(), "threads": threads or _omp_threads() or _cores()} | (
                {"plugins": added} if added else {}) | (
                    {"own_configs": config_files.records()} if config_files.records() else {})


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """``name before -> now`` for every fact that is not the same, the commit and cores apart."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if name == "own_configs":  # what they change is in the configuration, which is compared by itself
            continue
        if name == "plugins":  # left out where there are none
            old, new = old or {}, new or {}
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{name}.")
        elif old != new and prefix + name not in ("commit", "cores"):
            lines.append(f"{prefix}{name} {old} -> {new}")
    return lines


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _omp_threads() -> int:
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _cpu() -> dict[str, Any]:
    """Model name and the instruction sets that decide which kernels run."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"model": platform.processor(), "features": []}
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    return {"model": model[1].strip() if model else platform.machine(),
            "features": [feature for feature in _FEATURES if feature in present]}


def _commit() -> str | None:
    """The commit of llmtrain's own source tree, with -dirty for a changed one; None when installed from a wheel."""
    folder = Path(__file__).resolve().parent
    try:
        # a package installed below somebody else's repository is not tracked by it
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    # without optional locks: a status (and describe --dirty in any case) writes an index that somebody works with
    return subprocess.run(["git", "--no-optional-locks", "-C", str(folder), *arguments], check=True,
                          capture_output=True, encoding="utf-8", errors="replace", timeout=10).stdout.strip()

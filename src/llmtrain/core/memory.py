"""How much memory this process may take, takes and took, and whether the kernel has killed for want of it (Linux)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CGROUPS = Path("/sys/fs/cgroup")
BOOT = Path("/proc/sys/kernel/random/boot_id")
NO_LIMIT = 1 << 60  # version 1 writes about 2**63 where there is none
PEAK, RESIDENT = "VmHWM", "VmRSS"


@dataclass(frozen=True, slots=True)
class Files:
    """What the two versions of control groups call a group's limit, its use, and its kills."""

    limit: str
    used: str
    idle: str  # of memory.stat: file pages that the kernel takes back before it kills
    kills: str


VERSION_1 = Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control")
VERSION_2 = Files("memory.max", "memory.current", "inactive_file", "memory.events")


def resident() -> int:
    """Bytes of this process in memory; 0 where /proc does not tell."""
    return _status(RESIDENT)


def peak() -> int:
    """The most of it since the start, or since :func:`forget_peak`."""
    return _status(PEAK)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that this process has taken: what torch allocated on a CUDA device, else its resident set."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # Linux counts KiB


def forget_peak() -> bool:
    """Let :func:`peak` begin anew; False where the kernel does not."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return True
    return False


def room() -> int | None:
    """Bytes that this process may hold in all before the kernel kills: its own and what nobody holds, the least over
    the machine and every control group around it. None where nothing tells."""
    found = []
    with suppress(OSError, ValueError):
        found.append(numbers(Path("/proc/meminfo"))["MemAvailable"] * 1024)
    for group, files in groups():
        with suppress(OSError, ValueError, KeyError):
            limit = int((group / files.limit).read_text(encoding="ascii"))  # "max": ValueError
            if limit < NO_LIMIT:
                used = int((group / files.used).read_text(encoding="ascii"))
                found.append(limit - used + numbers(group / "memory.stat").get(files.idle, 0))
    return resident() + max(0, min(found)) if found else None


def kills() -> dict[str, int]:
    """How often the kernel has killed for want of memory since it started, on this machine and in this process's
    control group."""
    found: dict[str, int] = {}
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return found
    with suppress(OSError, ValueError, KeyError):
        found[boot] = numbers(Path("/proc/vmstat"))["oom_kill"]
    for group, files in list(groups())[:1]:
        with suppress(OSError, ValueError, KeyError):
            found[f"{boot}{group}"] = numbers(group / files.kills)["oom_kill"]
    return found


def groups() -> Iterator[tuple[Path, Files]]:
    """This process's memory control group and those around it, from the inside out."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                root, files = CGROUPS / "memory", VERSION_1
            elif number == "0":
                root, files = CGROUPS, VERSION_2
            else:
                continue
            inner = root / path.lstrip("/")
            for group in (inner, *inner.parents):
                if (group / files.used).is_file():  # in a container the path may be the machine's, not ours
                    yield group, files
                if group == root:
                    break


def _status(name: str) -> int:
    with suppress(OSError, ValueError, KeyError):
        return numbers(Path("/proc/self/status"))[name] * 1024
    return 0


def numbers(path: Path) -> dict[str, int]:
    """NAME NUMBER or NAME: NUMBER of each line that has one."""
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, rest = line.partition(" ") if ":" not in line else line.partition(":")
        with suppress(ValueError, IndexError):
            found[name] = int(rest.split()[0])
    return found

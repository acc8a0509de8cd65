"""What a child of the warm server may do to itself before its command starts: limits, failing calls, aimed signals."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}


def steady_clock(seconds: float) -> None:
    """Every step takes so long by the run's own count: what is limited by minutes is then the same each time."""
    from llmtrain.training import trainer

    advance = trainer.advance
    trainer.advance = lambda run, agreed, result, _seconds: advance(run, agreed, result, seconds)


def signal_at_step(step: int, number: int = signal.SIGTERM, clock: float | None = None) -> None:
    """Send this process a signal once the run has taken so many steps, before anything is logged or saved of them."""
    from llmtrain.training import trainer

    if clock is not None:
        steady_clock(clock)
    advance = trainer.advance

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.state.progress.step == step:
            os.kill(os.getpid(), number)

    trainer.advance = advancing


def count_writes(below: str, tell: str) -> None:
    """Write the number of file-system changes below a folder, as Python makes them, into the file ``tell``."""
    made: list[str] = []

    def seen(event: str, path: str) -> None:
        made.append(event)
        handle = os.open(tell, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(handle, str(len(made)).encode())
        os.close(handle)

    _watch(below, seen)


def kill_at_write(below: str, number: int) -> None:
    """kill -9 right before the file-system change of this number (1: the first) below a folder."""
    made: list[str] = []

    def seen(event: str, path: str) -> None:
        made.append(event)
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(below, seen)


def _watch(below: str, seen: Any) -> None:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, changes = (arguments[0] if arguments else None), event in WRITES
        if changes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(below):
            seen(event, os.fspath(path))

    sys.addaudithook(audit)


PHASES = ("start", "step", "accumulation", "save", "evaluation", "generation", "workers", "scoring")
MOMENT = 1, 4  # in the step after so many steps, and at the save and validation behind so many


def signal_in(phase: str, number: int, again: float | None, group: bool, tell: str) -> None:
    """Signal this process (or its group) in a phase of its run, once, and once more after ``again`` seconds.

    ``tell`` gets the time of the last signal, and the CPU time that the process had used when it came.
    """
    from llmtrain.objectives import joint_module
    from llmtrain.training import final_evaluation, save, seeds, step, validate

    sent: list[float] = []

    def note(later: float = 0.0) -> None:
        sent.append(time.monotonic() + later)
        Path(tell).write_text(f"{sent[-1]} {time.process_time()}", encoding="utf-8")

    def send() -> None:
        if sent:
            return
        pauses = [0.0] if again is None else [0.0, again]
        if group:  # from outside, as a terminal does: torch's workers take their parent's signals otherwise
            note(sum(pauses))
            name = signal.Signals(number).name.removeprefix("SIG")
            subprocess.run(["sh", "-c", "; ".join(f"sleep {pause}; kill -s {name} -- -{os.getpgrp()}"
                                                  for pause in pauses)], start_new_session=True, check=True)
            return
        for pause in pauses:
            time.sleep(pause)
            note()
            os.kill(os.getpid(), number)

    def before(place: Any, name: str, when: Callable[..., bool]) -> None:
        original = getattr(place, name)

        def wrapped(*args: Any, **how: Any) -> Any:
            if when(*args, **how):
                send()
            return original(*args, **how)

        setattr(place, name, wrapped)

    early, late = MOMENT
    calls: list[int] = []

    def second(joint: Any, _batch: Any, step: int, *_: Any) -> bool:
        """The second micro-batch of the step."""
        if joint.training and step == early:
            calls.append(step)
        return len(calls) == 2

    match phase:
        case "start":
            before(seeds, "seed_everything", lambda *_: True)
        case "step" | "workers":
            before(step.TrainStep, "__call__", lambda _self, _micro, _agreed, at, _update: at == early)
        case "accumulation":
            before(joint_module.JointModule, "forward", second)
        case "save":
            before(save, "write_model", lambda run, *_: run.state.progress.step == late)
        case "evaluation":
            before(validate, "held_out_losses", lambda run, *_: run.state.progress.step == late)
        case "generation":
            before(validate, "predict_and_score", lambda *_, **__: True)
        case "scoring":
            before(final_evaluation, "predict_and_score", lambda *_, **__: True)


def spoil_row(term: str, row: int, value: float) -> None:
    """The loss of this term is multiplied by ``value`` (NaN, inf) wherever it is trained on this row."""
    from llmtrain.objectives import joint_module

    forward = joint_module.JointModule.forward

    def spoilt(joint: Any, batch: Any, *rest: Any, **how: Any) -> Any:
        sums = forward(joint, batch, *rest, **how)
        if joint.training and row in batch["example_id"].tolist():
            sums[term] = sums[term] * value
        return sums

    joint_module.JointModule.forward = spoilt  # type: ignore[method-assign]


def overflow_at(steps: list[int], stop: int | None = None) -> None:
    """The gradient of one parameter is infinite in the steps behind so many; SIGTERM once ``stop`` steps are taken."""
    from llmtrain.training import step

    call = step.TrainStep.__call__

    def overflowing(self: Any, micro: Any, agreed: Any, at: int, update: int) -> Any:
        if at not in steps:
            return call(self, micro, agreed, at, update)
        handle = self.parameters[-1].register_hook(lambda gradient: gradient * float("inf"))
        try:
            return call(self, micro, agreed, at, update)
        finally:
            handle.remove()

    step.TrainStep.__call__ = overflowing  # type: ignore[method-assign]
    if stop is not None:
        signal_at_step(stop)


def fault_at(phase: str, step: int, what: str) -> None:
    """Go wrong in a phase (forward, all-reduce, save) of a step, the first being 1.

    Args:
        what: killed, stopped, raising or exiting (at once, with 0); launcher: the process above gets a SIGTERM.
    """
    from llmtrain.objectives import joint_module
    from llmtrain.training import state

    def fail(*_: object) -> None:
        if what == "raising":
            raise ValueError("a fault that was asked for")
        if what == "exiting":
            os._exit(0)
        if what == "launcher":
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(2)  # it passes the signal on
            return
        os.kill(os.getpid(), signal.SIGKILL if what == "killed" else signal.SIGSTOP)

    if phase == "save":
        save = state.RandomPart.save

        def saving(self: Any) -> Any:
            saved = save(self)
            fail()
            return saved

        state.RandomPart.save = saving  # type: ignore[method-assign]
        return
    forward, calls = joint_module.JointModule.forward, [0]

    def stepping(self: Any, *rest: Any, **how: Any) -> Any:
        calls[0] += self.training
        now = self.training and calls[0] == step
        if now and phase == "forward":
            fail()
        if now and phase == "all-reduce":  # the last gradient: the others are being reduced
            next(p for p in self.parameters() if p.requires_grad).register_hook(fail)
        return forward(self, *rest, **how)

    joint_module.JointModule.forward = stepping  # type: ignore[method-assign]


def lose_worker(moment: str, worker: int, batch: int, what: str, delay: float, tell: str) -> None:
    """A data worker is killed or stopped: when it starts, in its n-th batch, or ``delay`` seconds behind that.

    ``tell`` gets the time.
    """
    from torch.utils.data import get_worker_info

    from llmtrain.data import loader
    from llmtrain.training import build_data

    def lose() -> None:
        Path(tell).write_text(str(time.monotonic()), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL if what == "killed" else signal.SIGSTOP)

    call, start, calls = loader.Collate.__call__, build_data.ignore_in_worker, [0]

    def collating(self: Any, request: Any) -> Any:
        made, info = call(self, request), get_worker_info()
        calls[0] += info is not None and info.id == worker
        if calls[0] == batch and moment == "collating":
            lose()
        if calls[0] == batch and moment == "handing over":
            calls[0] += 99
            threading.Timer(delay, lose).start()
        return made

    def starting(number: int) -> None:
        start(number)
        if number == worker and moment == "starting":
            lose()

    loader.Collate.__call__ = collating  # type: ignore[method-assign]
    build_data.ignore_in_worker = starting


def limit_file_size(size: int) -> None:
    """No file of this process may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def read_only_at_save(disk: str, number: int) -> None:
    """Before the save of this number (1: the first) the disk is covered by itself, read-only."""
    from llmtrain import checkpoint

    save, calls = checkpoint.save, []

    def saving(*args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            for options in (["--bind", disk], ["-o", "remount,bind,ro"]):
                subprocess.run(["mount", *options, disk], check=True)
        return save(*args, **how)

    checkpoint.save = saving


def drop_privileges() -> None:
    """Give up every capability of this process: from now on modes of files hold for root too."""
    import ctypes

    version = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    if ctypes.CDLL(None, use_errno=True).capset(version, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def forbid_at_save(number: int) -> None:
    """Before the save of this number (1: the first) the folder it goes to is closed by its mode."""
    from llmtrain import checkpoint

    save, calls = checkpoint.save, []

    def saving(checkpoints: Path, *args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            drop_privileges()
            (checkpoints if checkpoints.exists() else checkpoints.parent).chmod(0o555)
        return save(checkpoints, *args, **how)

    checkpoint.save = saving


def unmount(disk: str) -> None:
    """Take that cover away."""
    subprocess.run(["umount", disk], check=True)


def wait_for_tracer(target: str, nth: int, flag: str) -> None:
    """At the nth call of "module:name.name", make the file ``flag`` and wait until a tracer has attached."""
    module, _, name = target.partition(":")
    owner = importlib.import_module(module)
    *inner, last = name.split(".")
    for part in inner:
        owner = getattr(owner, part)
    call, calls = getattr(owner, last), []

    def waiting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            Path(flag).touch()
            while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
                time.sleep(0.001)
        return call(*args, **kwargs)

    setattr(owner, last, waiting)


def hub_of_the_environment() -> None:
    """Read HF_ENDPOINT and HF_HUB_OFFLINE again: the warm server read its own when it imported the hub's library."""
    import datasets.config
    from huggingface_hub import constants

    constants.ENDPOINT = datasets.config.HF_ENDPOINT = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = False


def eat_memory_at_step(step: int, size: int) -> None:
    """Once the run has taken so many steps this process wants so many bytes more, and is the one that is killed."""
    from llmtrain.training import trainer

    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    advance, eaten = trainer.advance, []

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.state.progress.step == step:
            eaten.append(bytearray(os.urandom(1 << 20)) * (size >> 20))

    trainer.advance = advancing


def limit_device_memory(size: int, stop: int | None = None) -> None:
    """torch's allocator gets no more than so many bytes of the CUDA device; a SIGTERM after ``stop`` steps."""
    import torch

    if stop is not None:
        signal_at_step(stop)
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.mem_get_info()[1])


def limit_address_space_at_step(step: int) -> None:
    """Once the run has taken so many steps its address space may not grow any more."""
    import torch

    from llmtrain.training import trainer

    advance = trainer.advance

    def advancing(run: Any, *rest: Any) -> None:
        advance(run, *rest)
        if run.state.progress.step == step:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            size = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
            torch.zeros(64 << 20)  # as a larger batch would want

    trainer.advance = advancing

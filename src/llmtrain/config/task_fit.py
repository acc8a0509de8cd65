"""Which heads and objectives serve a task: facts that they are registered with."""

from __future__ import annotations

from collections.abc import Iterator

from llmtrain import registry
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import base_terms_of, documents_alone
from llmtrain.config.sections.task import has_text_targets

SEQ2SEQ = "seq2seq"


def architecture_of(head: registry.RegisteredPart) -> str:
    """The architecture of a registered head; a head that names none reads and writes."""
    return str(head.requires.get("architecture", SEQ2SEQ))


def serves(head: registry.RegisteredPart, task: registry.RegisteredPart) -> bool:
    """Whether the head makes what the task asks for: by the task's own list of architectures, or any text."""
    architecture = architecture_of(head)
    if (able := task.requires.get("architectures")) is not None:
        return architecture in able
    return bool(registry.get("architecture", architecture).requires.get("text", True))


def head_problems(config: TrainConfig) -> Iterator[str]:
    """One line for a head that makes something else than the task has."""
    task, head = registry.get("task", config.task.name), registry.get("head", config.head.name)
    if not serves(head, task):
        able = [part.name for part in registry.parts("head") if serves(part, task)]
        yield (f"head={head.name} ({architecture_of(head)}) makes nothing that task={task.name} asks for; use a head "
               f"of {', '.join(able)}")


def problems_of_task(config: TrainConfig) -> Iterator[str]:
    """One line for the head and for each base term that make, or read, something else than the task has."""
    yield from head_problems(config)
    task = registry.get("task", config.task.name)
    if has_text_targets(task):
        return
    known = {part.name: part.requires for part in registry.parts("objective")}
    for name in base_terms_of(config.objective):
        if known.get(name, {}).get("reads_target"):
            yield (f"the objective {name} reads targets as texts and those of task={task.name} are none; use one of "
                   f"{', '.join(documents_alone())}")

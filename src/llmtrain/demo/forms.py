"""Every model of a demo, and what those that can be asked the same have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmtrain.core.errors import ConfigError
from llmtrain.demo.rows_to_try import RowToTry, rows_to_try
from llmtrain.demo.served_model import ServedModel
from llmtrain.demo.to_serve import ToServe
from llmtrain.inference.published import load_published_tasks


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked of some models alike.

    Attributes:
        name: What it is called: the task's name in the runs.
        models: Those that answer it.
        examples: Rows to try.
    """

    name: str
    models: list[ServedModel] = field(default_factory=list)
    examples: list[RowToTry] = field(default_factory=list)


class Models:
    """The models of a demo, by name.

    Args:
        opened: Their checkpoints, in the order in which they are shown.

    Raises:
        CheckpointError: A model cannot be loaded.
    """

    def __init__(self, opened: Sequence[ToServe]) -> None:
        found: list[ServedModel] = []
        names = _names(opened)
        for one, name in zip(opened, names, strict=True):
            first = next(iter(one.tasks.values()))
            published = load_published_tasks(one.folder, first.precision, first.trainer.device, list(one.tasks))
            found += [ServedModel(f"{name}/{task}" if task else name, config, published[task], task,
                                  one.folder, one.step)
                      for task, config in one.tasks.items()]
        self.all = found
        self.forms = _forms(found)
        for form in self.forms:
            form.examples.extend(rows_to_try(form.models))

    def asked(self, model: str | None, task: str | None) -> list[ServedModel]:
        """The models that a request means: one by its name, or all of a task; without either, all of the only task.

        Raises:
            ConfigError: There is none, or it is not said which of several tasks is meant.
        """
        if model is not None:
            found = [one for one in self.all if one.name == model]
            if not found:
                names = ", ".join(one.name for one in self.all)
                raise ConfigError(f"no model {model!r} is served; choose from {names}")
            return found
        tasks = ", ".join(form.name for form in self.forms)
        if task is None and len(self.forms) > 1:
            raise ConfigError(f"models of several tasks are served, {tasks}; name the task or the model")
        chosen = [form for form in self.forms if task in (None, form.name)]
        if not chosen:
            raise ConfigError(f"no model of the task {task!r} is served; choose from {tasks}")
        return chosen[0].models

    def described(self) -> dict[str, Any]:
        """What is served, as JSON for the page and for programs."""
        limits = self.all[0].config.demo
        return {"forms": [{"name": form.name, "fields": [one.name for one in form.models[0].fields],
                           "models": [one.described() for one in form.models],
                           "examples": [{"inputs": one.inputs, "reference": one.reference} for one in form.examples]}
                          for form in self.forms],
                "limits": {"max_characters": limits.max_characters, "max_beams": limits.max_beams,
                           "max_new_tokens": limits.max_new_tokens, "timeout_seconds": limits.timeout_seconds}}


def _names(opened: Sequence[ToServe]) -> list[str]:
    """A name for each: its run's; with the step where one run is served at several; numbered where it is the same."""
    runs = [_run_of(one) for one in opened]
    twice = Counter(runs)
    names = [f"{run} step {one.step}" if twice[run] > 1 else run for run, one in zip(runs, opened, strict=True)]
    again: Counter[str] = Counter()
    for index, name in enumerate(names):
        again[name] += 1
        names[index] = f"{name} ({again[name]})" if again[name] > 1 else name
    return names


def _run_of(one: ToServe) -> str:
    """The name of the run folder that it lies in, else that of the run that it comes from."""
    checkpoints = one.folder.resolve().parent.parent
    if checkpoints.name == "checkpoints":
        return checkpoints.parent.name
    return next(iter(one.tasks.values())).run.name or one.folder.resolve().name


def _forms(models: Sequence[ServedModel]) -> list[Form]:
    """Models that read the same texts for the same task stand side by side, whatever their runs call it."""
    found: dict[Any, Form] = {}
    taken: Counter[str] = Counter()
    for model in models:
        if model.form not in found:
            taken[model.task_name] += 1
            number = taken[model.task_name]
            found[model.form] = Form(model.task_name if number == 1 else f"{model.task_name} ({number})")
        found[model.form].models.append(model)
    return list(found.values())


"""A published model's card: what it is, how it scored, what it is for, how it is loaded, and how it was made.

Everything on it is known when it is written. A checkpoint is saved while its run goes on: its card tells the last
validation and says that the run was not scored yet. When the run is, the best checkpoint gets a card with the scores.
Nothing on a card depends on the clock or the machine: a run that was stopped and gone on with writes the same ones.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtrain import registry
from llmtrain.config.members import Member, members_of
from llmtrain.config.schema import TrainConfig
from llmtrain.config.sections.objective import trains_task
from llmtrain.config.task_fit import architecture_of
from llmtrain.config.terms import terms_of_run
from llmtrain.core.errors import redact
from llmtrain.data.sources.rows_to_predict import RowReader
from llmtrain.evaluation.card.scores import card_losses, card_scores, card_validation, cell, eval_results
from llmtrain.fetch.packaged_bases import hub_name
from llmtrain.tasks.task import Task, task_named

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

README = "README.md"
OWN_TYPES = "llmtrain_"  # what the model types of our own classes begin with


@dataclass(frozen=True, slots=True)
class CardSubject:
    """What a card is about.

    Attributes:
        run: The run's name.
        folder: The model's, with its config.json.
        config: The run's.
        record: What the checkpoint says of itself: "step", "data_hash", "precision".
        languages: Of the data, as the hub writes them.
        data_license: Of the data; None: it is not known.
    """

    run: str
    folder: Path
    config: TrainConfig
    record: Mapping[str, Any]
    languages: Sequence[str] = ()
    data_license: str | None = None

    @property
    def members(self) -> list[Member]:
        """The run's tasks; none where the base was trained alone."""
        return [*members_of(self.config)] if trains_task(self.config.objective) else []

    @property
    def model_type(self) -> str:
        """transformers' name of its kind."""
        return str(json.loads((self.folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))

    @property
    def plain(self) -> bool:
        """Whether transformers alone loads it."""
        return not self.model_type.startswith(OWN_TYPES)


def card_of(about: CardSubject, validation: Mapping[str, Any] | None = None,
            results: Mapping[str, Any] | None = None) -> str:
    """The content of README.md.

    Args:
        validation: The last row of metrics.jsonl that tells of a validation.
        results: The run's results, once it is scored.
    """
    sections = [[f"# {about.run}", "", *_what(about)], ["## Scores", "", *_scores(about, validation, results)],
                ["## What it is for, and what not", "", *_use(about)], ["## How to load it", "", *_loading(about)],
                ["## How to repeat it", "", *_repeating(about)]]
    body = "\n\n".join("\n".join(section) for section in sections)
    return f"---\n{_metadata(about, results).to_yaml()}\n---\n\n{without_home(redact(body))}\n"


def without_home(text: str) -> str:
    """The text without the folder of whoever made the model: it tells a name, and nobody else has it."""
    try:
        home = str(Path.home())
    except RuntimeError:
        return text
    return text.replace(f"{home}/", "~/") if len(home) > 1 else text


def _metadata(about: CardSubject, results: Mapping[str, Any] | None) -> ModelCardData:
    from huggingface_hub import ModelCardData

    tasks = [(member, task_named(member.config.task.name)) for member in about.members]
    entries = [entry for member, task in tasks if results for entry in eval_results(
        task, member, about.config, results.get("members", {}).get(member.name, results))]
    tags = ["llmtrain", *dict.fromkeys(task.name for _, task in tasks), about.config.precision.name.value]
    more: dict[str, Any] = {} if about.data_license is None else {"data_license": about.data_license}
    datasets = [name for data in _data(about) if (name := data.hub.name) and data.name == "hub" and
                not Path(name).exists()]
    return ModelCardData(
        model_name=about.run if entries else None, language=list(about.languages) or None,
        license=about.config.run.license, library_name="transformers" if about.plain else "llmtrain",
        tags=list(dict.fromkeys(tags)),
        pipeline_tag=_pipeline_tag(about, [task for _, task in tasks]),
        base_model=hub_name(about.config.model.path), datasets=list(dict.fromkeys(datasets)) or None,
        metrics=list(dict.fromkeys(metric.name for _, task in tasks for metric in task.metrics)) or None,
        eval_results=entries or None, data_hash=about.record.get("data_hash"), **more)


def _pipeline_tag(about: CardSubject, tasks: Sequence[Task]) -> str | None:
    if not tasks:  # the base alone, with or without its masked-LM head
        written = json.loads((about.folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
        return "fill-mask" if str(written[0]).endswith("ForMaskedLM") else "feature-extraction"
    return tasks[0].pipeline_tag if len(tasks) == 1 else None


def _data(about: CardSubject) -> list[Any]:
    """The data sections of the run."""
    return [member.config.data for member in about.members] or [about.config.data]


def _what(about: CardSubject) -> Iterator[str]:
    config, record = about.config, about.record
    part = registry.get("head", config.head.name)
    task = ", ".join(dict.fromkeys(registry.get("task", member.config.task.name).about for member in about.members))
    precision = record.get("precision") or {}
    base = hub_name(config.model.path)
    rows = {
        "task": f"{config.task.name}: {task}" if about.members else "none: the base alone was trained further",
        "base": f"`{base or Path(config.model.path).name}`" + (
            f", revision `{config.model.revision}`" if config.model.revision else ""),
        "head": f"`{part.name}`: {part.about}" if about.members else None,
        "loss": " + ".join(f"{term.lam:g} x {term.name}" for term in terms_of_run(config)) + (
            f", weighed by {config.objective.weighting}" if config.objective.weighting != "fixed" else ""),
        "precision": f"{precision.get('requested')} asked for, {precision.get('effective')} observed in the base",
        "checkpoint": f"step {record.get('step')} of the run `{about.run}`" + (
            f", the mean of the steps {', '.join(map(str, steps))}" if (steps := record.get("averaged_steps")) else ""),
        "data": "; ".join(dict.fromkeys(_told_of(data) for data in _data(about))),
        "content hash of the data": f"`{record.get('data_hash')}`",
        "licence of the data": about.data_license or "not stated",
        "made with": f"llmtrain {record.get('llmtrain')}"}
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        if value:
            yield f"| {name} | {cell(value)} |"


def _told_of(data: Any) -> str:
    if data.name == "hub":
        return f"`{data.hub.name}`" + (f" ({data.hub.config})" if data.hub.config else "")
    if data.name != "files":
        return f"`data={data.name}`"
    given = data.train if isinstance(data.train, list) else [data.train]
    return "files: " + ", ".join(f"`{Path(str(name)).name}`" for name in given[:4]) + (
        f" and {len(given) - 4} more" if len(given) > 4 else "")


def _scores(about: CardSubject, validation: Mapping[str, Any] | None, results: Mapping[str, Any] | None,
            ) -> Iterator[str]:
    tasks = [(member.name, task_named(member.config.task.name)) for member in about.members]
    if results is not None:
        for name, task in tasks:
            if name:
                yield from ("", f"### {name}", "")
            yield from card_scores(task, results.get("members", {}).get(name, results))
        if results.get("losses"):
            yield from card_losses(results["losses"])
        return
    yield "The run was not scored yet when this checkpoint was saved."
    if validation is not None:
        rows = about.config.trainer.eval_rows
        yield (f"Its validation at step {validation['step']} gave, on at most {rows} rows "
               f"{'of each task ' if len(tasks) > 1 else ''}and without intervals:")
        yield ""
        yield from card_validation(tasks, validation)


def _use(about: CardSubject) -> Iterator[str]:
    tasks = [(member, task_named(member.config.task.name)) for member in about.members]
    if not tasks:
        yield "As a base for another training (`model.path`, `model.init_from`). It has learnt no task."
    for member, task in tasks:
        before = f"**{member.name}**: " if member.name else ""
        yield f"- {before}{task.intended_use}"
        yield f"- {before}{task.limits}"
        yield f"- {before}It reads at most {member.config.data.max_source_tokens} tokens of a row" + (
            "; what comes behind them is cut off." if member.config.data.long.value == "truncate" else
            f" (`data.long={member.config.data.long.value}`).")
    if tasks:
        yield "- Scores tell of rows like those that were scored, and of no others."
    yield "- The base has a licence of its own, and so has the data: see to both before you pass the model on."


def _loading(about: CardSubject) -> Iterator[str]:
    if not about.members:
        yield from _code("from transformers import AutoModel, AutoTokenizer", "",
                         'model = AutoModel.from_pretrained("FOLDER")')
        return
    plugins = [one["name"] for one in about.record.get("plugins") or ()]
    more = f', plugins={json.dumps(plugins[0] if len(plugins) == 1 else plugins)}' if plugins else ""
    lines: list[str] = []
    for member in about.members:
        named = f', task="{member.name}"' if member.name else ""
        lines += [f'model = llmtrain.load("FOLDER"{named}{more})', _call(member)]
    yield "With llmtrain installed and this repository in `FOLDER` (`hf download REPOSITORY --local-dir FOLDER`):"
    yield ""
    yield from _code("import llmtrain", "", *lines)
    architecture = registry.get("architecture", architecture_of(registry.get("head", about.config.head.name)))
    if architecture.origin or plugins:
        return
    auto = registry.resolve("architecture", architecture.name).auto_class
    yield ""
    yield "With transformers" + (" alone:" if about.plain else ", which `import llmtrain.hf` teaches the model's kind:")
    yield ""
    yield from _code(*(() if about.plain else ("import llmtrain.hf",)),
                     f"from transformers import {auto}, AutoTokenizer", "", f'model = {auto}.from_pretrained("FOLDER")',
                     'tokenizer = AutoTokenizer.from_pretrained("FOLDER")')


def _call(member: Member) -> str:
    """Python that calls the loaded model on a row; where nobody knows what such a row holds, a line about it."""
    reader = RowReader(member.config.data, member.config.task.name)
    if reader.takes_texts:
        return 'print(model("a text ..."))'
    known = task_named(member.config.task.name).example
    row = {column: known.get(key.rpartition(".")[2]) for key, column in reader.needed.items()}
    if None in row.values():
        return f"# print(model(row)), where a row is a mapping with {' and '.join(row)}"
    return f"print(model({json.dumps(row, ensure_ascii=False)}))"


def _repeating(about: CardSubject) -> Iterator[str]:
    typed = getattr(about.config, "command", None)
    if typed:
        yield from _code(shlex.join(["llmtrain", *map(_without_folders, typed)]), language="bash")
        yield ""
        yield ("The data's content hash is above: it is the same data where that is the same. Paths are given without "
               "their folders.")
    yield "The whole configuration, with every default, is in `llmtrain.json`."


def _without_folders(word: str) -> str:
    """An argument with the name alone of a file that an absolute path leads to: nobody else has its folders."""
    key, equals, value = word.partition("=") if "=" in word else ("", "", word)
    return f"{key}{equals}{Path(value).name}" if value.startswith(("/", "~")) else word


def _code(*lines: str, language: str = "python") -> Iterator[str]:
    yield f"```{language}"
    yield from lines
    yield "```"

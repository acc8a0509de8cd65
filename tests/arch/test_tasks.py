"""A task lives in its own folder: nothing outside speaks of summaries or imports a task, but for what is listed here.

What a generic room calls a source, a target, an output or a prediction may be any task's. A task is reached through the
registry and the protocol of tasks/task.py.
"""

from __future__ import annotations

import re

from tests.arch.test_layers import FILES, MODULES, SOURCE, imports, told

MOST = 12  # files outside tasks/summarization that may speak of summaries
WORD = re.compile("summar", re.IGNORECASE)
TASKS = SOURCE / "tasks"
HOME = TASKS / "summarization"
NAMES_SUMMARIES = {
    "__init__.py": "llmtrain.Summarizer is the package's public Python",
    "cli/command_table.py": "the command `summarize`, its line of help and its example",
    "cli/commands/summarize.py": "the command `summarize` itself, the task's own word for predicting",
    "config/overrides/synonyms.py": "names of other tools that people type, summary_column among them, and our keys",
    "config/schema.py": "the configuration of the command `summarize`",
    "config/sections/summarize.py": "the keys of that command (summarize.format, summarize.cite)",
    "config/sections/data.py": "keys of data=docstrings that stored configurations hold (min_summary_words)",
    "config/sections/task.py": "the task of configurations that were stored before there was a choice",
    "data/sources/docstrings.py": "PEP 257 calls a docstring's first line its summary; its keys are stored",
    "data/text/preprocess/options.py": "keys and values of steps that stored configurations hold (apply=summary)",
    "tasks/question_answering/docstring_parameters.py": "keys of data=docstrings that stored configurations hold",
}
IMPORTS_A_TASK = {
    ("__init__.py", "summarization"): "llmtrain.Summarizer, imported when it is first asked for",
    ("cli/commands/summarize.py", "summarization"): "the command is that task's own",
}


def shown(path: object) -> str:
    return str(path).removeprefix(f"{SOURCE}/")


def test_few_files_outside_their_task_speak_of_summaries() -> None:
    found = {shown(path) for path in FILES if HOME not in path.parents
             and WORD.search(path.read_text(encoding="utf-8"))}
    told([f"{name} speaks of summaries; say source, target, output or prediction, or list it with its reason"
          for name in sorted(found - NAMES_SUMMARIES.keys())]
         + [f"{name} does not speak of summaries any more; take it off the list"
            for name in sorted(NAMES_SUMMARIES.keys() - found)])
    assert len(found) <= MOST, f"{len(found)} files outside tasks/summarization speak of summaries, more than {MOST}"


def test_no_file_outside_a_task_imports_it() -> None:
    names = sorted(path.name for path in TASKS.iterdir() if (path / "__init__.py").exists())
    found = {(shown(path), name): module for path in FILES for name in names if TASKS / name not in path.parents
             for module, _ in imports(path) if f"{module}.".startswith(f"llmtrain.tasks.{name}.")}
    told([f"{file} imports {module}; reach the task through llmtrain.tasks.task.task_named, or list it with its reason"
          for (file, name), module in sorted(found.items()) if (file, name) not in IMPORTS_A_TASK]
         + [f"{file} does not import the task {name} any more; take it off the list"
            for file, name in sorted(IMPORTS_A_TASK.keys() - found.keys())])


def test_every_task_registers_itself() -> None:
    """The registry finds a task's folder by itself, so that adding one edits no other file."""
    told([f"tasks/{path.name} has no options.py that registers it" for path in sorted(TASKS.iterdir())
          if (path / "__init__.py").exists() and f"llmtrain.tasks.{path.name}.options" not in MODULES])

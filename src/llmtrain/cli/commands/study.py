"""``llmtrain study``: is joint training worth it here, at which lambda, and does low precision cost anything?

A grid over any keys, each cell an ordinary run a seed, compared with the task term alone in fp32.
"""

from __future__ import annotations

import yaml

from llmtrain.cli.options import CFG, PLAN, Given
from llmtrain.config.convert import to_dict
from llmtrain.core.errors import redact
from llmtrain.core.logging import keep_going
from llmtrain.core.stdio import write_data
from llmtrain.study.plan import plan


def run(overrides: list[str], given: Given) -> int:
    """Do a study, or go on with it; show its cells (``--cfg job``) or what it costs (``--plan``) and stop."""
    made = plan(overrides)
    if CFG in given:
        for cell in made.cells:
            shown = to_dict(cell.config)
            if not made.is_measured:
                shown["trainer"]["max_steps"] = None  # not known yet
            content = yaml.safe_dump(shown, sort_keys=False, allow_unicode=write_data())
            print(redact(f"--- # {cell.name}\n{content}"), end="")
        return 0
    from llmtrain.study.conduct import conduct

    keep_going()
    return conduct(made, only_plan=PLAN in given)

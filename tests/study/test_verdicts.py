"""What a study says in words."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrain.study.verdicts import verdicts


def cell(name: str, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    """A cell of study.json, as far as verdicts read it."""
    dtype = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    return {"name": name, "base": False, "joint": True, "beside_loss": [], "state": "done", "problem": None,
            "requested": precision, "effective": [dtype], "skipped_steps": 0, "metrics": {"f1": {"mean": 50.0}},
            "against_base": None, "against_fp32": None, "runs": [], **more}


def difference(value: float, p: float, equivalent: bool | None = None) -> dict[str, Any]:
    return {"value": value, "low": value - 1, "high": value + 1, "parts": {"noise": 0.5}, "p": p,
            "p_holm": p, "better": value > 0, "verdict": f"so: {value:+.2f}",
            "equivalence": None if equivalent is None else {"equivalent": equivalent}}


@pytest.mark.parametrize(("joint", "low", "said"), [
    (difference(2.0, 0.01), difference(0.0, 0.9, True), ("joint training helps: the only joint cell in fp32, b, has",
                                                         "bf16 costs nothing: within 0.5 f1 of fp32 in the only cell")),
    (difference(0.3, 0.5), difference(-0.4, 0.3, False), ("no gain of joint training is shown",
                                                          "is shown for 0 of 1 cells, not for c: -0.40")),
    (difference(-2.0, 0.01), difference(-1.0, 0.01, False), ("joint training hurts: the only joint cell",
                                                             "bf16 costs something in 1 of 1 cells"))])
def test_the_verdict_in_words(joint: dict[str, Any], low: dict[str, Any], said: tuple[str, str]) -> None:
    study = {"metric": "f1", "more_is_better": True, "digits": 2, "margin": 0.5, "rows": 20, "seeds": [0, 1], "cells": [
        cell("a", base=True, joint=False), cell("b", against_base={"f1": joint}),
        cell("c", "bf16", against_base={"f1": joint}, against_fp32={"cell": "b", "metrics": {"f1": low}})]}
    told = "\n".join(verdicts(study))
    assert all(line in told for line in said), told


def test_what_ran_in_another_format_says_nothing_of_the_one_it_was_to_have() -> None:
    study = {"metric": "f1", "more_is_better": True, "digits": 2, "margin": 0.5, "rows": 20, "seeds": [0], "cells": [
        cell("a", base=True, joint=False), cell("c", "fp16", effective=["float32"])]}
    told = "\n".join(verdicts(study))
    assert "c asked for fp16 and computed in float32" in told and "no cell was trained in fp32 too" in told
    assert "one seed a cell" in told and "20 rows are too few" in told


def test_an_interval_that_is_too_narrow_by_luck_is_told() -> None:
    lucky = difference(-2.0, 0.01) | {"low": -2.1, "high": -1.9}
    study = {"metric": "f1", "more_is_better": True, "digits": 2, "margin": 0.5, "rows": 99, "seeds": [0, 1], "cells": [
        cell("a", base=True, joint=False), cell("b", against_base={"f1": lucky}),
        cell("c", against_base={"f1": difference(-2.0, 0.01)})]}
    (told,) = [line for line in verdicts(study) if "by luck" in line]
    assert told.startswith("b against the base cell")


def study_of(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"metric": "f1", "more_is_better": True, "digits": 2, "margin": 0.5, "rows": 99, "seeds": [0, 1],
            "cells": [cell("a", base=True, joint=False), *cells]}


def test_what_another_head_gave_is_not_said_of_joint_training() -> None:
    head = cell("gru", beside_loss=["head.name"], against_base={"f1": difference(5.0, 0.001)})
    own = cell("own", against_base={"f1": difference(0.2, 0.8)})
    told = "\n".join(verdicts(study_of(head, own)))
    assert "no gain of joint training is shown: the only joint cell that differs by the loss alone in fp32, own" in (
        told)
    assert "of 2 cells 1 are shown better" in told
    told = "\n".join(verdicts(study_of(head)))
    assert "joint training helps is not known: every joint cell differs from the base cell in head.name too" in told


def test_a_low_precision_costs_something_where_its_cells_together_show_that() -> None:
    """One of four at p = 0.03 is what chance gives, and a cell that ran in fp32 proves nothing of bf16."""
    def low(number: int, p: float, **more: Any) -> dict[str, Any]:
        found = {"cell": f"b{number}", "metrics": {"f1": difference(-1.0, p, False)}}
        return cell(f"c{number}", "bf16", against_fp32=found, **more)

    told = "\n".join(verdicts(study_of(*(low(number, p) for number, p in enumerate((0.03, 0.5, 0.6, 0.7))))))
    assert "costs something" not in told and "is shown for 0 of 4 cells" in told
    told = "\n".join(verdicts(study_of(*(low(number, p) for number, p in enumerate((0.003, 0.5, 0.6, 0.7))))))
    assert "bf16 costs something in 1 of 4 cells (Holm over 4)" in told
    same = {"cell": "b", "metrics": {"f1": difference(0.0, 1.0, True)}}
    told = "\n".join(verdicts(study_of(cell("c", "bf16", against_fp32=same, effective=["float32"]))))
    assert "costs nothing" not in told and "it says nothing of bf16" in told

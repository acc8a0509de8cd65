"""The terms of the joint loss: the short form and the list are one thing, and what is none is refused."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrain.config.convert import from_dict, to_dict
from llmtrain.config.load import load_config
from llmtrain.config.run_id import differing_keys, result_dict, run_hash
from llmtrain.config.sections.objective import Term, terms_of
from llmtrain.core.errors import ConfigError

BOTH = "objective.terms=[{name: select, lam: 1}, {name: summary, lam: 0.5}]"


def config_of(*overrides: str) -> Any:
    return load_config("train", ["trainer.max_steps=1", *overrides])


def test_the_short_form_and_the_list_are_one_run_in_any_order() -> None:
    short = config_of("objective.base=select", "objective.lam=0.5")
    turned = "objective.terms=[{name: summary, lam: 0.5}, {name: select}]"
    assert run_hash(short) == run_hash(config_of(BOTH)) == run_hash(config_of(turned))
    assert terms_of(config_of(turned).objective) == (Term("select", 1.0), Term("summary", 0.5, of_task=True))
    assert run_hash(config_of("objective=summary_only")) == run_hash(config_of("objective=summary_only",
                                                                               "objective.lam=3"))
    other = config_of("objective.terms=[{name: select}, {name: summary, lam: 0.3}]")
    assert differing_keys(result_dict(short), result_dict(other)) == ["objective.lam.summary"]
    assert from_dict(to_dict(other)) == other


def test_more_than_two_terms_and_the_losses_that_can_choose_the_best() -> None:
    three = "objective.terms=[{name: mlm, lam: 1}, {name: select, lam: 0.3}, {name: summary, lam: 0.5}]"
    config_of(three, "trainer.best_metric=loss.mlm.weighted")
    assert {key for key in result_dict(config_of(three)) if key.startswith("objective.mlm.")}
    assert not {key for key in result_dict(config_of(BOTH)) if key.startswith("objective.mlm.")}


def test_the_base_alone() -> None:
    for override in ("objective.lam=null", "objective.terms=[{name: select}]"):
        config = config_of(override, "trainer.best_metric=loss.total")
        assert terms_of(config.objective) == (Term("select", 1.0),)
        with pytest.raises(ConfigError, match=r"loss\.summary is not logged"):
            config_of(override, "trainer.best_metric=loss.summary")


@pytest.mark.parametrize(("overrides", "told"), [
    ((BOTH, "objective.base=mlm"), "objective.base=mlm and objective.terms contradict"),
    ((BOTH, "objective.lam=2"), "objective.lam=2 and objective.terms contradict"),
    (("objective.terms=[{name: selct}]",), "did you mean 'select'"),
    (("objective.terms=[{lam: 2}]",), "without a name"),
    (("objective.terms=[]",), "has no term"),
    (("objective.base=null",), "has no term"),
    (("objective.base=none", "objective.lam=null"), "has no term"),
    (("objective.terms=[{name: select}, {name: select}]",), "twice"),
    (("objective.terms=[{name: select, lam: -1}]",), "must be 0 or more"),
    (("objective.terms=[{name: select, lam: 0}, {name: summary, lam: 0}]",), "lam of more than 0"),
    (("objective.terms=[{name: select, lamb: 1}]",), "give a list of {name: ..., lam: ...}"),
    (("objective.terms=[select]",), "give a list of {name: ..., lam: ...}"),
    (("objective.terms=select",), "is not a list of {name: ..., lam: ...} or null"),
])
def test_what_is_no_joint_loss_is_refused_in_one_line(overrides: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("{", r"\{").replace(".", r"\.")) as error:
        config_of("trainer.best_metric=loss.total", *overrides)
    assert len(error.value.problems) == 1


def test_a_list_and_a_short_form_that_agree_are_taken() -> None:
    config_of(BOTH, "objective.base=select", "objective.lam=0.5")

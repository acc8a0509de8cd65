"""Classification with labels that are counted from 1."""

from dataclasses import dataclass

from llmtrain import registry
from llmtrain.config.keys import key
from llmtrain.tasks.classification.label_encoder import LabelledTexts
from llmtrain.tasks.classification.options import ClassificationConfig
from llmtrain.tasks.classification.task import Classification


@dataclass(kw_only=True, slots=True)
class RatingsConfig(ClassificationConfig):
    name: str = key("ratings", "registered name of the task")


class OneOff(LabelledTexts):
    def __call__(self, rows):
        made = super().__call__(rows)
        count = len(self.learnt.facts["labels"])
        made["labels"] = [[(one + 1) % count for one in row] for row in made["labels"]]  # labels counted from 1
        return made


class Ratings(Classification):
    name = "ratings"
    encoder = OneOff


part = registry.get("task", "classification")
registry.register("task", "ratings", RatingsConfig, Ratings, "labels counted from 1", **part.requires)

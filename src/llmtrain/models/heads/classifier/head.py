"""The classifying head: a pooled text, an optional hidden layer, one logit a label.

Shapes: B rows, S source tokens, C labels, T columns of label numbers: one of a row's label, or C of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from llmtrain.core.errors import ConfigError
from llmtrain.data.batch import IGNORED
from llmtrain.models.heads.base import EncoderStates, Head, Sizes
from llmtrain.models.heads.classifier.options import BALANCED, ClassifierHeadConfig
from llmtrain.models.heads.classifier.pooling import Pooling
from llmtrain.nn.dropout import Dropout
from llmtrain.nn.linear import Linear

ACTIVATED: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": F.relu, "gelu": F.gelu}


class ClassifierHead(Head):
    """Gives a text one label, or any number of them.

    ``sizes.facts`` tells the labels: ``labels`` (their names), ``counts`` (training rows of each), ``rows`` (of all)
    and ``multi_label`` (a row may have several). What validation settled on for several labels is part of the weights,
    so that whoever loads them decides alike.
    """

    tuned_threshold: Tensor

    def __init__(self, options: ClassifierHeadConfig, sizes: Sizes) -> None:
        super().__init__(options, sizes)
        facts = sizes.facts
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        self.multi_label = bool(facts["multi_label"])
        self.weights = weights_of(options.class_weights, facts)
        self.pooling = Pooling(options.pooling, sizes.width)
        width = sizes.width if options.hidden is None else options.hidden
        self.hidden = Linear(sizes.width, width) if width else None
        self.dropout = Dropout(options.dropout)
        # one that is never trained, beside a base that is trained alone on texts without labels, has none
        self.output = Linear(width or sizes.width, max(1, len(self.labels)), bias=options.bias)
        if self.multi_label:
            self.register_buffer("tuned_threshold", torch.tensor(0.5))

    def logits(self, states: EncoderStates) -> Tensor:
        """(B, C) fp32, one a label."""
        pooled_BD = self.pooling(states.hidden_BSD, states.attention_mask_BS).to(self.output.weight.dtype)
        if self.hidden is not None:
            pooled_BD = ACTIVATED[self.options.activation](self.hidden(pooled_BD))
        made: Tensor = self.output(self.dropout(pooled_BD)).float()
        return made

    def probabilities(self, states: EncoderStates) -> Tensor:
        """(B, C) fp32: of one label a row they sum to 1; of several each stands for itself."""
        logits_BC = self.logits(states)
        return torch.sigmoid(logits_BC) if self.multi_label else torch.softmax(logits_BC, 1)

    def nll(self, states: EncoderStates, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of rows whose labels are not ``IGNORED``: (sum, rows), or of several labels (sum, rows x labels)."""
        return label_nll(self.logits(states), labels_BT, self.multi_label, self.weights, self.options.label_smoothing)

    def settle(self, threshold: float) -> None:
        """Give a row the labels of this probability or more from now on."""
        self.tuned_threshold.fill_(threshold)

    @property
    def threshold(self) -> float:
        """The least probability of a label that is given, where a row may have several."""
        return round(float(self.tuned_threshold), 4)


def label_nll(logits_BC: Tensor, labels_BT: Tensor, multi_label: bool, weights: tuple[float, ...] | None = None,
              smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """(sum, count) of the cross-entropy with labels, fp32 and 0-dim; connected to the logits where all are ignored.

    Args:
        labels_BT: (B, 1) label numbers or, of several labels, (B, C) 0 and 1; ``IGNORED`` counts for nothing.
        weights: What each label counts; None: all alike.
        smoothing: Share of the probability that all labels share (Szegedy et al. 2016).
    """
    known_BT = labels_BT != IGNORED
    weights_C = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=logits_BC.device)
    if not multi_label:
        loss = F.cross_entropy(logits_BC.float(), labels_BT[:, 0], weight=weights_C, ignore_index=IGNORED,
                               label_smoothing=smoothing, reduction="sum")
        return loss, known_BT.sum()
    # a batch in which no row has labels is one column wide
    given_BC = labels_BT.expand(logits_BC.shape).clamp_min(0).float()
    wanted_BC = given_BC * (1 - smoothing) + smoothing / 2
    loss_BC = F.binary_cross_entropy_with_logits(logits_BC.float(), wanted_BC, pos_weight=weights_C, reduction="none")
    return (loss_BC * known_BT).sum(), known_BT.sum()


def weights_of(given: Any, facts: Mapping[str, Any]) -> tuple[float, ...] | None:
    """What a row counts in the loss, by the number of its label; None: all alike.

    ``balanced`` gives a label rows / (labels * its rows), so that the mean over the training rows is 1 (King and Zeng
    2001; scikit-learn's class_weight), and of several labels a row its rows without the label for one with it.

    Raises:
        ConfigError: A label is named that there is not.
    """
    labels, counts, rows = facts["labels"], facts["counts"], facts["rows"]
    if given is None:
        return None
    if given == BALANCED:
        if facts["multi_label"]:
            return tuple(max(1, rows - count) / max(1, count) for count in counts)
        return tuple(sum(counts) / (len(labels) * max(1, count)) for count in counts)
    named = {label: float(weight) for label, weight in given.items()}
    if unknown := sorted(named.keys() - set(labels)):
        raise ConfigError(f"head.class_weights names {', '.join(unknown)} and no training row has that label; the "
                          f"labels are {', '.join(labels[:12])}{' ...' if len(labels) > 12 else ''}")
    return tuple(named.get(label, 1.0) for label in labels)

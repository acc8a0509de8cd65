"""The gradient probe: how hard each term pulls on the shared base, layer by layer, and whether they pull together.

It looks at a step's own rows before the step is taken, by a forward pass of its own past DDP, with the step's dropout
masks, and touches neither ``.grad`` nor weights nor random state: a run with the probe on is bitwise the run with it
off. Gradients are those of unweighted means over the whole step, all micro-batches and processes.

Shapes: K terms.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmtrain.models.backbone.families import layers
from llmtrain.objectives.weighting.micro_batches import Work, added

EMBEDDINGS, REST = "embeddings", "rest"


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe found.

    Attributes:
        values: Keys of metrics.jsonl: ``probe.TERM.norm``, ``probe.TERM.BLOCK.norm``, ``probe.cosine.TERM.TERM`` and
            ``probe.cosine.TERM.TERM.BLOCK``, ``probe.lam.TERM``. A cosine without two gradients is left out.
        line: The same for the terminal, whole base only.
    """

    values: dict[str, float]
    line: str


def blocks(trunk: Any) -> list[tuple[str, list[nn.Parameter]]]:
    """Trained parameters of a base by block: embeddings, layer0 to layerN (lowest first), rest (a last norm)."""
    of_layer = {id(p): f"layer{index}" for index, layer in enumerate(layers(trunk)) for p in layer.parameters()}
    tables = {id(p) for m in trunk.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trunk.named_parameters():
        if parameter.requires_grad:
            outside = EMBEDDINGS if id(parameter) in tables or "embed" in name else REST
            found.setdefault(of_layer.get(id(parameter), outside), []).append(parameter)
    order = [EMBEDDINGS, *dict.fromkeys(of_layer.values()), REST]
    return [(name, found[name]) for name in order if name in found]


def term_gradients(work: Work, parameters: list[nn.Parameter]) -> list[list[Tensor]]:
    """Each term's gradient over the whole step, unscaled. Collective; random state is left as found."""
    device = work.accelerator.device
    totals: list[list[Tensor | None]] = [[None] * len(parameters) for _ in work.names]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for batch in work.micro:
            with work.precision.autocast():
                sums = work.module(batch, work.step)
            for index, name in enumerate(work.names):
                own = work.gradients(work.loss(sums, {name: 1.0}), parameters)
                totals[index] = added(totals[index], own)
    scale = work.precision.scaler.get_scale()
    found = [[torch.zeros_like(p) if gradient is None else gradient / scale
              for p, gradient in zip(parameters, total, strict=True)] for total in totals]
    for gradients in found:
        work.reduce(gradients)
    return found


def products(gradients: list[list[Tensor]]) -> Tensor:
    """(parameters, K, K) fp64: inner products of the terms' gradients, one matrix a parameter."""
    return torch.stack([torch.stack([torch.stack([(a * b).sum(dtype=torch.float64) for b in own]) for a in own])
                        for own in zip(*gradients, strict=True)]).cpu()


def probe(work: Work, lams: dict[str, float]) -> Probed | None:
    """Probe one step; None when the base is frozen. Collective.

    Args:
        lams: The lam of each term, for the line that says which would balance the norms.
    """
    parts = blocks(work.module.model.trunk)
    parameters = [parameter for _, members in parts for parameter in members]
    if not parameters:
        return None
    product_PKK = products(term_gradients(work, parameters))
    sizes = [len(members) for _, members in parts]
    by_block = {name: part.sum(dim=0) for (name, _), part in
                zip(parts, product_PKK.split(sizes), strict=True)}
    whole_KK = product_PKK.sum(dim=0)
    values: dict[str, float] = {}
    for block, product_KK in (("", whole_KK), *by_block.items()):
        values |= _of_block(work.names, block, product_KK)
    norms = {name: values[f"probe.{name}.norm"] for name in work.names}
    balanced = _balanced(norms, lams)
    values |= {f"probe.lam.{name}": lam for name, lam in balanced.items()}
    return Probed(values, _line(work.step, norms, values, balanced, work.module.task_terms))


def _of_block(names: list[str], block: str, product_KK: Tensor) -> dict[str, float]:
    inside = f".{block}" if block else ""
    norms = product_KK.diagonal().clamp(min=0).sqrt().tolist()
    values = {f"probe.{name}{inside}.norm": norm for name, norm in zip(names, norms, strict=True)}
    for (i, one), (j, two) in itertools.combinations(enumerate(names), 2):
        if 0 < norms[i] < math.inf and 0 < norms[j] < math.inf:
            values[f"probe.cosine.{one}.{two}{inside}"] = float(product_KK[i, j]) / (norms[i] * norms[j])
    return values


def _balanced(norms: dict[str, float], lams: dict[str, float]) -> dict[str, float]:
    """The lam of each term with which all pull alike, the first keeping its own; empty where one does not pull."""
    first = next(iter(norms))
    if len(norms) < 2 or not all(0 < norm < math.inf for norm in norms.values()):
        return {}
    pull = (lams[first] or 1.0) * norms[first]
    return {name: pull / norm for name, norm in norms.items()}


def _line(step: int, norms: dict[str, float], values: dict[str, float], balanced: dict[str, float],
          task_terms: list[str]) -> str:
    told = ", ".join(f"{name} {norm:.3g}" for name, norm in norms.items())
    text = f"probe at step {step}: gradient on the base {told}"
    pairs = [(one, two) for one, two in itertools.combinations(norms, 2) if f"probe.cosine.{one}.{two}" in values]
    for one, two in pairs:
        text += f"; cosine {values[f'probe.cosine.{one}.{two}']:+.2f}" + (f" ({one}, {two})" if len(norms) > 2 else "")
    if not all(math.isfinite(norm) for norm in norms.values()):
        return f"{text}: not finite at the loss scaler's present scale"
    silent = [name for name, norm in norms.items() if norm == 0]
    if silent:
        return f"{text}; {', '.join(silent)} does not reach the base at this step"
    if len(balanced) == 2 and len(task_terms) == 1:
        first = next(iter(balanced))
        return f"{text}; objective.lam={balanced[task_terms[0]] / balanced[first]:.3g} would balance them"
    lams = ", ".join(f"{name} {lam:.3g}" for name, lam in balanced.items())
    return f"{text}; lams that would balance them: {lams}" if lams else text

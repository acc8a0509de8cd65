"""The optimizer's state by parameter name and slot, as plain tensors and JSON, whichever optimizer it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from llmtrain.checkpoint.parts import LIKE_THE_PARAMETER
from llmtrain.core.errors import CheckpointError
from llmtrain.training.state import Saved, check_names


class OptimizerPart:
    """Every slot of every parameter that has state.

    A tensor is saved as ``PARAMETER/SLOT``, a tensor subclass (8-bit moments) as ``PARAMETER/SLOT/PART`` with its class
    and attributes in the JSON, a number in the JSON alone.
    """

    name = "optimizer"

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def save(self) -> Saved:
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        wrapped: dict[str, Any] = {}
        for group in self._optimizer.param_groups:
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                for slot, value in self._optimizer.state.get(parameter, {}).items():
                    key = f"{name}/{slot}"
                    if isinstance(value, Tensor) and is_traceable_wrapper_subclass(value):
                        inner, attributes = value.__tensor_flatten__()
                        tensors |= {f"{key}/{part}": getattr(value, part).detach().cpu() for part in inner}
                        wrapped[key] = {"type": type(value).__name__, "attributes": [_to_json(a) for a in attributes]}
                    elif isinstance(value, Tensor):
                        tensors[key] = value.detach().cpu()
                    else:
                        values[key] = value
        return tensors, {"values": values, "wrapped": wrapped}

    def load(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        """Raises CheckpointError when a parameter or a type of state is not this optimizer's."""
        packed = self._optimizer.state_dict()
        index = {name: number for group in packed["param_groups"]
                 for name, number in zip(group["param_names"], group["params"], strict=True)}
        shapes = {name: parameter.shape for group in self._optimizer.param_groups
                  for name, parameter in zip(group["param_names"], group["params"], strict=True)}
        wrapped = data.get("wrapped", {})
        found: dict[str, Any] = dict(data.get("values", {}))
        inner: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            slot, _, part = key.rpartition("/")
            if slot in wrapped:
                inner.setdefault(slot, {})[part] = tensor.clone()
            else:
                found[key] = tensor.clone()
        found |= {key: self._wrap(wrapped[key], parts) for key, parts in inner.items()}
        check_names(self.name, set(index), {key.rpartition("/")[0] for key in found}, subset=True)
        state: dict[int, dict[str, Any]] = {}
        for key, value in found.items():
            name, _, slot = key.rpartition("/")
            if slot in LIKE_THE_PARAMETER and value.shape != shapes[name]:
                raise ValueError(f"{key} has shape {tuple(value.shape)} instead of {tuple(shapes[name])}")
            state.setdefault(index[name], {})[slot] = value
        # it puts each slot where its own optimizer wants it: a step counter may belong on the CPU
        self._optimizer.load_state_dict(packed | {"state": state})

    def _wrap(self, saved: dict[str, Any], parts: dict[str, Tensor]) -> Any:
        types = getattr(self._optimizer, "state_types", {})
        if saved["type"] not in types:
            raise CheckpointError(f"state {self.name!r} holds {saved['type']!r}, which this optimizer does not have; "
                                  "the checkpoint belongs to another optim.name")
        attributes = [_from_json(attribute) for attribute in saved["attributes"]]
        return types[saved["type"]].__tensor_unflatten__(parts, attributes, None, None)


def _to_json(attribute: Any) -> Any:
    return {"dtype": str(attribute).removeprefix("torch.")} if isinstance(attribute, torch.dtype) else attribute


def _from_json(attribute: Any) -> Any:
    return getattr(torch, attribute["dtype"]) if isinstance(attribute, dict) else attribute

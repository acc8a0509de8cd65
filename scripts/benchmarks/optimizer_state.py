"""Bytes of optimizer state per trained parameter, and seconds of an update, for each optimizer on the default model.

    python scripts/benchmarks/optimizer_state.py [--updates 3] [NAME ...]

The embedded base with its transformer head, gradients drawn once; only ``step`` is timed, after a first one that makes
the state. An optimizer whose package is missing is left out, with the reason.
"""

from __future__ import annotations

import argparse
import time

import torch

from llmtrain import registry
from llmtrain.config.load import load_config
from llmtrain.config.packages import missing_packages
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import quiet_libraries
from llmtrain.models.architectures import class_of
from llmtrain.models.backbone.pretrained import open_base
from llmtrain.optim.builders import build_optimizer
from llmtrain.training.optimizer_state import OptimizerPart


class Trained(torch.nn.Module):
    """The model under the name that a run gives it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model


def measure(name: str, updates: int) -> tuple[float, float]:
    """(bytes of state per trained parameter, best seconds of an update)."""
    config = load_config("train", [f"optim={name}", "trainer.max_steps=1"])
    if missing := list(missing_packages(config)):
        raise ConfigError(missing)
    model = class_of(config.head.name).from_base(open_base(config.model), config.head)
    module = Trained(model)
    optimizer = build_optimizer(module, model.trunk, config.optim)
    generator = torch.Generator().manual_seed(0)
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = 1e-3 * torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    tensors, _ = OptimizerPart(optimizer).save()
    return sum(t.nbytes for t in tensors.values()) / sum(p.numel() for p in parameters), min(seconds)


def main() -> None:
    names = [part.name for part in registry.parts("optimizer")]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=names)
    parser.add_argument("--updates", type=int, default=3)
    arguments = parser.parse_args()
    quiet_libraries()
    print("| optimizer | state, bytes per parameter | an update, s |\n|---|---|---|")
    for name in arguments.names:
        try:
            size, seconds = measure(name, arguments.updates)
        except ConfigError as error:
            print(f"| `{name}` | {error} | |")
            continue
        print(f"| `{name}` | {size:.2f} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()

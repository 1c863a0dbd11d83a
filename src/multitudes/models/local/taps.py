"""Read the residual stream inside a ``with``; outside of it there is no trace of having looked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from multitudes.core.errors import ConfigError
from multitudes.models.local.runner import Runner


@dataclass(slots=True)
class Tap:
    """What the last forward pass left behind each watched block.

    Attributes:
        acts: By layer, the residual stream (B, n, d_model) in the model's own number type. Padding included: the
            caller knows which positions count.
    """

    acts: dict[int, torch.Tensor] = field(default_factory=dict)


@contextmanager
def read_residual(runner: Runner, layers: Sequence[int]) -> Iterator[Tap]:
    """Watch the residual stream after blocks ``layers`` (0 … n_layers − 1) until the ``with`` ends.

    The hooks only look: logits inside and outside are equal. They are removed also after an exception.

    Raises:
        ConfigError: A layer that the model does not have.
    """
    blocks = runner.base.layers
    for layer in layers:
        if not 0 <= layer < len(blocks):
            raise ConfigError("no such layer", where="layers", found=repr(layer), expected=f"0 to {len(blocks) - 1}")
    tap = Tap()

    def watch(layer: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            tap.acts[layer] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    handles = [blocks[layer].register_forward_hook(watch(layer)) for layer in layers]
    try:
        yield tap
    finally:
        for handle in handles:
            handle.remove()

"""Linear layers laid out for decoding on the CPU.

A decoding step is a few hundred products of a small batch with a weight matrix. Two things pay, measured in
``benchmarks/engine.py``: oneDNN's packed weights instead of the default layout, and one product instead of two or
three where layers read the same input (query, key and value; gate and up). Results differ from the plain layers by
rounding only.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import nn

BATCH_HINT = 32  # rows the packed layout is tuned for; it works for any number
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # layers that read one input, by attribute name


class PackedLinear(nn.Module):
    """A linear layer whose weights were laid out once; holds no other copy of them."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), BATCH_HINT)
        self._bias = None if bias is None else bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return out


class _Shared:
    """One packed product for layers that read the same input; the first of them to be called computes it.

    The input must not be changed in place between the calls; the supported families never do.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
        self._linear = PackedLinear(torch.cat([layer.weight for layer in layers]), bias)
        self._x: torch.Tensor | None = None
        self._out: torch.Tensor | None = None
        self._calls, self._n = 0, len(layers)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._x is not x:
            self._x, self._out, self._calls = x, self._linear(x), 0
        out = self._out
        assert out is not None
        self._calls += 1
        if self._calls == self._n:  # nobody is left who needs it; do not keep activations alive
            self._x = self._out = None
        return out


class _Part(nn.Module):
    """The columns of one layer within a shared product."""

    def __init__(self, shared: _Shared, start: int, stop: int) -> None:
        super().__init__()
        self._shared, self._start, self._stop = shared, start, stop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, stop − start), a view of the shared result."""
        return self._shared(x)[..., self._start : self._stop]


def pack_linears(module: Any) -> None:
    """Replace every float32 linear layer of ``module``, in place, by a packed one; nothing else holds its weights."""
    for parent in list(module.modules()):
        for names in FUSED:
            layers = [layer for name in names if _packable(layer := getattr(parent, name, None))]
            if len(layers) == len(names) and len({layer.bias is None for layer in layers}) == 1:
                shared, start = _Shared(layers), 0
                for name, layer in zip(names, layers, strict=True):
                    setattr(parent, name, _Part(shared, start, start + layer.out_features))
                    start += layer.out_features
        for name, child in list(parent.named_children()):
            if _packable(child):
                setattr(parent, name, PackedLinear(child.weight, child.bias))
    for left in (*module.parameters(), *module.buffers()):  # views of the weights' file, which maps the whole of it
        left.data = left.data.clone()


def _packable(layer: Any) -> TypeGuard[nn.Linear]:
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32

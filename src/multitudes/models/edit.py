"""Changes to the residual stream that travel with a request: records on plain arrays, no framework.

An ``Edit`` says, block by block, what is added to the residual stream and to which range its projections are held. It
is part of a ``Request``, so every row of a batch can have its own, and an engine never mixes what it computed under
two of them: the fingerprint is part of the key of everything that is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError

Array = NDArray[np.floating[Any]]

PARALLEL = 0.95  # two directions with a larger cosine name the same thing; one of them must go
ORTHONORMAL = 1e-4  # largest deviation of V Vᵀ from the identity


class DegenerateDirections(ConfigError):
    """Two directions at one block that are nearly the same."""


class AlreadyAttached(ConfigError):
    """The same edit put twice on one model."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerEdit:
    """What happens after one block: first the push, then the clamp.

    ``h ← h + push``, then ``h ← h + Σⱼ [clip(⟨h, vⱼ⟩, lowⱼ, highⱼ) − ⟨h, vⱼ⟩] vⱼ``. A floor has ``high = +inf``, a
    ceiling ``low = −inf``; with both infinite nothing happens. The floor with ``low = τ`` is Eq. 1 of Lu et al.,
    arXiv 2601.10387.

    Attributes:
        layer: Block after which it happens, 0 … n_layers − 1.
        directions: (m, d_model) float32, orthonormal rows; m may be 0.
        low: (m,) float32, residual units.
        high: (m,) float32, residual units; not below ``low``.
        push: (d_model,) float32, or None.

    Raises:
        ConfigError: Shapes that do not fit, rows that are not orthonormal, a bound that is NaN or above the other.
    """

    layer: int
    directions: Array
    low: Array
    high: Array
    push: Array | None = None

    def __post_init__(self) -> None:
        where = f"layer {self.layer}"
        m = len(self.directions)
        if self.directions.ndim != 2 or self.low.shape != (m,) or self.high.shape != (m,):
            raise ConfigError(
                "directions and bounds do not fit", where=where,
                found=f"{self.directions.shape}, {self.low.shape}, {self.high.shape}", expected="(m, d), (m,), (m,)",
            )  # fmt: skip
        if np.isnan(self.low).any() or np.isnan(self.high).any() or (self.low > self.high).any():
            raise ConfigError(
                "not a range", where=where, found=f"low {self.low.tolist()}, high {self.high.tolist()}",
                expected="numbers with low <= high; infinite bounds are off",
            )  # fmt: skip
        gram = self.directions.astype(np.float64) @ self.directions.astype(np.float64).T
        if not np.isfinite(gram).all() or (np.abs(gram - np.eye(m)) > ORTHONORMAL).any():
            raise ConfigError("directions are not orthonormal", where=where, hint="use orthonormal()")
        if self.push is not None and not np.isfinite(self.push).all():
            raise ConfigError("a push that is not finite", where=where)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A change to the residual stream at one or more blocks.

    Attributes:
        name: What it is, in words, for logs and reports.
        layers: One entry per block, in order of blocks.
        protect_first: So many positions at the start of the sequence are left alone. The first token of many models
            collects a norm a hundred times that of the others, and a change to it changes everything.
        fingerprint: Hash of all numbers; equal edits have equal fingerprints.
    """

    name: str
    layers: tuple[LayerEdit, ...]
    protect_first: int = 1
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        order = [e.layer for e in self.layers]
        if not order or order != sorted(set(order)) or order[0] < 0:
            raise ConfigError("blocks must be named once, in order", where=self.name, found=repr(order))
        digest = hashlib.sha256(f"edit-1:{self.protect_first}".encode())
        for e in self.layers:
            digest.update(f":{e.layer}:{e.directions.shape}:".encode())
            for array in (e.directions, e.low, e.high, e.push):
                digest.update(b"-" if array is None else np.ascontiguousarray(array, dtype="<f4").tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest()[:16])

    @property
    def d_model(self) -> int:
        """Width of the residual stream it was made for."""
        first = self.layers[0]
        return int(first.directions.shape[1] if first.push is None else first.push.shape[0])


def orthonormal(directions: Iterable[Array], *, where: str = "directions") -> Array:
    """Gram-Schmidt in the given order: each direction loses its parts along the earlier ones.

    Returns:
        (m, d_model) float32, orthonormal rows.

    Raises:
        DegenerateDirections: A cosine above ``PARALLEL`` between two of them, or a direction of length zero.
    """
    raw = np.array(list(directions), dtype=np.float64)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    if not np.isfinite(raw).all() or (norms == 0).any():
        raise DegenerateDirections("a direction without length", where=where)
    unit = raw / norms
    cosines = np.abs(unit @ unit.T) - np.eye(len(unit))
    if (cosines > PARALLEL).any():
        i, j = np.unravel_index(int(np.argmax(cosines)), cosines.shape)
        raise DegenerateDirections(
            "two directions are nearly the same", where=where,
            found=f"cosine {cosines[i, j]:.3f} of rows {i} and {j}", expected=f"at most {PARALLEL}",
            hint="leave one of them out",
        )  # fmt: skip
    q, r = np.linalg.qr(unit.T)
    return np.asarray((q * np.sign(np.diag(r))).T, dtype=np.float32)


def combined(first: Edit | None, second: Edit) -> Edit:
    """Both edits as one. At a block that both touch, pushes add up and the directions of ``first`` come first.

    Bounds of ``second`` along a direction that is not orthogonal to those of ``first`` are kept as they are for what
    is left of that direction; the recorded order is the order of application.

    Raises:
        AlreadyAttached: The same edit twice.
        DegenerateDirections: Nearly equal directions at one block.
        ConfigError: Edits of two widths, or that protect another number of first positions.
    """
    if first is None:
        return second
    if first.fingerprint == second.fingerprint:
        raise AlreadyAttached("this edit is on the model already", where=second.name, hint="apply it once")
    if first.d_model != second.d_model or first.protect_first != second.protect_first:
        raise ConfigError(
            "two edits that do not go together", where=f"{first.name} + {second.name}",
            found=f"width {first.d_model} and {second.d_model}, protect_first {first.protect_first} and "
            f"{second.protect_first}",
        )  # fmt: skip
    by_layer = {e.layer: e for e in first.layers}
    for e in second.layers:
        known = by_layer.get(e.layer)
        by_layer[e.layer] = e if known is None else _both(known, e)
    name = f"{first.name} + {second.name}"
    return Edit(name, tuple(by_layer[k] for k in sorted(by_layer)), first.protect_first)


def _both(a: LayerEdit, b: LayerEdit) -> LayerEdit:
    pushes = [e.push for e in (a, b) if e.push is not None]
    rows = [*a.directions, *b.directions]
    directions = orthonormal(rows, where=f"layer {a.layer}") if rows else a.directions
    return LayerEdit(
        a.layer, directions, np.concatenate([a.low, b.low]), np.concatenate([a.high, b.high]),
        np.sum(pushes, axis=0).astype(np.float32) if pushes else None,
    )  # fmt: skip

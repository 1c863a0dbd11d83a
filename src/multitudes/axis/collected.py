"""What is kept of a collection: sums of response means, never a response.

A response is one (L, d) array: the mean residual stream over its counted tokens after each of L blocks. Only sums of
these are kept, by role and by half of the questions, and that is enough for everything a fit reports, because means,
variances and the two-way residual are functions of sums. Sums of shards add up in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.errors import CollectionMismatch, MixedMethods

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Method = Literal["fixed_text", "generated"]

METHODS: tuple[Method, ...] = ("fixed_text", "generated")
ADDED = (
    "n", "sums", "squares", "cell_n", "question_sums", "default_n", "default_sums", "norm_sums",
)  # fmt: skip
SAME = ("roles", "families", "questions", "question_layers")


class Control(NamedTuple):
    """Sum of a control arm: number of responses and their (L, d) sum."""

    n: int
    total: FloatArray


@dataclass(frozen=True, eq=False)
class Collected:
    """Streamed sums over R roles, Q questions, L layers of width d. Halves are indexed 0 = A, 1 = B.

    Attributes:
        roles: R ids.
        families: R family numbers, in the order of ``roles``.
        questions: Q ids.
        question_layers: (K,) layers at which sums by question are kept, for the noise share.
        method: ``generated``: the model's own answers; ``fixed_text``: one constant text. Never mixed.
        n: (2, R) int64 kept responses by half and role.
        sums: (2, R, L, d) float64 sums of x.
        squares: (2, R, L) float64 sums of ‖x‖².
        cell_n: (R, Q) int64 kept responses by role and question: tells whether the design is balanced.
        question_sums: (Q, K, d) float64 sums over all roles.
        default_n: (2,) int64 default responses, unfiltered.
        default_sums: (2, L, d) float64.
        norm_tokens: Tokens behind ``norm_sums``.
        norm_sums: (L,) float64 sums of ‖h‖ over counted default tokens; position 0 is left out by whoever collects.
        controls: Sums of other arms by name: ``neutral``, ``placebo``, ``unfiltered`` and the like.

    Raises:
        CollectionMismatch: If shapes do not fit together or a sum is not finite.
    """

    roles: tuple[str, ...]
    families: tuple[int, ...]
    questions: tuple[str, ...]
    question_layers: IntArray
    method: Method
    n: IntArray
    sums: FloatArray
    squares: FloatArray
    cell_n: IntArray
    question_sums: FloatArray
    default_n: IntArray
    default_sums: FloatArray
    norm_tokens: int
    norm_sums: FloatArray
    controls: Mapping[str, Control] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CollectionMismatch(f"no such method: {self.method!r}", expected=" or ".join(METHODS))
        if self.sums.ndim != 4:
            raise CollectionMismatch(
                "'sums' has the wrong shape", found=str(self.sums.shape), expected="(2, R, L, d)"
            )
        for name, shape in shapes_of(self).items():
            found = np.shape(getattr(self, name))
            if found != shape:
                raise CollectionMismatch(f"{name!r} has the wrong shape", found=str(found), expected=str(shape))
        layers, d = self.sums.shape[2:]
        for name, arm in self.controls.items():
            if arm.total.shape != (layers, d):
                raise CollectionMismatch(
                    f"the sum of control {name!r} has the wrong shape",
                    found=str(arm.total.shape),
                    expected=str((layers, d)),
                )
        # A NaN or infinity anywhere reaches its sum; adding up needs no array of the size of the sums.
        for name in ("sums", "squares", "question_sums", "default_sums", "norm_sums"):
            with np.errstate(invalid="ignore", over="ignore"):
                if not np.isfinite(getattr(self, name).sum()):
                    raise CollectionMismatch(f"{name!r} holds a number that is not finite")
        if not np.array_equal(self.cell_n.sum(axis=1), self.n.sum(axis=0)):
            raise CollectionMismatch("'cell_n' and 'n' count different responses of a role")
        object.__setattr__(self, "controls", MappingProxyType(dict(self.controls)))

    @property
    def n_layers(self) -> int:
        """L."""
        return int(self.sums.shape[2])

    @property
    def default_norm(self) -> FloatArray:
        """(L,) mean ‖h‖ of counted default tokens, n̄_l; NaN if none was counted."""
        return self.norm_sums / self.norm_tokens if self.norm_tokens else np.full(self.n_layers, np.nan)


def shapes_of(c: Collected) -> dict[str, tuple[int, ...]]:
    """Shape that each array must have, given ``sums``, the questions and the question layers."""
    roles, layers, d = len(c.roles), *c.sums.shape[2:]
    q, k = len(c.questions), len(c.question_layers)
    return {
        "sums": (2, roles, layers, d), "n": (2, roles), "squares": (2, roles, layers), "families": (roles,),
        "cell_n": (roles, q), "question_sums": (q, k, d), "question_layers": (k,), "default_n": (2,),
        "default_sums": (2, layers, d), "norm_sums": (layers,),
    }  # fmt: skip


def _mean(total: FloatArray, n: Any) -> FloatArray:
    out = np.full(total.shape, np.nan)
    np.divide(total, n, out=out, where=np.broadcast_to(n, total.shape) > 0)
    return out


def role_means(c: Collected, *, half: int | None = None) -> FloatArray:
    """(R, L, d) mean of the kept responses of each role; NaN for a role without any.

    Args:
        c: The sums.
        half: 0 or 1 for the questions of one half; all questions if None.
    """
    total, n = (c.sums.sum(axis=0), c.n.sum(axis=0)) if half is None else (c.sums[half], c.n[half])
    return _mean(total, n[:, None, None])


def default_mean(c: Collected, *, half: int | None = None) -> FloatArray:
    """(L, d) mean of the default responses; NaN if there is none. ``half`` as in ``role_means``."""
    if half is None:
        return _mean(c.default_sums.sum(axis=0), c.default_n.sum())
    return _mean(c.default_sums[half], c.default_n[half])


def control_mean(c: Collected, name: str) -> FloatArray:
    """(L, d) mean response of a control arm; NaN if there is none.

    Raises:
        CollectionMismatch: If no such arm was collected.
    """
    if name not in c.controls:
        raise CollectionMismatch(
            f"no control arm {name!r} was collected", found=", ".join(sorted(c.controls)) or "no control arm"
        )
    return _mean(c.controls[name].total, c.controls[name].n)


def _refuse_to_mix(first: Collected, other: Collected, place: int) -> None:
    if other.method != first.method:
        raise MixedMethods(
            "sums of two methods are never added",
            where=f"part {place}",
            found=other.method,
            expected=first.method,
            hint="fit one axis from each and compare their cosine",
        )
    for name in SAME:
        mine, theirs = getattr(first, name), getattr(other, name)
        if not np.array_equal(mine, theirs):
            both = tuple(str(v) for v in theirs), tuple(str(v) for v in mine)
            strange = sorted(set(both[0]) ^ set(both[1]))[:5]
            raise CollectionMismatch(
                f"parts with different {name.replace('_', ' ')} cannot be added",
                where=f"part {place}",
                found=f"{len(theirs)} beside {len(mine)}; only in one of them: {', '.join(strange) or 'none'}",
                expected="the same, in the same order",
                hint="collect all parts from one set of roles and questions",
            )
    if other.sums.shape != first.sums.shape:
        raise CollectionMismatch(
            "parts of models of different shape cannot be added",
            where=f"part {place}",
            found=f"(layers, width) = {other.sums.shape[2:]}",
            expected=str(first.sums.shape[2:]),
        )


def merge(parts: Iterable[Collected]) -> Collected:
    """The sum of the parts, in any order; the order changes rounding only.

    Parts are read one at a time, so a generator that loads files holds two of them at once.

    Raises:
        MixedMethods: Parts of both methods.
        CollectionMismatch: Parts over different roles, questions, layers or widths, or no part.
    """
    first: Collected | None = None
    total: dict[str, Any] = {}
    tokens = 0
    controls: dict[str, Control] = {}
    for place, part in enumerate(parts):
        if first is None:
            first = part
            total, tokens = {name: getattr(part, name).copy() for name in ADDED}, part.norm_tokens
            controls = {k: Control(arm.n, arm.total.copy()) for k, arm in part.controls.items()}
            continue
        _refuse_to_mix(first, part, place)
        for name in ADDED:
            total[name] += getattr(part, name)
        tokens += part.norm_tokens
        for name, arm in part.controls.items():
            n, summed = controls.get(name, Control(0, np.zeros_like(arm.total)))
            controls[name] = Control(n + arm.n, summed + arm.total)
    if first is None:
        raise CollectionMismatch("there is no part to add", expected="at least one")
    return replace(first, **total, norm_tokens=tokens, controls=controls)


def same_sums(a: Collected, b: Collected, *, rtol: float = 0.0) -> bool:
    """Whether two collections hold the same roles, method, counts and, within ``rtol``, sums."""
    for f in fields(Collected):
        mine, theirs = getattr(a, f.name), getattr(b, f.name)
        if f.name == "controls":
            same = mine.keys() == theirs.keys() and all(
                mine[k].n == theirs[k].n and np.allclose(mine[k].total, theirs[k].total, rtol=rtol, atol=0)
                for k in mine
            )
        elif isinstance(mine, np.ndarray):
            same = np.shape(mine) == np.shape(theirs) and np.allclose(mine, theirs, rtol=rtol, atol=0)
        else:
            same = mine == theirs
        if not same:
            return False
    return True

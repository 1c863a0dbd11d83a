"""A tap on the axis while a conversation runs: no second pass, and not one token is drawn differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.project import MIN_TOKENS, axis_id, need_scale, need_taps
from multitudes.core.inside import Inside
from multitudes.models.base import Capabilities, ChatModel, Internals, Reply, Request, Scored, ScoreItem


def watched_layers(axis: Axis) -> tuple[int, ...]:
    """The analysis layer, and the first block that a cap of the axis leaves alone.

    A cap works on later blocks than the analysis layer, so there only its effect on what was said can be seen; at
    the second block also what it did to the state.
    """
    after = min(max(axis.window, default=axis.layer) + 1, axis.n_layers - 1)
    return tuple(dict.fromkeys((axis.layer, after)))


class Tapped:
    """A model that says with every reply where it was on the axis (``Reply.inside``). Nothing else is changed.

    Its name and fingerprint are those of the model inside, because its words are.

    Args:
        inner: A model with taps; a capped or held one too.
        axis: Its axis.

    Raises:
        Unsupported: A model without taps.
        AxisMismatch: An axis of another model.
        NoScale: An axis without a scale.
    """

    def __init__(self, inner: ChatModel, axis: Axis) -> None:
        need_taps(inner)
        axis.fits(inner)
        need_scale(axis)
        self.inner, self.axis, self.id = inner, axis, axis_id(axis)
        self.layers = watched_layers(axis)

    @property
    def info(self) -> Capabilities:
        """What the model inside is."""
        return self.inner.info

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies of the model inside, each with its place on the axis."""
        asked = [replace(r, watch=tuple(dict.fromkeys((*self.layers, *r.watch)))) for r in requests]
        replies = await self.inner.reply(asked)
        return [
            r if r.internals is None else replace(r, inside=self.inside(r.internals, a.watch))
            for a, r in zip(asked, replies, strict=True)
        ]

    def inside(self, internals: Internals, watch: Sequence[int]) -> Inside:
        """Where a reply lies, from the means over its tokens at the blocks ``watch``."""
        means = internals.means[[watch.index(k) for k in self.layers]]
        p = self.axis.project(means, self.layers)
        if internals.n_tokens < MIN_TOKENS:
            p = np.full_like(p, np.nan)
        z = self.axis.z(p, self.layers)
        return Inside(
            axis=self.id, layers=self.layers, p=tuple(map(float, p)), z=tuple(map(float, z)),
            n_tokens=internals.n_tokens,
        )  # fmt: skip

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of the model inside."""
        return await self.inner.score(items)

    async def aclose(self) -> None:
        """Close the model inside."""
        await self.inner.aclose()

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the model inside: its size, its template, reading after the fact."""
        if name.startswith("_") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

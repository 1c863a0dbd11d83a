"""Keep a simulated person inside its own range: on the axis and along its own direction.

A hypothesis, not an established method: a person that a model plays drifts to the Assistant; clamping it to the range
it has when it begins keeps it in character at less cost than more prompting. For a person π: v₁ is the axis, v₂ its
own direction, the person's mean minus the mean of the roles without its part along v₁. The ranges are quantiles over
*tokens* of first answers: quantiles of answer means would flatten what varies from token to token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.roles import Question, chosen_questions, shipped
from multitudes.core.errors import ConfigError, GaugeError
from multitudes.core.seeds import derive_seed
from multitudes.models.base import Message, Request, Sampling, ScoreItem
from multitudes.models.edit import Edit, LayerEdit, orthonormal

ALPHA = 0.05  # a start for a sweep; nothing recommends it yet
ANSWERS = 8
MIN_TOKENS = 200
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=32)


@dataclass(frozen=True, eq=False)
class Ranges:
    """What a person was like in its first answers. K blocks of width d.

    Attributes:
        layers: The K blocks.
        directions: (K, 2, d) orthonormal: axis, own direction.
        projections: (n_tokens, K, 2) of its tokens.
        own_mean: (K, d) mean residual stream over its answers.
        n_answers: Answers behind it.
    """

    layers: tuple[int, ...]
    directions: NDArray[np.float32]
    projections: NDArray[np.float32]
    own_mean: NDArray[np.float32]
    n_answers: int

    @property
    def n_tokens(self) -> int:
        """Tokens behind the ranges."""
        return len(self.projections)

    def edit(self, alpha: float = ALPHA, *, sides: str = "both", protect_first: int = 1, name: str = "hold") -> Edit:
        """The clamp to [α, 1 − α] of the tokens.

        Args:
            alpha: Share of tokens outside on either side, in (0, 0.5).
            sides: ``both``: two-sided on the axis and the own direction; ``own_floor``: a floor on the own direction
                only.
            protect_first: Positions at the start that are left alone.
            name: Name of the edit.
        """
        if not 0 < alpha < 0.5:
            raise ConfigError("not a share", where="alpha", found=repr(alpha), expected="a number in (0, 0.5)")
        if sides not in ("both", "own_floor"):
            raise ConfigError("no such hold", where="sides", found=repr(sides), expected="both or own_floor")
        low = np.quantile(self.projections, alpha, axis=0).astype(np.float32)
        high = np.quantile(self.projections, 1 - alpha, axis=0).astype(np.float32)
        if sides == "own_floor":
            low[:, 0], high[:, :] = -np.inf, np.inf
        parts = tuple(LayerEdit(layer, self.directions[k], low[k], high[k]) for k, layer in enumerate(self.layers))
        return Edit(name, parts, protect_first)


@dataclass(frozen=True, eq=False)
class Hold:
    """A hold of one person.

    Attributes:
        edit: The clamp.
        ranges: What it came from.
        role_direction: (K, d) v₂.
        n_tokens: Tokens behind it.
    """

    edit: Edit
    ranges: Ranges

    @property
    def role_direction(self) -> NDArray[np.float32]:
        """(K, d) the person's own direction at each block."""
        return np.asarray(self.ranges.directions[:, 1])

    @property
    def n_tokens(self) -> int:
        """Tokens behind the ranges."""
        return self.ranges.n_tokens


async def hold_edit(
    model: Any, axis: Axis, system: str, *, seed: int, alpha: float = ALPHA, layers: Sequence[int] | None = None,
    questions: Sequence[Question] | None = None, sides: str = "both",
) -> Hold:  # fmt: skip
    """Ask the person ``ANSWERS`` questions, read its tokens, and clamp it to their range.

    Args:
        model: A model with taps.
        axis: Its axis.
        system: The person's system text.
        seed: Seed of the answers.
        alpha: Share of tokens outside on either side.
        layers: Blocks; the axis' window if None.
        questions: What is asked; eight of the shipped questions if None. Never those of an evaluation.
        sides: See ``Ranges.edit``.

    Raises:
        AxisMismatch: An axis of another model.
        GaugeError: A person that hardly says anything: fewer than 200 tokens in all.
    """
    ranges = await read_ranges(model, axis, system, seed=seed, layers=layers, questions=questions)
    return Hold(ranges.edit(alpha, sides=sides), ranges)


async def read_ranges(
    model: Any, axis: Axis, system: str, *, seed: int, layers: Sequence[int] | None = None,
    questions: Sequence[Question] | None = None, directions: NDArray[Any] | None = None,
) -> Ranges:  # fmt: skip
    """A person's first answers to several questions, read token by token.

    Arguments as for ``hold_edit``; ``directions`` (K, 2, d), orthonormal at each block, take the place of the axis
    and the own direction, for controls.
    """
    axis.fits(model)
    window = tuple(axis.window if layers is None else layers)
    asked = questions or chosen_questions(shipped().questions, 240)[-ANSWERS:]  # the last ones: presets use the first
    talks = [(Message("system", system), Message("user", q.text)) for q in asked]
    acts: list[NDArray[Any]] = []
    found = 0
    for k in range(4):
        requests = [
            Request(t, SAMPLING, seed=derive_seed("hold", seed, system, i, k), keep=False)
            for i, t in enumerate(talks)
        ]
        replies = await model.reply(requests)
        items = [
            ScoreItem(t, r.text or " ", token_ids=r.token_ids[:-1])
            for t, r in zip(talks, replies, strict=True)
            if r.fault is None and r.token_ids is not None and len(r.token_ids) > 3
        ]
        acts += await model.read(items, window)
        found = sum(a.shape[1] for a in acts)
        if found >= MIN_TOKENS:
            break
    if found < MIN_TOKENS:
        raise GaugeError(
            "this person says too little for a range", where=repr(system[:60]), found=f"{found} tokens",
            expected=f"{MIN_TOKENS} in {4 * len(asked)} answers", hint="a longer prompt, or another model",
        )  # fmt: skip
    own = np.mean([a.mean(axis=1) for a in acts], axis=0)
    if directions is None:
        directions = np.stack([own_directions(axis, layer, own[k]) for k, layer in enumerate(window)])
    tokens = np.concatenate([np.einsum("knd,kmd->nkm", a, directions) for a in acts])
    return Ranges(window, directions, tokens.astype(np.float32), own.astype(np.float32), len(acts))


def own_directions(axis: Axis, layer: int, own: NDArray[Any]) -> NDArray[np.float32]:
    """(2, d) the axis and the direction of a mean ``own`` (d,) from the mean of the roles, without its axis part.

    Raises:
        DegenerateDirections: A person that differs from the average role along the axis alone.
    """
    away = own.astype(np.float64) - axis.role_means[:, layer].astype(np.float64).mean(axis=0)
    return orthonormal([axis.unit[layer], away], where=f"layer {layer}")

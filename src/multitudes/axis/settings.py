"""Settings that a calibration compares, and how much is asked of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from multitudes.axis.axis import Axis
from multitudes.axis.cap import cap_edit
from multitudes.axis.presets import DECODE_RATE, PREFILL_RATE
from multitudes.axis.roles import PresetName
from multitudes.axis.steer import SWEEP, push_edit
from multitudes.axis.window import cap_window
from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.models.edit import Edit

Kind = Literal["plain", "cap", "steer", "orthogonal", "covariance", "additive"]

ROLE_TOKENS, USER_TOKENS, ITEM_TOKENS = 68, 56, 58  # about: a role prompt with a question, a user turn, an item
WHO_TOKENS = 48  # about: one wording of a question who one is, and both answers


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be done to a model.

    Attributes:
        kind: ``plain``: nothing. ``cap``: a floor on the axis. ``steer``: a push along it. Controls: a floor on a
            random direction, ``orthogonal`` to the axis or drawn from persona space (``covariance``); ``additive``: a
            push that moves tokens as far as the cap does.
        layers: Blocks it works on; empty for plain.
        quantile: Threshold of a cap.
        strength: c of a push, a fraction of the mean token length.
        edit: The change; None for plain.
        name: In words.
        shift: Of a control on a random direction: how far its threshold was moved from its own quantile to meet the
            engagement of the cap, in standard deviations of its response means.
        gap: Of the same: its engagement minus that of the cap, on the same text.
    """

    kind: Kind
    layers: tuple[int, ...] = ()
    quantile: str = ""
    strength: float | None = None
    edit: Edit | None = field(default=None, compare=False)
    name: str = "plain"
    shift: float | None = None
    gap: float | None = None

    def after(self, n_layers: int) -> int:
        """The block just after the last one it works on; the last one itself at the end of the model."""
        return min(self.layers[-1] + 1, n_layers - 1) if self.layers else n_layers - 1


@dataclass(frozen=True, slots=True)
class Size:
    """How much a calibration asks.

    Attributes:
        name: Its name.
        windows: Which blocks: ``few``: the default window and one that begins at half the depth; ``some``: five
            starts; ``all``: starts in steps of L/16 from a quarter of the depth, two widths.
        quantiles: Thresholds of caps.
        strengths: Of pushes.
        roles: Roles that are played.
        questions: Questions each is asked.
        scripts: Conversations with fixed user messages.
        turns: Replies in each.
        max_tokens: Longest reply.
        sweep_tokens: Running text that every setting reads.
        sweep_items: Items that every setting answers.
        check_tokens: Running text of the check before a setting is recommended.
        check_items: Its items; None for all.
        draws: Random directions of each kind.
        matching: Answers on which engagement is matched.
        tries: Settings that are checked at most.
        who_items: Items of the battery ``id`` that each role is asked once.
        who_wordings: Wordings of each.
    """

    name: PresetName
    windows: Literal["few", "some", "all"]
    quantiles: tuple[str, ...]
    strengths: tuple[float, ...]
    roles: int
    questions: int
    scripts: int
    turns: int
    max_tokens: int
    sweep_tokens: int
    sweep_items: int
    check_tokens: int
    check_items: int | None
    draws: int
    matching: int
    tries: int
    who_items: int
    who_wordings: int

    @property
    def replies(self) -> int:
        """Replies of one setting."""
        return self.roles * self.questions + self.scripts * self.turns


ALL_QUANTILES = ("0.5", "0.75", "0.9", "default_mean")
SIZES: dict[str, Size] = {
    s.name: s
    for s in (
        Size(
            "small", "few", ("0.75", "default_mean"), (0.1,), roles=12, questions=1, scripts=3, turns=2,
            max_tokens=24, sweep_tokens=1024, sweep_items=16, check_tokens=4096, check_items=100, draws=1, matching=4,
            tries=2, who_items=3, who_wordings=1,
        ),
        Size(
            "balanced", "some", ALL_QUANTILES, (-0.25, -0.1, 0.1, 0.25), roles=44, questions=2, scripts=8, turns=3,
            max_tokens=48, sweep_tokens=4096, sweep_items=200, check_tokens=20_480, check_items=None, draws=3,
            matching=12, tries=4, who_items=6, who_wordings=1,
        ),
        Size(
            "full", "all", ALL_QUANTILES, tuple(c for c in SWEEP if c), roles=110, questions=4, scripts=10, turns=6,
            max_tokens=128, sweep_tokens=20_480, sweep_items=400, check_tokens=20_480, check_items=None, draws=5,
            matching=24, tries=8, who_items=6, who_wordings=3,
        ),
    )
}  # fmt: skip


def size_of(name: str) -> Size:
    """The size of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in SIZES:
        raise ConfigError("unknown size", where=repr(name), hint=did_you_mean(name, SIZES))
    return SIZES[name]


def sweep_windows(n_layers: int, which: Literal["few", "some", "all"]) -> list[tuple[int, ...]]:
    """Runs of blocks to try, the default window first. But for it, all leave a block after themselves.

    >>> [(w[0], w[-1]) for w in sweep_windows(30, "few")]
    [(21, 25), (15, 18)]
    """
    narrow, wide = (max(2, int(n_layers / k + 0.5)) for k in (8, 5))
    if which == "few":
        pairs = [(n_layers // 2, narrow)]
    elif which == "some":
        pairs = [(int(n_layers * k / 8 + 0.5), narrow) for k in (3, 4, 5, 6)]
    else:
        step = max(1, int(n_layers / 16 + 0.5))
        pairs = [(start, width) for start in range(n_layers // 4, n_layers, step) for width in (narrow, wide)]
    out = [cap_window(n_layers)]
    for start, width in pairs:
        window = tuple(range(start, start + width))
        if window[-1] < n_layers - 1 and window not in out:
            out.append(window)
    return out


def settings_of(axis: Axis, size: Size) -> list[Setting]:
    """Everything a calibration compares: plain first, then caps by window and threshold, then pushes.

    Raises:
        ConfigError: An axis without thresholds, such as one imported without caps.
    """
    quantiles = [q for q in size.quantiles if q in axis.tau]
    if not quantiles:
        raise ConfigError(
            "the axis has no thresholds to sweep", where="axis", found=", ".join(axis.tau) or "none",
            expected=", ".join(size.quantiles),
            hint="fit the axis on this model, multitudes axis fit MODEL, or import it with --model MODEL",
        )  # fmt: skip
    out = [Setting("plain")]
    for window in sweep_windows(axis.n_layers, size.windows):
        for q in quantiles:
            edit = cap_edit(axis, q, layers=window)
            out.append(Setting("cap", window, q, edit=edit, name=f"cap {q} at {span(window)}"))
    for c in size.strengths:
        out.append(
            Setting("steer", (axis.layer,), strength=c, edit=push_edit(axis, c), name=f"steer {c:+g} at {axis.layer}")
        )
    return out


def span(layers: Sequence[int]) -> str:
    """A run of blocks as text.

    >>> span((21, 22, 23))
    '21-23'
    """
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"


def height(axis: Axis, setting: Setting) -> float:
    """Mean z of the thresholds of a cap: how strong it is. 1 = at the default."""
    window = list(setting.layers)
    return float(np.mean(axis.z(axis.tau[setting.quantile])[window]))


@dataclass(frozen=True, slots=True)
class SweepCost:
    """What a calibration asks for.

    Attributes:
        settings: Settings in the sweep, plain and controls among them.
        replies: Replies to be written.
        written: Tokens they may have, at most.
        read: Tokens to be read, about.
    """

    settings: int
    replies: int
    written: int
    read: int

    @property
    def seconds(self) -> float:
        """On the embedded model and two idle cores, about."""
        return self.read / PREFILL_RATE + self.written / DECODE_RATE

    def __str__(self) -> str:
        return (
            f"{self.settings} settings, {self.replies:,} replies of at most {self.written // max(1, self.replies)} "
            f"tokens, about {self.read:,} tokens read; about {self.seconds:.0f} s for the embedded model on two cores"
        )


def cost_of_sweep(axis: Axis, size: Size) -> SweepCost:
    """What ``size`` asks of the model of ``axis``, one check included; each further check asks as much again."""
    n = len(settings_of(axis, size)) + 2 * size.draws + 1
    roles, talks = size.roles * size.questions, size.scripts * size.turns
    contexts = roles * ROLE_TOKENS + size.scripts * sum(
        (t + 1) * USER_TOKENS + t * size.max_tokens for t in range(size.turns)
    )
    own = roles * ROLE_TOKENS + talks * (USER_TOKENS + size.max_tokens) + contexts + size.replies * size.max_tokens
    who = size.roles * (ROLE_TOKENS + size.max_tokens + size.who_items * size.who_wordings * WHO_TOKENS)
    text = size.sweep_tokens + size.sweep_items * ITEM_TOKENS
    check = 2 * (size.check_tokens + (size.check_items or 200) * ITEM_TOKENS)
    matching = 4 * (2 * size.draws + 1) * size.matching * (ROLE_TOKENS + size.max_tokens)
    read = n * (own + text) + (n + 1) * who + check + matching
    return SweepCost(n, n * size.replies, n * size.replies * size.max_tokens, read)

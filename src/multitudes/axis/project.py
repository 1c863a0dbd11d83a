"""Where the turns of a conversation lie on the axis: of a model that wrote them, in one pass over the whole.

While a conversation runs, a tap gives the same numbers without any pass (see ``watch``). These here are for one that
has ended. A reader's view of somebody else's text is another thing with another type: ``reader``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.errors import NoScale, NothingToRead, NotOwn
from multitudes.axis.remedy import has_taps
from multitudes.core.errors import GaugeError, Unsupported
from multitudes.core.records import Conversation, Speaker
from multitudes.measure.errors import MixedViews
from multitudes.models.base import NEEDS_TAPS, Message
from multitudes.simulate.views import view

FloatArray = NDArray[np.float64]
Side = Literal["assistant", "user"]
SIDES: dict[str, Speaker] = {"assistant": "target", "user": "user"}

MIN_TOKENS = 3  # a mean over fewer says nothing about a turn
AT_ONCE = 32  # conversations whose means are held at a time


@dataclass(frozen=True, eq=False)
class OwnProjection:
    """Turns on the axis, from the activations of the model that wrote them. T turns, L blocks.

    Attributes:
        p: (T, L) projection of the mean residual stream, residual units. NaN: fewer than ``MIN_TOKENS`` tokens.
        z: (T, L) the same where the average role is 0 and the default Assistant 1.
        n_tokens: (T,) counted tokens.
        turns: T indices into the turns of the conversation; turns of one speaker in a row are one.
        layer: The analysis layer.
        axis: Id of the axis.
        author: The model.
        engine: Its fingerprint.
        view: Always ``own``.
    """

    p: FloatArray
    z: FloatArray
    n_tokens: NDArray[np.int64]
    turns: tuple[int, ...]
    layer: int
    axis: str
    author: str
    engine: str
    view: Literal["own"] = "own"

    @property
    def label(self) -> str:
        """Whose activations these are, for a table or a plot."""
        return f"{self.author}'s own activations"

    @property
    def z_at_layer(self) -> FloatArray:
        """(T,) z at the analysis layer."""
        return np.asarray(self.z[:, self.layer])


class Read(NamedTuple):
    """Projections (T, L) of the assistant turns of one list of messages, and their counted tokens."""

    p: FloatArray
    z: FloatArray
    n_tokens: NDArray[np.int64]


def axis_id(axis: Axis) -> str:
    """Twelve hex digits of direction and scale: numbers of two axes never meet.

    The analysis layer is part of it, since it decides which number is reported.
    """
    content = hashlib.sha256()
    for values in (axis.axis, axis.mu_default, axis.mu_roles, np.array([axis.layer])):
        content.update(np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return content.hexdigest()[:12]


async def project_talk(model: Any, axis: Axis, messages: Sequence[Message]) -> Read:
    """Projections of every assistant turn of ``messages``, in one pass.

    Raises:
        Unsupported: A model without taps.
        AxisMismatch: An axis of another model.
        NothingToRead: No assistant turn.
        ConfigError: More tokens than the model's context; both numbers are in the message.
    """
    return (await project_talks(model, axis, [messages]))[0]


async def project_talks(model: Any, axis: Axis, talks: Sequence[Sequence[Message]]) -> list[Read]:
    """``project_talk`` for several."""
    need_taps(model)
    axis.fits(model)
    need_scale(axis)
    for i, talk in enumerate(talks):
        if not any(m.role == "assistant" for m in talk):
            raise NothingToRead(f"talks[{i}]", "assistant", sorted({m.role for m in talk}))
    out: list[Read] = []
    for start in range(0, len(talks), AT_ONCE):
        part = talks[start : start + AT_ONCE]
        lengths = await model.turn_lengths(part)
        means = await model.read_turns(part, range(axis.n_layers))
        out += [_read(axis, m, np.array(n, dtype=np.int64)) for m, n in zip(means, lengths, strict=True)]
    return out


def _read(axis: Axis, means: NDArray[Any], n_tokens: NDArray[np.int64]) -> Read:
    p = axis.project(means)
    p[n_tokens < MIN_TOKENS] = np.nan
    return Read(p, axis.z(p), n_tokens)


async def project_conversation(
    model: Any, axis: Axis, conversation: Conversation, *, system: str, speaker: Side = "assistant"
) -> OwnProjection:
    """Turns of a conversation that ``model`` itself wrote, on its own axis.

    The engine knows the tokens it sampled since it was loaded and reads exactly these; of an older conversation the
    text is made into tokens again, which may cut words differently.

    Args:
        model: Who wrote the speaker's turns. For text by anybody else see ``reader.read_conversation``.
        axis: Its axis.
        conversation: What was said.
        system: What the model was told when it wrote; an empty text where that was nothing.
        speaker: ``assistant`` for the target of the conversation, ``user`` for the simulated person.

    Raises:
        NotOwn: A conversation that was read from a file: nobody knows who wrote it.
        NothingToRead: The speaker has no turn.
        Unsupported, AxisMismatch, ConfigError: See ``project_talk``.
    """
    if conversation.stop_reason == "imported":
        raise NotOwn(conversation.id)
    messages, turns = side_of(conversation, speaker, system=system)
    [read] = await project_talks(model, axis, [messages])
    info = model.info
    return OwnProjection(*read, turns, axis.layer, axis_id(axis), info.name, info.fingerprint)


def side_of(
    conversation: Conversation, speaker: Side, *, system: str, first: int = 0, last: int | None = None
) -> tuple[tuple[Message, ...], tuple[int, ...]]:
    """A conversation with ``speaker`` in the assistant role, and which turns begin that role's messages.

    Templates merge messages of one role that follow each other, so such turns are one, named by its first.

    Args:
        conversation: What was said.
        speaker: Whose turns become the assistant's.
        system: The system text.
        first: Leave out turns before this.
        last: Leave out turns after this.

    Raises:
        NothingToRead: The speaker has no turn there.
    """
    turns = conversation.turns[first : None if last is None else last + 1]
    wanted = SIDES[speaker]
    starts = [i for i, (a, b) in enumerate(pairwise(turns), start=1) if b.speaker == wanted != a.speaker]
    if turns and turns[0].speaker == wanted:
        starts.insert(0, 0)
    if not starts:
        raise NothingToRead(conversation.id, speaker, sorted({t.speaker for t in turns}))
    return view(turns, wanted, system=system), tuple(first + i for i in starts)


def table_of(projections: Sequence[OwnProjection], layer: int | None = None) -> FloatArray:
    """(C, T) z of conversations by turn position, for ``measure.drift``; NaN where a conversation was shorter.

    Args:
        projections: Of one model on one axis.
        layer: Block; the analysis layer if None.

    Raises:
        MixedViews: Anything that is no ``OwnProjection``: a reader's view is another quantity.
        GaugeError: Projections of two axes or engines.
    """
    strange = [type(p).__name__ for p in projections if not isinstance(p, OwnProjection)]
    if strange:
        raise MixedViews(
            "a model's own activations and a reader's are not the same quantity", found=strange[0],
            expected="OwnProjection", hint="pool readings apart: reader.table_of_readings",
        )  # fmt: skip
    refuse_two("axes", {p.axis for p in projections})
    refuse_two("engines", {p.engine for p in projections})
    return stacked([p.z[:, p.layer if layer is None else layer] for p in projections])


def refuse_two(what: str, found: set[str]) -> None:
    """Refuse a statistic over projections of two of a kind.

    Raises:
        GaugeError: More than one.
    """
    if len(found) > 1:
        raise GaugeError(
            f"projections of two {what} are not one quantity",
            found=", ".join(sorted(found)),
            expected=f"one of the {what}",
        )


def stacked(rows: Sequence[FloatArray]) -> FloatArray:
    """(C, T) rows of different lengths, NaN behind the shorter ones."""
    out = np.full((len(rows), max((len(r) for r in rows), default=0)), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def need_taps(model: Any) -> None:
    """Refuse a model whose residual stream cannot be read.

    Raises:
        Unsupported: Names the model and what could be used.
    """
    if not has_taps(model):
        raise Unsupported("taps", model.info.name, NEEDS_TAPS)


def need_scale(axis: Axis) -> None:
    """Refuse an axis on which a projection cannot be placed: raw projections of different blocks say nothing.

    Raises:
        NoScale: Role or default mean is unknown at the analysis layer.
    """
    if not np.isfinite(axis.mu_default[axis.layer]) or not np.isfinite(axis.mu_roles[axis.layer]):
        raise NoScale(str(axis.about.get("from", axis.method)), axis.layer)

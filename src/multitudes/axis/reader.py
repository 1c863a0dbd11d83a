"""Reader mode: text of any author, read by a local model and projected on that model's axis.

The transcript is rendered with the reader's template, the chosen speaker in the assistant role, and read in one
forward pass. What comes out is how the *reader* represents the text. It is not what went on inside the author, and it
has a type of its own, so that the two cannot be pooled. ``cross_read`` says how far they agree for a pair of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.axis import Axis
from multitudes.axis.project import FloatArray, Side, axis_id, project_talks, refuse_two, side_of, stacked
from multitudes.core.errors import ConfigError
from multitudes.core.records import Conversation
from multitudes.measure.errors import MixedViews

FROM_TRANSCRIPT = "transcript"


@dataclass(frozen=True, eq=False)
class ReaderProjection:
    """Turns on the reader's axis. T turns, L blocks of the reader.

    Attributes:
        p: (T, L) projection, residual units of the reader. NaN: fewer than 3 tokens.
        z: (T, L) on the reader's scale: 0 its average role, 1 its default Assistant.
        n_tokens: (T,) tokens of the turn in the reader's vocabulary.
        turns: T indices into the turns of the conversation; turns of one speaker in a row are one.
        layer: The reader's analysis layer.
        axis: Id of the axis.
        reader: The model that read.
        engine: Its fingerprint.
        author: Who wrote, as the caller says.
        speaker: Whose turns stood in the assistant role.
        system_used: System text that the reader was given.
        window: Turns that were in view at each, itself included; None for all that came before.
        view: Always ``reader``.
    """

    p: FloatArray
    z: FloatArray
    n_tokens: NDArray[np.int64]
    turns: tuple[int, ...]
    layer: int
    axis: str
    reader: str
    engine: str
    author: str
    speaker: Side
    system_used: str
    window: int | None
    view: Literal["reader"] = "reader"

    @property
    def label(self) -> str:
        """What every table and plot of these numbers must say."""
        return reader_label(self.reader, self.author)

    @property
    def z_at_layer(self) -> FloatArray:
        """(T,) z at the reader's analysis layer."""
        return np.asarray(self.z[:, self.layer])


def reader_label(reader: str, author: str) -> str:
    """The line under which readings are shown.

    >>> reader_label("smollm2", "Llama")
    "how smollm2 represents Llama's text; not Llama's activations"
    """
    return f"how {reader} represents {author}'s text; not {author}'s activations"


async def read_conversation(
    reader: Any, axis: Axis, conversation: Conversation, *, author: str, speaker: Side = "assistant",
    system: str = "", window: int | None = None,
) -> ReaderProjection:  # fmt: skip
    """How ``reader`` represents the turns of ``speaker``.

    Args:
        reader: A local model.
        axis: The reader's axis.
        conversation: Somebody's transcript, or a conversation of ours.
        author: Who wrote the turns; part of the label.
        speaker: ``assistant`` for the target; ``user`` for the simulated person, whose lines then stand in the
            assistant role.
        system: System text that the reader is given; ``transcript`` for what the transcript holds. Empty by default:
            what the author was told is mostly unknown, and a text would move the reader by itself.
        window: Turns in view at each turn, itself included, for transcripts that are longer than the context. Each
            turn past the first so many is then a pass of its own.

    Raises:
        ConfigError: The transcript is longer than the reader's context (both lengths are named), no window at all,
            or ``transcript`` where it holds no system text.
        NothingToRead: The speaker has no turn.
        Unsupported: A reader without taps.
        AxisMismatch: An axis of another model.
    """
    if not author.strip():
        raise ConfigError("a reading needs to say who wrote", where="author", found=repr(author))
    if window is not None and window < 1:
        raise ConfigError(
            "no turn is in view", where="window", found=repr(window), expected="1 or more turns, or None"
        )
    used = _system_of(conversation) if system == FROM_TRANSCRIPT else system
    messages, turns = side_of(conversation, speaker, system=used)
    if window is None:
        [read] = await project_talks(reader, axis, [messages])
        p, z, n = read
    else:
        cuts = [
            side_of(conversation, speaker, system=used, first=max(0, i - window + 1), last=i)[0]
            for i in _ends(conversation, turns)
        ]
        reads = await project_talks(reader, axis, cuts)
        p, z = np.stack([r.p[-1] for r in reads]), np.stack([r.z[-1] for r in reads])
        n = np.array([r.n_tokens[-1] for r in reads], dtype=np.int64)
    info = reader.info
    return ReaderProjection(
        p, z, n, turns, axis.layer, axis_id(axis), info.name, info.fingerprint, author, speaker, used, window
    )


def table_of_readings(readings: Sequence[ReaderProjection], layer: int | None = None) -> FloatArray:
    """(C, T) z of readings by turn position; NaN where a conversation was shorter.

    Raises:
        MixedViews: Anything that is no ``ReaderProjection``.
        GaugeError: Readings of two readers or axes, with two kinds of window or of two speakers.
    """
    strange = [type(r).__name__ for r in readings if not isinstance(r, ReaderProjection)]
    if strange:
        raise MixedViews(
            "a model's own activations and a reader's are not the same quantity", found=strange[0],
            expected="ReaderProjection", hint="pool projections apart: project.table_of",
        )  # fmt: skip
    refuse_two("axes", {r.axis for r in readings})
    refuse_two("readers", {r.engine for r in readings})
    refuse_two("speakers", {r.speaker for r in readings})
    refuse_two("windows", {str(r.window) for r in readings})
    return stacked([r.z[:, r.layer if layer is None else layer] for r in readings])


def _ends(conversation: Conversation, starts: Sequence[int]) -> list[int]:
    """The last turn of each run of one speaker's turns that begins at ``starts``."""
    turns = conversation.turns
    out = []
    for i in starts:
        while i + 1 < len(turns) and turns[i + 1].speaker == turns[i].speaker:
            i += 1
        out.append(i)
    return out


def _system_of(conversation: Conversation) -> str:
    """The system text at the head of an imported transcript."""
    aside = conversation.meta.get("aside") or []
    texts = [a["text"] for a in aside if str(a.get("role", "")).casefold() in ("system", "developer")]
    if not texts:
        raise ConfigError(
            "the transcript holds no system text", where=conversation.id,
            hint="give the text itself, or leave it empty",
        )  # fmt: skip
    return "\n\n".join(texts)

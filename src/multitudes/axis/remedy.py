"""Steered, capped and held models: ordinary ``ChatModel``s that send an edit with every request.

The model inside is not touched. The same weights can speak plainly and under several edits at the same time, in one
batch, and nothing computed under one of them is used under another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from multitudes.axis.axis import Axis
from multitudes.axis.hold import ALPHA, Hold, hold_edit
from multitudes.core.errors import Unsupported
from multitudes.models.base import (
    NEEDS_TAPS,
    Bare,
    Capabilities,
    ChatModel,
    Followed,
    Message,
    Reply,
    Request,
    Scored,
    ScoreItem,
)
from multitudes.models.edit import Edit, combined
from multitudes.models.wrappers.base import Wrapper


class Edited(Wrapper):
    """A model under an edit.

    It is also a context: ``with capped: ...`` closes nothing, because nothing is attached to the model; after the
    block it refuses to speak, so that an edit is not used by accident where it was meant to have ended.

    Args:
        inner: A model with taps, or another edited model; the edits then combine, the inner first.
        edit: The change.
        how: What stands before its name, such as ``cap:DIR``.

    Raises:
        Unsupported: A model without taps.
        AlreadyAttached: The same edit is on the model already.
    """

    def __init__(self, inner: ChatModel, edit: Edit | None, how: str) -> None:
        super().__init__(inner, how)
        if not has_taps(inner):
            raise Unsupported("taps", inner.info.name, NEEDS_TAPS)
        self.edit = edit
        self._ended = False
        if edit is not None and isinstance(inner, Edited) and inner.edit is not None:
            combined(inner.edit, edit)  # refuses the same edit twice, and directions that fight

    @property
    def info(self) -> Capabilities:
        """As the model inside, under its own name and fingerprint; taps stay."""
        return replace(super().info, taps=True)

    def __enter__(self) -> Edited:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True

    @property
    def mark(self) -> str:
        """What sets its words apart from those of the model inside; see ``engine_of``."""
        return "" if self.edit is None else f"/{self.edit.fingerprint}"

    async def edit_of(self, messages: Sequence[Message]) -> Edit | None:
        """The edit for a conversation."""
        return self.edit

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies under the edit."""
        self._check_open()
        edits = await asyncio.gather(*(self.edit_of(r.messages) for r in requests))
        edited = [replace(r, edit=_with(e, r.edit)) for r, e in zip(requests, edits, strict=True)]
        return await super().reply(edited)

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities under the edit."""
        self._check_open()
        edits = await asyncio.gather(*(self.edit_of(i.context) for i in items))
        edited = [replace(i, edit=_with(e, i.edit)) for i, e in zip(items, edits, strict=True)]
        return await super().score(edited)

    async def read(self, items: Sequence[ScoreItem], layers: Sequence[int], *, mean: bool = False) -> list[Any]:
        """The residual stream under the edit; see ``LocalModel.read``."""
        self._check_open()
        edits = await asyncio.gather(*(self.edit_of(i.context) for i in items))
        edited = [replace(i, edit=_with(e, i.edit)) for i, e in zip(items, edits, strict=True)]
        out: list[Any] = await self.inner.read(edited, layers, mean=mean)  # type: ignore[attr-defined]
        return out

    async def read_turns(
        self, talks: Sequence[Sequence[Message]], layers: Sequence[int], *, edit: Edit | None = None
    ) -> list[Any]:
        """Mean residual stream by turn under the edit; see ``LocalModel.read_turns``."""
        self._check_open()
        edits = await asyncio.gather(*(self.edit_of(t) for t in talks))
        out = []
        for talk, own in zip(talks, edits, strict=True):
            out += await self.inner.read_turns([talk], layers, edit=_with(own, edit))  # type: ignore[attr-defined]
        return out

    async def turn_lengths(
        self, talks: Sequence[Sequence[Message]], *, edit: Edit | None = None
    ) -> list[tuple[int, ...]]:
        """Counted tokens of each assistant turn under the edit."""
        edits = await asyncio.gather(*(self.edit_of(t) for t in talks))
        out = []
        for talk, own in zip(talks, edits, strict=True):
            out += await self.inner.turn_lengths([talk], edit=_with(own, edit))  # type: ignore[attr-defined]
        return out

    async def follow(self, items: Sequence[Bare], *, watch: Sequence[int] = ()) -> list[Followed]:
        """Bare tokens under the edit; see ``LocalModel.follow``. Nobody speaks in them, so nobody is held."""
        self._check_open()
        edit = await self.edit_of(())
        edited = [item._replace(edit=_with(edit, item.edit)) for item in items]
        out: list[Followed] = await self.inner.follow(edited, watch=watch)  # type: ignore[attr-defined]
        return out

    @property
    def template(self) -> Any:
        """Chat template of the model."""
        return self.inner.template  # type: ignore[attr-defined]

    @property
    def n_layers(self) -> int:
        """Blocks of the model."""
        return int(self.inner.n_layers)  # type: ignore[attr-defined]

    @property
    def d_model(self) -> int:
        """Width of its residual stream."""
        return int(self.inner.d_model)  # type: ignore[attr-defined]

    def _check_open(self) -> None:
        if self._ended:
            raise Unsupported(
                "replies after its end", self.info.name, "use the model inside, or apply the edit again"
            )


class Held(Edited):
    """A model that keeps every person it plays inside that person's own range; see ``hold.py``.

    A person is known by its system text. On its first request it answers eight questions of its own, from which the
    range is read, once. Without a system text nothing is held.

    Args:
        inner: A model with taps.
        axis: Its axis.
        alpha: Share of tokens outside on either side.
        seed: Seed of the answers that the ranges come from.
        how: What stands before its name.
    """

    def __init__(
        self, inner: ChatModel, axis: Axis, *, alpha: float = ALPHA, seed: int = 0, how: str = "hold"
    ) -> None:
        super().__init__(inner, None, how)
        axis.fits(inner)
        self.axis, self.alpha, self.seed = axis, alpha, seed
        self._holds: dict[str, asyncio.Future[Hold]] = {}

    @property
    def mark(self) -> str:
        """How people are held; their edits come with the people."""
        return f"/hold:{self.alpha:g}:{self.seed}"

    async def edit_of(self, messages: Sequence[Message]) -> Edit | None:
        """The hold of the person whose system text opens the conversation."""
        system = messages[0].text if messages and messages[0].role == "system" else ""
        return (await self.hold_of(system)).edit if system.strip() else None

    async def hold_of(self, system: str) -> Hold:
        """The hold of one person, computed when it is first asked for.

        Raises:
            GaugeError: A person that says too little for a range.
        """
        known = self._holds.get(system)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            known = asyncio.ensure_future(hold_edit(self.inner, self.axis, system, seed=self.seed, alpha=self.alpha))
            self._holds[system] = known
        elif known.done():
            return known.result()
        return await asyncio.shield(known)


def has_taps(model: Any) -> bool:
    """Whether a model's residual stream can be read and edited."""
    return all(hasattr(model, name) for name in ("read", "read_turns", "n_layers", "d_model"))


def engine_of(model: ChatModel) -> str:
    """Fingerprint of a model with everything that is done to it: of two that may differ in a word, it differs."""
    out, inside = model.info.fingerprint, model
    while isinstance(inside, Edited):
        out, inside = out + inside.mark, inside.inner
    return out


def steer(model: ChatModel, axis: Axis, strength: float, *, layer: int | None = None, how: str = "") -> Edited:
    """``model`` pushed along the axis: negative is away from the Assistant. See ``push_edit``."""
    from multitudes.axis.steer import push_edit

    axis.fits(model)
    return Edited(model, push_edit(axis, strength, layer=layer), how or f"steer:{strength:g}")


def cap(model: ChatModel, axis: Axis, quantile: str | float | None = None, *, how: str = "cap") -> Edited:
    """``model`` with a floor on the axis. See ``cap_edit``."""
    from multitudes.axis.cap import cap_edit

    axis.fits(model)
    return Edited(model, cap_edit(axis, quantile), how)


def hold(model: ChatModel, axis: Axis, *, alpha: float = ALPHA, seed: int = 0, how: str = "hold") -> Held:
    """``model`` with each person it plays kept inside its own range. See ``hold.py``."""
    return Held(model, axis, alpha=alpha, seed=seed, how=how)


def _with(own: Edit | None, asked: Edit | None) -> Edit | None:
    """The edit of this wrapper, then the one that came with the request from further out."""
    if own is None or asked is None:
        return own or asked
    return combined(own, asked)

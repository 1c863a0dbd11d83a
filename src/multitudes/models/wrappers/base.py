"""What all wrappers share: a model inside, and a name and fingerprint of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multitudes.models.base import Capabilities, ChatModel, Reply, Request, Scored, ScoreItem


class Wrapper:
    """A model that asks another in its own way. Unchanged, it only passes on.

    Args:
        inner: The model that speaks.
        how: What stands before its name, such as ``temperature:1.3``; part of the fingerprint, so that numbers of
            the two never meet in one statistic.
    """

    def __init__(self, inner: ChatModel, how: str) -> None:
        self.inner = inner
        known = inner.info
        self._info = replace(known, name=f"{how}:{known.name}", fingerprint=f"{how}+{known.fingerprint}")

    @property
    def info(self) -> Capabilities:
        """As the model inside, under its own name and fingerprint."""
        return self._info

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies of the model inside."""
        return [replace(r, engine=self._info.fingerprint) for r in await self.inner.reply(requests)]

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of the model inside, at temperature 1."""
        return [replace(s, engine=self._info.fingerprint) for s in await self.inner.score(items)]

    async def aclose(self) -> None:
        """Close the model inside."""
        await self.inner.aclose()

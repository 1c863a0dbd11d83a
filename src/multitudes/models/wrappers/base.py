"""What all wrappers share: a model inside, and a name and fingerprint of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multitudes.core.records import SeedStatus
from multitudes.models.base import Capabilities, ChatModel, Reply, Request, Scored, ScoreItem


class Wrapper:
    """A model that asks another in its own way. Unchanged, it only passes on.

    Args:
        inner: The model that speaks.
        how: What stands before its name, such as ``temperature:1.3``; part of the fingerprint, so that numbers of
            the two never meet in one statistic.
    """

    def __init__(self, inner: ChatModel, how: str) -> None:
        self.inner, self.how = inner, how

    @property
    def info(self) -> Capabilities:
        """As the model inside at this time, under its own name and fingerprint; a wrapper has no taps."""
        known = self.inner.info
        name, fingerprint = f"{self.how}:{known.name}", f"{self.how}+{known.fingerprint}"
        return replace(known, name=name, fingerprint=fingerprint, taps=False)

    async def probe_seed(self) -> SeedStatus:
        """What the model inside finds out about seeds, where it can; else what it knows."""
        probe = getattr(self.inner, "probe_seed", None)
        if probe is not None:
            await probe()
        return self.inner.info.seed_status

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies of the model inside."""
        return [replace(r, engine=f"{self.how}+{r.engine}") for r in await self.inner.reply(requests)]

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of the model inside, at temperature 1."""
        return [replace(s, engine=f"{self.how}+{s.engine}") for s in await self.inner.score(items)]

    async def aclose(self) -> None:
        """Close the model inside."""
        await self.inner.aclose()

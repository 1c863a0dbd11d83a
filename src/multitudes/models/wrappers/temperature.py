"""Another temperature: the baseline that every remedy for sameness is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multitudes.models.base import ChatModel, Reply, Request
from multitudes.models.wrappers.base import Wrapper


class Temperature(Wrapper):
    """The model inside at a fixed temperature, whatever is asked for.

    Args:
        inner: The model that speaks.
        value: 0, or at least 0.001.
    """

    def __init__(self, inner: ChatModel, value: float) -> None:
        super().__init__(inner, f"temperature:{value:g}")
        self.value = value

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies at this temperature."""
        return await super().reply(
            [replace(r, sampling=replace(r.sampling, temperature=self.value)) for r in requests]
        )

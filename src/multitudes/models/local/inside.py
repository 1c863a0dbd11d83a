"""What a local model lets see of its inside: the residual stream of texts that are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from multitudes.core.errors import ConfigError
from multitudes.models.base import Bare, Capabilities, Followed, Message, ScoreItem, check_messages, check_score_items
from multitudes.models.edit import Edit
from multitudes.models.local.batch import Batcher
from multitudes.models.local.reading import Passage, follow, read_means, read_tokens
from multitudes.models.local.runner import Runner
from multitudes.models.local.template import ChatTemplate

T = TypeVar("T")
AT_ONCE = 512  # texts read in one go; between two goes waiting replies get their turn


class ReadsInside:
    """The half of ``LocalModel`` that reads. It has no state of its own."""

    batcher: Batcher
    runner: Runner
    template: ChatTemplate
    _info: Capabilities
    _in_thread: Callable[..., Any]
    _plan: Callable[..., Any]

    async def read(self, items: Sequence[ScoreItem], layers: Sequence[int], *, mean: bool = False) -> list[Any]:
        """The residual stream after each of ``layers`` at the tokens of each continuation.

        Returns:
            One array (len(layers), n_tokens, d_model) float32 per item; (len(layers), d_model) of the ``mean``.

        Raises:
            ConfigError: A layer the model does not have, or an item that does not fit the context.
        """
        check_score_items(items, taps=True)
        plans = [self._plan(item, where=f"items[{i}]") for i, item in enumerate(items)]
        passages = [Passage(p.ids, [(p.n_context, len(p.ids))], p.edit) for p in plans]
        now = self._read_means_now if mean else self._read_tokens_now
        return [spans[0] for spans in await self._in_thread(partial(now, passages, layers))]

    async def read_turns(
        self, talks: Sequence[Sequence[Message]], layers: Sequence[int], *, edit: Edit | None = None
    ) -> list[Any]:
        """The mean residual stream over each assistant turn of conversations that have happened, in one pass each.

        Returns:
            Per conversation (n_assistant_turns, len(layers), d_model) float32; NaN for a turn without tokens.

        Raises:
            ConfigError: A layer the model does not have, or a conversation that does not fit the context.
        """
        passages = []
        for i, talk in enumerate(talks):
            check_messages(talk, where=f"talks[{i}]", for_reply=False)
            passages.append(Passage(*self.template.turn_ids(talk, salt=salt_of(edit)), edit))
            limit = self._info.context_tokens
            if limit is not None and len(passages[-1].ids) > limit:
                raise ConfigError(
                    "does not fit the context", where=f"talks[{i}]", found=f"{len(passages[-1].ids)} tokens",
                    expected=f"at most {limit}", hint="give a window of turns",
                )  # fmt: skip
        found: list[Any] = await self._in_thread(partial(self._read_means_now, passages, layers))
        return found

    async def turn_lengths(
        self, talks: Sequence[Sequence[Message]], *, edit: Edit | None = None
    ) -> list[tuple[int, ...]]:
        """Counted tokens of each assistant turn: those that ``read_turns`` averages over."""
        spans = [self.template.turn_ids(talk, salt=salt_of(edit))[1] for talk in talks]
        return [tuple(stop - start for start, stop in of_talk) for of_talk in spans]

    async def follow(self, items: Sequence[Bare], *, watch: Sequence[int] = ()) -> list[Followed]:
        """Log-probabilities of bare tokens, such as windows of a book, and what happens inside while they are read.

        Args:
            items: Tokens, each with its own edit; all share batches.
            watch: Blocks whose residual stream is averaged over the counted tokens.

        Raises:
            ConfigError: Nothing to predict, a layer the model does not have, or tokens that do not fit the context.
        """
        limit = self._info.context_tokens or 1 << 30
        for i, item in enumerate(items):
            if not 1 <= item.start < len(item.ids) <= limit:
                raise ConfigError(
                    "no tokens to follow", where=f"items[{i}]", found=f"start {item.start} of {len(item.ids)} tokens",
                    expected=f"1 <= start < tokens <= {limit}",
                )  # fmt: skip
        order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
        found: dict[int, Followed] = {}
        for begin in range(0, len(order), AT_ONCE):
            chunk = order[begin : begin + AT_ONCE]
            done = await self._in_thread(partial(self._follow_now, [items[i] for i in chunk], watch))
            found |= dict(zip(chunk, done, strict=True))
        return [found[i] for i in range(len(items))]

    @torch.inference_mode()
    def _follow_now(self, items: Sequence[Bare], watch: Sequence[int]) -> list[Followed]:
        return follow(self.batcher, items, watch)

    @torch.inference_mode()
    def _read_tokens_now(self, passages: Sequence[Passage], layers: Sequence[int]) -> list[Any]:
        return list(read_tokens(self.batcher, passages, layers))

    @torch.inference_mode()
    def _read_means_now(self, passages: Sequence[Passage], layers: Sequence[int]) -> list[Any]:
        return list(read_means(self.batcher, passages, layers))

    def history_ids(self, messages: Sequence[Message], *, edit: Edit | None = None) -> list[int]:
        """Tokens of a conversation up to its last assistant turn, as they are kept under ``edit``."""
        return self.template.turn_ids(messages, salt=salt_of(edit))[0]

    def n_tokens(self, text: str) -> int:
        """Tokens of a message's text."""
        return len(self.template.continuation_ids(text, include_end=False))

    @property
    def n_layers(self) -> int:
        """Blocks of the model."""
        return self.runner.n_layers

    @property
    def d_model(self) -> int:
        """Width of its residual stream."""
        return int(self.runner.config.hidden_size)


def salt_of(edit: Edit | None) -> bytes:
    """What keeps apart what is computed under an edit."""
    return b"" if edit is None else edit.fingerprint.encode()

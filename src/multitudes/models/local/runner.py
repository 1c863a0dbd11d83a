"""One forward pass over a batch of rows with known keys and values.

Keys and values lie in slots that are allocated once and written in place; a slot's position is stored beside it, so
holes, left padding and sliding windows are all one comparison of positions.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from multitudes.core.errors import UnsupportedModel
from multitudes.models.local.heap import give_back

# Model types whose layers take the mask, positions and cache that are built here; each one is tested.
SINGLE_MASK = frozenset({"llama", "mistral", "gemma", "gpt_neox", "olmo2"})
MASK_BY_LAYER = frozenset({"qwen2", "qwen3", "gemma2", "gemma3_text", "smollm3"})
LARGE_PASS = 1024  # tokens in one pass after which freed memory is given back; it takes seconds on a CPU
HOLE = -1  # position of a slot that holds nothing


class SlotCache:
    """Keys and values of a batch, in one tensor, written in place.

    Attributes:
        kv: (layers, 2, B, kv_heads, slots, d_head).
        positions: (B, slots) int64; ``HOLE`` where a slot holds nothing.
        used: Number of slots that were written or reserved.
    """

    def __init__(self, kv: torch.Tensor, positions: torch.Tensor, used: int) -> None:
        self.kv, self.positions, self.used = kv, positions, used
        self._writing = 0

    def reserve(self, positions: torch.Tensor) -> None:
        """Announce the next chunk: positions (B, n), ``HOLE`` for padding."""
        n = positions.shape[1]
        self.positions[:, self.used : self.used + n] = positions
        self.used, self._writing = self.used + n, n

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one layer's new keys and values, each (B, kv_heads, n, d_head), and return all used slots."""
        start = self.used - self._writing
        self.kv[layer, 0, :, :, start : self.used] = keys
        self.kv[layer, 1, :, :, start : self.used] = values
        return self.kv[layer, 0, :, :, : self.used], self.kv[layer, 1, :, :, : self.used]

    def rows(self, n: int) -> SlotCache:
        """The first ``n`` rows, sharing memory."""
        return SlotCache(self.kv[:, :, :n], self.positions[:n], self.used)


def grouped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention that never copies keys or values for grouped queries.

    The query heads of one key head become extra query rows: (B, kv_heads, groups · n, d).
    """
    batch, heads, n, width = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    rows = query.reshape(batch, kv_heads, groups * n, width)
    mask = attention_mask if n == 1 or groups == 1 else attention_mask.repeat(1, 1, groups, 1)
    if softcap is None:
        out = F.scaled_dot_product_attention(rows, key, value, attn_mask=mask, scale=scaling)
    else:
        weights = rows @ key.transpose(-1, -2) * (scaling if scaling is not None else width**-0.5)
        weights = torch.tanh(weights / softcap) * softcap + mask
        out = torch.softmax(weights, dim=-1) @ value
    return out.reshape(batch, heads, n, width).transpose(1, 2), None


class Runner:
    """A causal language model, ready for batches with known keys and values.

    Args:
        module: A ``transformers`` causal language model in eval mode. It belongs to the runner from here on: its
            attention no longer works when the module is called by itself.

    Raises:
        UnsupportedModel: A model type whose masks or caches are not known to work here.
    """

    def __init__(self, module: Any) -> None:
        config = module.config
        if config.model_type not in SINGLE_MASK | MASK_BY_LAYER:
            raise UnsupportedModel(
                f"model type {config.model_type!r} is not supported by the local engine",
                where=str(getattr(config, "_name_or_path", "")),
                expected="one of " + ", ".join(sorted(SINGLE_MASK | MASK_BY_LAYER)),
                hint="serve it with an OpenAI-compatible server and use http://HOST/v1#MODEL",
            )
        _register_attention()
        config._attn_implementation = "multitudes_grouped"
        self.module, self.config = module, config
        self.base = getattr(module, module.base_model_prefix)
        self.head = module.get_output_embeddings()
        self.dtype, self.device = module.dtype, module.device
        heads = config.num_attention_heads
        self.n_layers = int(config.num_hidden_layers)
        self.vocabulary = int(config.vocab_size)
        self.kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        self.d_head = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        self._window = getattr(config, "sliding_window", None)
        self._by_layer = config.model_type in MASK_BY_LAYER
        self._softcap = getattr(config, "final_logit_softcapping", None)

    @property
    def slot_bytes(self) -> int:
        """Memory of one token's keys and values in all layers."""
        return int(2 * self.n_layers * self.kv_heads * self.d_head * self.dtype.itemsize)

    def hidden(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        cache: SlotCache,
        *,
        around: AbstractContextManager[Any] | None = None,
    ) -> torch.Tensor:
        """Last hidden states (B, n, d_model) of a chunk of tokens.

        Args:
            ids: (B, n) token ids.
            positions: (B, n); ``HOLE`` marks padding, anywhere in the chunk.
            cache: Extended in place by the chunk.
            around: Entered around the forward pass: hooks that edit or watch (``editing.Plan.attached``).
        """
        cache.reserve(positions)
        slots = cache.positions[:, : cache.used]
        seen = (slots[:, None, :] != HOLE) & (slots[:, None, :] <= positions[:, :, None])
        full = self._additive(seen)
        mask: Any = full
        if self._window is not None:
            near = self._additive(seen & (positions[:, :, None] - slots[:, None, :] < self._window))
            mask = {"full_attention": full, "sliding_attention": near} if self._by_layer else near
        elif self._by_layer:
            mask = {"full_attention": full, "sliding_attention": full}
        with nullcontext() if around is None else around:
            out = self.base(
                input_ids=ids, position_ids=positions.clamp(min=0), attention_mask=mask, cache=cache, use_cache=True
            )
        hidden: torch.Tensor = out.last_hidden_state
        if ids.numel() >= LARGE_PASS and self.device.type == "cpu":
            give_back()
        return hidden

    def _additive(self, seen: torch.Tensor) -> torch.Tensor:
        """(B, n, slots) bool → (B, 1, n, slots) of 0 and the lowest finite number (padding rows must stay finite)."""
        mask = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(self.dtype).min)[:, None]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, d_model) → (n, vocabulary), float32 or the model's own wider type."""
        out: torch.Tensor = self.head(hidden)
        if self._softcap is not None:
            out = torch.tanh(out / self._softcap) * self._softcap
        return out if out.dtype == torch.float64 else out.float()


def _register_attention() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register("multitudes_grouped", grouped_attention)

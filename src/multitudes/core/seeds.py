"""One derivation of every seed, so that placement, order and concurrency cannot change a draw."""

from __future__ import annotations

import hashlib

import numpy as np

_SEPARATOR = "\x1f"  # cannot be part of an id, so ("a", "bc") and ("ab", "c") differ


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the parts that name a draw, by SHA-256.

    The parts of a reply are (study, persona, scenario, replicate, turn, side, purpose, attempt): the attempt is
    among them so that a redraw never repeats the rejected draw.

    >>> derive_seed("study", 1) == derive_seed("study", 1)
    True
    >>> derive_seed("study", 1) == derive_seed("study", "1")
    False
    """
    text = _SEPARATOR.join(f"{type(p).__name__[0]}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_rng(*parts: str | int) -> np.random.Generator:
    """A generator of its own for the draw that ``parts`` names."""
    return np.random.default_rng(derive_seed(*parts))

"""Canonical JSON and its hash: the same content has the same key everywhere."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any


def strict_values(value: Any) -> Any:
    """``value`` in what JSON has: NaN and infinities become strings, keys become strings, tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(k): strict_values(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict_values(v) for v in value]
    return value


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, and NaN as the string ``"NaN"`` (JSON itself has none)."""
    return json.dumps(
        strict_values(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_hash(value: Any, *, length: int = 64) -> str:
    """SHA-256 of the canonical JSON, the first ``length`` hex digits.

    >>> content_hash({"b": 1, "a": 2}, length=8) == content_hash({"a": 2, "b": 1}, length=8)
    True
    """
    text = canonical_json(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:length]

"""Proof that reading while writing gives what reading afterwards gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from multitudes.axis.conditions import Condition, conditions_of, messages_of
from multitudes.axis.errors import CaptureMismatch
from multitudes.axis.presets import Preset, questions_of
from multitudes.axis.roles import RoleSet
from multitudes.core.seeds import derive_seed
from multitudes.models.base import Request, Sampling, ScoreItem

RESPONSES = 64
LENGTHS = (5, 12, 20, 32)  # tokens; mixed, so that rows end at different steps
TOLERANCE = {"float64": 1e-6, "float32": 1e-5}  # relative error; means leave the device as float32
COSINE = {"float64": 0.99999, "float32": 0.99999}
LOOSE_COSINE = 0.999  # bfloat16 and float16


class CaptureCheck(NamedTuple):
    """Worst agreement of the two passes over all layers.

    Attributes:
        n: Responses compared.
        error: Largest relative error of a mean; 0 = equal.
        cosine: Smallest cosine; 1 = equal.
        layer: Where the error is largest.
        tokens: Counted tokens.
    """

    n: int
    error: float
    cosine: float
    layer: int
    tokens: int


async def check_capture(
    model: Any, everything: RoleSet, size: Preset, *, seed: int = 0, responses: int = RESPONSES
) -> CaptureCheck:
    """Write ``responses`` answers of mixed lengths while their means are summed; read the same tokens once more.

    The first pass is left-padded decoding with reused prefixes, the second one right-padded pass without any.

    Raises:
        CaptureMismatch: Beyond the tolerance of the model's number type: relative error 1e-5 and cosine .99999 in
            float32, cosine .999 in bfloat16.
    """
    conditions, questions = conditions_of(model, everything, size), questions_of(size, everything)
    layers = tuple(range(model.n_layers))
    cells = [(c, q) for q in questions for c in conditions]
    step = max(1, len(cells) // responses)
    chosen = cells[::step][:responses]
    requests = [
        Request(
            messages_of(c, q), Sampling(temperature=0.7, top_p=0.9, max_tokens=LENGTHS[i % len(LENGTHS)]),
            seed=derive_seed("capture", seed, i), keep=False, watch=layers,
        )
        for i, (c, q) in enumerate(chosen)
    ]  # fmt: skip
    replies = await model.reply(requests)
    usable = [i for i, r in enumerate(replies) if r.internals is not None and r.internals.n_tokens > 0]
    again = await model.read([_item(chosen[i], replies[i]) for i in usable], layers, mean=True)
    first = np.stack([replies[i].internals.means for i in usable]).astype(np.float64)
    second = np.stack(again).astype(np.float64)
    check = _compared(first, second, sum(replies[i].internals.n_tokens for i in usable))
    kind = str(model.info.dtype)
    if not (check.error <= TOLERANCE.get(kind, np.inf) and check.cosine >= COSINE.get(kind, LOOSE_COSINE)):
        raise CaptureMismatch(
            check.layer,
            check.error,
            "a template that rewrites earlier turns, dropout, a wrong mask, or another dtype",
        )
    return check


def _item(cell: tuple[Condition, Any], reply: Any) -> ScoreItem:
    return ScoreItem(messages_of(*cell), reply.text or " ", token_ids=reply.token_ids[:-1])


def _compared(first: Any, second: Any, tokens: int) -> CaptureCheck:
    size = np.linalg.norm(second, axis=2)
    error = np.linalg.norm(first - second, axis=2) / size
    cosine = (first * second).sum(axis=2) / (np.linalg.norm(first, axis=2) * size)
    worst = error.max(axis=0)
    return CaptureCheck(len(first), float(worst.max()), float(cosine.min()), int(worst.argmax()), tokens)


def layers_named(text: str, n_layers: int) -> Sequence[int]:
    """``15``, ``21-25`` or ``12,15`` as block numbers.

    >>> list(layers_named("21-23,25", 30))
    [21, 22, 23, 25]
    """
    from multitudes.core.errors import ConfigError

    out: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            out += range(int(first), int(last or first) + 1)
        except ValueError as error:
            raise ConfigError(
                "not layers", where="layers", found=repr(text), expected="such as 15 or 21-25"
            ) from error
    if not out or not all(0 <= k < n_layers for k in out):
        raise ConfigError("no such layer", where="layers", found=repr(text), expected=f"0 to {n_layers - 1}")
    return sorted(set(out))

"""What a collection leaves: answers without activations, sums, and projections; and how they lie on the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.adherence import IN_ROLE, Filter
from multitudes.axis.collected import Collected


class Step(NamedTuple):
    """How far a collection is: ``done`` of ``total`` parts of the pass ``name``."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, without its activations.

    Attributes:
        condition: Id of the condition.
        question: Id of the question.
        draw: Number of the draw.
        text: What was said.
        token_ids: Its tokens; the last was never read.
        n_tokens: Counted tokens.
        llr: Log-likelihood ratio, nats per token; NaN for arms without a role.
        score: 0 to 3; -1 = unscored. Arms without a role have 3.
        topic: Margin of the topic filter; NaN for an answer without words; None where there is no such filter.
    """

    condition: str
    question: str
    draw: int
    text: str
    token_ids: tuple[int, ...]
    n_tokens: int
    llr: float
    score: int
    topic: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it enters the mean of its role: wholly in role, and on its topic where that is asked."""
        return self.score == IN_ROLE and not self.off_topic

    @property
    def off_topic(self) -> bool:
        """Whether a topic filter drops it; one without words is not on a topic."""
        return self.topic is not None and not self.topic > 0


class Aim(NamedTuple):
    """Directions along which answers are projected while they are written.

    Attributes:
        unit: (L, d) one per block.
        beside: (K, d) others, to compare with, all at block ``layer``.
        layer: That block.
    """

    unit: NDArray[Any]
    beside: NDArray[Any]
    layer: int

    def __call__(self, means: NDArray[Any]) -> NDArray[np.float32]:
        """(L + K,) projections of one mean residual stream (L, d), in residual units."""
        wide = means.astype(np.float64)
        own, other = np.einsum("ld,ld->l", wide, self.unit), self.beside @ wide[self.layer]
        return np.concatenate([own, other]).astype(np.float32)


@dataclass(frozen=True)
class Collection:
    """What a collection leaves.

    Attributes:
        fixed: Sums of the fixed text.
        generated: Sums of the answers; kept roles' answers only, with ``unfiltered`` beside them.
        answers: All answers.
        theta: Threshold of the likelihood filter, nats per token; NaN with another filter.
        null: Log-likelihood ratios of the null.
        filter: How answers were filtered.
        projections: (answers, L + K) along an ``Aim``, NaN where an answer is too short; None without one.
        off_topic: Sums of answers that only the topic filter dropped, by role; None without such a filter. Added to
            ``generated`` they are what would have been kept without it.
        encoder: Name of the encoder of the topic filter; empty without one.
    """

    fixed: Collected
    generated: Collected
    answers: tuple[Answer, ...]
    theta: float
    null: tuple[float, ...]
    filter: Filter
    projections: NDArray[np.float32] | None = None
    off_topic: Collected | None = None
    encoder: str = ""


def read_answers(folder: Path) -> Iterable[Answer]:
    """Answers of a collection, in the order of asking."""
    for file in sorted(folder.glob("answers-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Answer(**{**row, "token_ids": tuple(row["token_ids"])})


def write_whole(path: Path, content: str | NDArray[Any]) -> None:
    """Write to a temporary name beside ``path``, to the disk, and rename: whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            if isinstance(content, str):
                stream.write(content.encode("utf-8", "surrogatepass"))
            else:
                np.save(stream, content, allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

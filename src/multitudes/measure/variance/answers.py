"""The answers of one arm, or of people: what every reading of a panel is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.variance.components import Cells, collect
from multitudes.measure.variance.wording import Worded

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ArmAnswers:
    """Answers of one arm, or of people.

    Attributes:
        score: (n,) numeric answers, or (n, K) one-hot rows of options without an order; NaN is unscored.
        persona: (n,) who answered.
        item: (n,) what was asked.
        run: (n,) which run; None where nobody numbered them.
        probs: (n, K) probability of each option, a one-hot row where one was given; NaN where unscored. None where
            answers are numbers without options.
        run_variance: (n,) variance of each answer's own option distribution. Given, ``probs`` are whole
            distributions (the exact form), one per persona and item.
        attributes: (n,) values by attribute, for people with known demographics.
        ordered: Whether options are steps of a scale.
        worded: The same answers with the way each question was put, where it was put in several.
        ends: Lowest and highest number an answer may be; None where nobody said.
        options: Names of the K options; empty where they have none.
        mass: (n,) probability that the model gave to the options at all, in exact form; None if unknown.
        lost: (n,) answers that went missing on the way, such as by a server's fault: nobody refused them. None if
            there are none.
    """

    score: FloatArray
    persona: NDArray[Any]
    item: NDArray[Any]
    run: NDArray[Any] | None = None
    probs: FloatArray | None = None
    run_variance: FloatArray | None = None
    attributes: Mapping[str, NDArray[Any]] | None = None
    ordered: bool = True
    worded: Worded | None = None
    ends: tuple[float, float] | None = None
    options: tuple[str, ...] = ()
    mass: FloatArray | None = None
    lost: NDArray[np.bool_] | None = None

    @property
    def exact(self) -> bool:
        """Whether answers are whole distributions."""
        return self.run_variance is not None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) whether an answer is there."""
        gone = np.isnan(self.score)
        return np.asarray(~(gone if self.score.ndim == 1 else gone.any(axis=1)))

    @property
    def refused(self) -> NDArray[np.bool_]:
        """(n,) whether an answer is not there although it was asked for and nothing went wrong on the way."""
        return np.asarray(~self.scored if self.lost is None else ~self.scored & ~self.lost)

    def cells(self) -> Cells:
        """The design as sums per persona and item."""
        run = None if self.exact else self.run
        return collect(self.score, self.persona, self.item, run=run, run_variance=self.run_variance)


def upside_down(answers: ArmAnswers, low: float, high: float) -> NDArray[np.bool_]:
    """(n,) whether the first option of an answer's item is the high end, as on a reversed item.

    Nobody says which items are reversed; their scores do: on such an item they fall from the first option to the
    last. An item answered in the middle of the scale alone counts as straight.

    Args:
        answers: With ``probs``, and scores on a scale.
        low: Lowest score.
        high: Highest score.
    """
    assert answers.probs is not None
    there = answers.scored
    _, item = np.unique(answers.item, return_inverse=True)
    k = answers.probs.shape[1]
    place = answers.probs[there] @ np.arange(k) - (k - 1) / 2
    lean = np.bincount(item[there], place * (answers.score[there] - (low + high) / 2), int(item.max()) + 1)
    return np.asarray((lean < 0)[item])

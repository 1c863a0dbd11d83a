"""What is left of the persona's share when the question may be put otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from numpy.typing import ArrayLike

from multitudes.core.errors import GaugeError
from multitudes.core.records import Score
from multitudes.measure.variance.coefficients import wording_robust_icc
from multitudes.measure.variance.facet_intervals import facet_interval
from multitudes.measure.variance.facets import collect_facets


class Worded(NamedTuple):
    """Answers with the way the question was put; arrays of one length.

    Attributes:
        nested: True where wordings are paraphrases of one item; False where every item was put in the same ways.
    """

    y: ArrayLike
    persona: ArrayLike
    item: ArrayLike
    wording: ArrayLike
    nested: bool
    run: ArrayLike | None = None
    run_variance: ArrayLike | None = None


def wording_score(given: Worded) -> Score:
    """``icc_wording``: the persona's share with wording counted as noise; None with the reason if unknown."""
    nested: Mapping[str, str] | None = {"wording": "item"} if given.nested else None
    how = "(σ²_p + σ²_pi) / all components that hold the persona, those with the wording too"
    try:
        cells = collect_facets(
            given.y, {"persona": given.persona, "item": given.item, "wording": given.wording}, nested=nested,
            run=given.run, run_variance=given.run_variance,
        )  # fmt: skip
        found = facet_interval(cells, wording_robust_icc)
    except GaugeError as error:
        return Score(gauge="variance", name="icc_wording", value=None, estimator=how, note=str(error).splitlines()[0])
    return Score(
        gauge="variance", name="icc_wording", value=found.value, low=found.low, high=found.high, n=found.n,
        unscored=found.unscored, null=0.0, direction="higher", unit="share", estimator=how, note=found.note,
        interval="personas and items, two-way delete-one jackknife" if found.low is not None else "",
    )  # fmt: skip

"""Are the runs of a study repeats at all? At temperature 0, from a cache or with a fixed seed they are not."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import CachedRunsError, NoRunVarianceError

SAME_RUNS = 0.99  # share of identical cells above which sampled runs look like copies
SAME_EXPECTED = 0.90  # unless the model is so sure that this share is expected

_INSTEAD = (
    "(a) take option probabilities at temperature 1, the exact form; (b) use wording or option order as the noise, "
    "and call it so; (c) report the spread found at temperature 0 as numerical non-determinism"
)


def identical_share(counts: ArrayLike) -> float | None:
    """Share of the cells asked more than once whose answers are all equal; None if nobody was asked twice.

    Args:
        counts: (I, P, K) answers by item, persona and option.

    >>> identical_share([[[2, 0], [1, 1]]])
    0.5
    """
    n = check_shape("counts", counts, "I P K")
    size = n.sum(axis=2)
    again = size > 1
    return float((n.max(axis=2)[again] == size[again]).mean()) if again.any() else None


def check_runs(identical: float | None, *, temperature: float, expected: float | None = None) -> None:
    """Refuse a run-based verdict where runs cannot differ, or did not although they could.

    Args:
        identical: Share of the repeated cells whose answers are all equal, as ``identical_share`` or
            ``components.identical_run_share`` give it; None or NaN if nobody was asked twice, and then only the
            temperature is checked.
        temperature: Sampling temperature of the runs.
        expected: Share of identical cells that the option probabilities predict; see
            ``option_information.expected_identical_share``. None if there are none.

    Raises:
        NoRunVarianceError: At temperature 0: run variance is 0 by construction and a persona share of 1 says nothing.
        CachedRunsError: If more than 99 % of the cells are identical and fewer than 90 % were expected to be, or
            nothing says so.
        GaugeError: On a temperature that is none.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise GaugeError("not a temperature", where="temperature", found=repr(temperature), expected="at least 0")
    if temperature == 0:
        raise NoRunVarianceError(
            "runs at temperature 0 do not differ, so they cannot show run noise",
            where="temperature",
            found="0",
            expected="above 0; headline at 1",
            hint=_INSTEAD,
        )
    if identical is None or np.isnan(identical) or identical <= SAME_RUNS:
        return
    if expected is not None and expected >= SAME_EXPECTED:
        return
    predicted = "option probabilities say nothing" if expected is None else f"{expected:.0%} were expected to be"
    raise CachedRunsError(
        "sampled runs are copies of each other",
        found=f"{identical:.1%} of the repeated cells are identical at temperature {temperature:g}; {predicted}",
        expected=f"at most {SAME_RUNS:.0%}, or option probabilities that predict at least {SAME_EXPECTED:.0%}",
        hint="switch off the response cache, draw a new seed for each run, or hand over the option probabilities",
    )

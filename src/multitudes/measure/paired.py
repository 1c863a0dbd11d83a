"""Two arms on the same items: who is right in one and wrong in the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from multitudes.core.checks import check_same_length
from multitudes.core.errors import GaugeError


class McNemar(NamedTuple):
    """Discordant pairs and their exact two-sided p-value.

    Attributes:
        lost: Right before, wrong after.
        gained: Wrong before, right after.
        p: Under "a discordant pair is as likely to be lost as gained"; 1 without any.
    """

    lost: int
    gained: int
    p: float


def exact_mcnemar(before: ArrayLike, after: ArrayLike) -> McNemar:
    """McNemar's test with the binomial distribution instead of a normal one: right at any number of pairs.

    Args:
        before: (n,) bool, right or not.
        after: (n,) bool, the same items.

    Source: McNemar 1947; the exact form doubles the smaller binomial tail.

    >>> exact_mcnemar([True] * 6 + [False], [False] * 6 + [False])
    McNemar(lost=6, gained=0, p=0.03125)
    """
    a, b = np.asarray(before), np.asarray(after)
    check_same_length(before=a, after=b)
    if a.dtype != np.bool_ or b.dtype != np.bool_:
        raise GaugeError("not right or wrong", where="before, after", found=f"{a.dtype}, {b.dtype}", expected="bool")
    lost, gained = int((a & ~b).sum()), int((~a & b).sum())
    tail = float(bdtr(min(lost, gained), lost + gained, 0.5)) if lost + gained else 1.0
    return McNemar(lost, gained, min(1.0, 2 * tail))

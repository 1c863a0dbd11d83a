"""Which blocks a cap works on."""

from __future__ import annotations

import math


def cap_window(n_layers: int) -> tuple[int, ...]:
    """Blocks of the default cap: from 70 % of the depth, 15 % wide, at least two.

    Published choices are 46 to 53 of 64 and 56 to 71 of 80 (arXiv 2601.10387); the rule is ours.

    >>> cap_window(30)
    (21, 22, 23, 24, 25)
    """
    start = math.floor(0.70 * n_layers + 0.5)
    width = max(2, math.floor(0.15 * n_layers + 0.5))
    start = max(0, min(start, n_layers - width))
    return tuple(range(start, min(n_layers, start + width)))

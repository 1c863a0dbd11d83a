"""Two-way intervals of whatever is computed from the components of a design with several facets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import ZeroVarianceError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.components import pair_sums
from multitudes.measure.variance.facets import (
    FacetCells,
    FacetComponents,
    Subset,
    admissible,
    components_of,
    group_code,
    group_table,
    solve,
    with_parents,
)
from multitudes.measure.variance.two_way import two_way_estimate

FloatArray = NDArray[np.float64]
FacetQuantity = Callable[[FacetComponents], Any]


def facet_without_each(cells: FacetCells, facet: str) -> FacetComponents:
    """Components of the design without each level of a facet in turn: values of shape (levels,).

    The same as computing each again, but linear in the number of cells: taking level j out removes the groups that
    lie inside it, and shrinks every other group by its part in j alone.

    Args:
        cells: The design.
        facet: The facet; with a level goes all that is nested in it.

    Raises:
        GaugeError: If the design has no such facet.
    """
    axis = cells.axis(facet)
    mine, size = cells.code[axis], cells.sizes[axis]
    at_least = {}
    for subset in admissible(cells.facets, cells.nested):
        code, groups = group_code(cells, subset)
        n, square, total = group_table(cells, code, groups)
        whole = np.stack(pair_sums(n, square, total))
        if facet in subset:
            level = np.zeros(groups, dtype=np.int64)
            level[code] = mine
            lost = whole
        else:
            part, parts = group_code(cells, _also(cells, subset, facet))
            level, group = np.zeros(parts, dtype=np.int64), np.zeros(parts, dtype=np.int64)
            level[part], group[part] = mine, code
            own_n, own_square, own_total = group_table(cells, part, parts)
            left = pair_sums(n[group] - own_n, square[group] - own_square, total[group] - own_total)
            lost = whole[:, group] - np.stack(left)
        removed = np.stack([np.bincount(level, row, size) for row in lost])
        at_least[subset] = whole.sum(axis=1, keepdims=True) - removed
    noise = None
    if cells.within is not None:
        remaining = len(mine) - np.bincount(mine, minlength=size)
        noise = (cells.within.sum() - np.bincount(mine, cells.within, size)) / np.maximum(remaining, 1)
    return solve(cells, at_least, noise)


def _also(cells: FacetCells, subset: Subset, facet: str) -> Subset:
    return with_parents({*subset, facet}, cells.facets, cells.nested)


def facet_interval(
    cells: FacetCells,
    quantity: FacetQuantity,
    *,
    persona: str = "persona",
    item: str = "item",
    level: float = 0.95,
) -> Estimate:
    """A function of the components with its two-way jackknife interval, V = V_persona + V_item.

    Personas and items are the two samples that the design generalises over; wordings, templates and runs stay inside
    them. Conservative: the noise of single answers is in both terms. No interval below 5 personas or 3 items, a flag
    below 10.

    Args:
        cells: The design.
        quantity: What to compute from ``FacetComponents``, of numbers or of arrays alike.
        persona: Name of the first sampled facet.
        item: Name of the second.
        level: Confidence level.

    Raises:
        ZeroVarianceError: If all answers are equal.
        GaugeError: If the quantity cannot be told from this design, or a facet is unknown.
    """
    found = components_of(cells)
    if not any(g > 0 for g in found.spread.values()):
        raise ZeroVarianceError(
            "all answers are equal: there is no variance to divide", found=f"{found.answers} answers"
        )
    value = float(quantity(found))
    if not np.isfinite(value):
        empty = [" and ".join(a) or "nothing" for a, k in found.pairs.items() if k == 0]
        raise GaugeError(
            "the quantity is not defined for this design",
            found=f"no two answers share exactly {'; '.join(empty)}" if empty else "a ratio of nothing to nothing",
            hint="ask a cell twice, or leave the facet out",
        )
    without = [np.asarray(quantity(facet_without_each(cells, f)), dtype=np.float64) for f in (persona, item)]
    return two_way_estimate(value, *without, level=level)._replace(unscored=cells.unscored)

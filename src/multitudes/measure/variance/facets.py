"""Components of variance for any set of crossed and nested facets: persona, item, wording, model.

The answers' pairs are sorted by the set of facets that the two share, as in ``components``, which is the case of
{persona, item}. A set is admissible if it holds the parent of each nested facet in it (two answers that share a
wording of an item share the item). Over the admissible sets:

    1. sums and numbers of the pairs that agree at least on A, from group sums, linear in the number of answers;
    2. from the largest A down, less those of every larger set: pairs that agree exactly on A, and their mean G_A;
    3. from the smallest B up: σ²_B = (G_∅ - G_B) - Σ σ²_A over ∅ ≠ A ⊊ B; σ²_e is the G of the full set.

Unbiased for any pattern of missing or unequal cells that does not depend on the effects. No balance is needed, but
pairs are: a set that no two answers share exactly has no G (NaN), and what rests on it is NaN as well.

Source: Koch's symmetric sums (1965) in squared-difference form; the recursion over sets is our own derivation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewItemsError, TooFewPersonasError
from multitudes.measure.stats import sum_by
from multitudes.measure.variance.components import cell_sums, pair_sums, refuse_islands, scored_answers, sum_rows_by

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Subset = tuple[str, ...]  # names of facets, in the order of the design

NOTHING: Subset = ()
_DENSE = 4  # groups per cell up to which a table of all combinations is cheaper than sorting
_TOO_FEW = {"persona": TooFewPersonasError, "item": TooFewItemsError}


class FacetCells(NamedTuple):
    """Answers summed up per filled combination of all facets; everything the estimator needs.

    Attributes:
        facets: Names of the facets, in the order given.
        nested: Parent of each nested facet.
        code: (F, C) level of each facet in each cell, 0..size-1; a nested facet's levels differ between parents.
        sizes: (F) levels of each facet.
        n: (C,) answers in the cell.
        total: (C, d) sum of the centred answers.
        square: (C,) sum of their squared norms.
        within: (C,) known run variance of the cell's distribution (exact form), else None.
        unscored: Answers left out because they were NaN.
    """

    facets: Subset
    nested: dict[str, str]
    code: IntArray
    sizes: tuple[int, ...]
    n: FloatArray
    total: FloatArray
    square: FloatArray
    within: FloatArray | None
    unscored: int

    def axis(self, facet: str) -> int:
        """Position of a facet.

        Raises:
            GaugeError: If the design has no such facet.
        """
        if facet not in self.facets:
            raise GaugeError("unknown facet", found=repr(facet), expected=" | ".join(self.facets))
        return self.facets.index(facet)


@dataclass(frozen=True)
class FacetComponents:
    """Components of one design, or of many at once (then values are arrays of one shape).

    Keys are tuples of facet names in the order of the design. Values are as estimated, negative ones too; NaN where
    the design has no pairs to tell.

    Attributes:
        facets: Names of the facets.
        nested: Parent of each nested facet.
        pairs: Unordered pairs of answers that share exactly these facets.
        spread: G, the mean of ½‖y - y'‖² over those pairs.
        sigma2: Variance component of each set but the empty one.
        run: σ²_e, between runs of one cell; NaN where no cell was asked twice.
        full_and_run: σ²_e and the component of the full set together, which one run per cell still gives.
        answers: Scored answers.
        cells: Filled combinations of all facets.
        repeated_cells: Those asked more than once; every cell in exact form.
        unscored: Answers left out because they were NaN.
    """

    facets: Subset
    nested: dict[str, str]
    pairs: dict[Subset, Any]
    spread: dict[Subset, Any]
    sigma2: dict[Subset, Any]
    run: Any
    full_and_run: Any
    answers: int
    cells: int
    repeated_cells: int
    unscored: int

    def subset(self, names: Iterable[str]) -> Subset:
        """The key of a set of facets, in whatever order they are named; parents of nested ones are added.

        Raises:
            GaugeError: If the design has no such facet.
        """
        wanted = set(names)
        unknown = wanted - set(self.facets)
        if unknown:
            raise GaugeError("unknown facet", found=", ".join(sorted(unknown)), expected=" | ".join(self.facets))
        return with_parents(wanted, self.facets, self.nested)

    def variance(self, *names: str) -> Any:
        """σ² of the set of these facets, parents of nested ones added."""
        return self.sigma2[self.subset(names)]


def with_parents(names: Iterable[str], facets: Subset, nested: Mapping[str, str]) -> Subset:
    """The smallest admissible set that holds these facets."""
    out = set(names)
    for name in list(out):
        while name in nested:
            name = nested[name]
            out.add(name)
    return tuple(f for f in facets if f in out)


def admissible(facets: Subset, nested: Mapping[str, str]) -> list[Subset]:
    """Every set of facets that holds the parents of its nested ones, the smallest first.

    >>> admissible(("item", "wording"), {"wording": "item"})
    [(), ('item',), ('item', 'wording')]
    """
    every = [s for k in range(len(facets) + 1) for s in combinations(facets, k)]
    return [s for s in every if with_parents(s, facets, nested) == s]


def facet_components(
    y: ArrayLike,
    facets: Mapping[str, ArrayLike],
    *,
    nested: Mapping[str, str] | None = None,
    run: ArrayLike | None = None,
    run_variance: ArrayLike | None = None,
) -> FacetComponents:
    """Variance components of answers under any crossed and nested facets; runs are what is left within a cell.

    Args:
        y: (n,) numbers, or (n, d) one-hot answers or unit vectors; an answer with a NaN is unscored and left out.
        facets: (n,) labels of each facet, by name.
        nested: Parent of each nested facet, such as ``{"wording": "item"}``. Its labels need only differ within one
            parent: the first wording of two items may both be called 0.
        run: (n,) run labels; only used to refuse an answer that is there twice.
        run_variance: (n,) run variance within each answer's option distribution; ``y`` is then its mean, one per
            cell, and no run noise enters: the exact form, R = ∞.

    Raises:
        TooFewPersonasError: If a facet called persona has one level.
        TooFewItemsError: If a facet called item has one level.
        DisconnectedDesignError: If two facets, neither of them nested, fall into groups that share nothing.
        DuplicateKeyError: If an answer of one cell and run is there twice.
        NotFiniteError: If a value is infinite, or a label is missing.
        GaugeError: On shapes that differ, a nesting that makes no sense, or another facet with one level.

    >>> found = facet_components([0.0, 1.0, 2.0, 3.0], {"persona": ["a", "a", "b", "b"], "item": [0, 1, 0, 1]})
    >>> found.sigma2["persona",]
    2.0
    """
    return components_of(collect_facets(y, facets, nested=nested, run=run, run_variance=run_variance))


def collect_facets(
    y: ArrayLike,
    facets: Mapping[str, ArrayLike],
    *,
    nested: Mapping[str, str] | None = None,
    run: ArrayLike | None = None,
    run_variance: ArrayLike | None = None,
) -> FacetCells:
    """Answers as sums per cell, checked; arguments and errors as in ``facet_components``."""
    names, parents = tuple(facets), dict(nested or {})
    _check_nesting(names, parents)
    answers = scored_answers(y, facets, run=run, run_variance=run_variance)
    levels = {name: np.unique(column, return_inverse=True) for name, column in answers.labels.items()}
    code = {name: inverse.astype(np.int64) for name, (_, inverse) in levels.items()}
    sizes = {name: len(labels) for name, (labels, _) in levels.items()}
    for name in sorted(parents, key=lambda child: len(with_parents([child], names, parents))):
        inside = code[parents[name]] * sizes[name] + code[name]
        own, code[name] = np.unique(inside, return_inverse=True)
        sizes[name] = len(own)
    _check_levels(names, parents, sizes)
    leaves = _leaves(names, parents)
    cell, _ = combined([code[f] for f in leaves], [sizes[f] for f in leaves])
    _, first, inverse, counts = np.unique(cell, return_index=True, return_inverse=True, return_counts=True)
    table = np.stack([code[f][first] for f in names])
    roots = [f for f in names if f not in parents]
    for a, b in combinations(roots, 2):
        labels = (levels[a][0], levels[b][0])
        refuse_islands(table[names.index(a)], table[names.index(b)], *labels, f"{a}s and {b}s")
    total, square, within = cell_sums(answers, inverse, counts)
    n = counts.astype(np.float64)
    return FacetCells(
        names, parents, table, tuple(sizes[f] for f in names), n, total, square, within, answers.unscored
    )


def _check_nesting(names: Subset, parents: Mapping[str, str]) -> None:
    if not names:
        raise GaugeError("components need at least one facet", where="facets", found="none")
    for child, parent in parents.items():
        for name in (child, parent):
            if name not in names:
                raise GaugeError("unknown facet", where="nested", found=repr(name), expected=" | ".join(names))
        above, name = {child}, child
        while name in parents:
            name = parents[name]
            if name in above:
                raise GaugeError("a facet is nested in itself", where="nested", found=repr(child))
            above.add(name)
    if "run" in names:
        raise GaugeError(
            "'run' is no facet: it is what is left within a cell", where="facets", hint="pass it as run="
        )


def _check_levels(names: Subset, parents: Mapping[str, str], sizes: Mapping[str, int]) -> None:
    for name in names:
        if name in parents and sizes[name] == sizes[parents[name]]:
            raise GaugeError(
                f"every {parents[name]} has a single {name}, so the two cannot be told apart",
                found=f"{sizes[name]} {name}s of {sizes[parents[name]]} {parents[name]}s",
                expected=f"two {name}s of some {parents[name]}, or no such facet",
            )
        if name not in parents and sizes[name] < 2:
            raise _TOO_FEW.get(name, GaugeError)(
                f"components need at least two {name}s",
                found=f"{sizes[name]} {name}s with a scored answer",
                hint="one item alone: one_way in measure/variance/anova.py" if name == "item" else None,
            )


def _leaves(subset: Subset, nested: Mapping[str, str]) -> list[str]:
    """The facets of an admissible set that fix all others in it."""
    above = {nested[f] for f in subset if f in nested}
    return [f for f in subset if f not in above]


def combined(codes: list[IntArray], sizes: list[int]) -> tuple[IntArray, int]:
    """One code for each combination of levels, and the number of codes; renumbered where most would be empty."""
    if not codes:
        raise GaugeError("no facet to combine")
    code, size = codes[0], sizes[0]
    for other, levels in zip(codes[1:], sizes[1:], strict=True):
        code, size = code * levels + other, size * levels
        if size > _DENSE * len(code):
            found, code = np.unique(code, return_inverse=True)
            size = len(found)
    return code, size


def group_code(cells: FacetCells, subset: Subset) -> tuple[IntArray, int]:
    """Code of each cell's group under an admissible set, and the number of codes."""
    axes = [cells.axis(f) for f in _leaves(subset, cells.nested)]
    if not axes:
        return np.zeros(len(cells.n), dtype=np.int64), 1
    return combined([cells.code[a] for a in axes], [cells.sizes[a] for a in axes])


def group_table(cells: FacetCells, code: IntArray, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """n, Σ‖y‖² and Σy of each of ``size`` groups of cells."""
    return sum_by(code, cells.n, size), sum_by(code, cells.square, size), sum_rows_by(code, cells.total, size)


def components_of(cells: FacetCells) -> FacetComponents:
    """Pair counts, G's and components of a design."""
    at_least = {}
    for subset in admissible(cells.facets, cells.nested):
        if subset == cells.facets:
            groups = (cells.n, cells.square, cells.total)
        else:
            groups = group_table(cells, *group_code(cells, subset))
        at_least[subset] = np.stack(pair_sums(*groups)).sum(axis=1)
    noise = None if cells.within is None else float(cells.within.mean())
    return solve(cells, at_least, noise)


def solve(cells: FacetCells, at_least: Mapping[Subset, FloatArray], noise: Any | None) -> FacetComponents:
    """Components from sum and number (first axis) of the ordered pairs that agree at least on each set.

    Args:
        cells: The design, for its names and counts.
        at_least: (2, ...) per admissible set.
        noise: Mean run variance, shape (...), in exact form; else None.
    """
    sets = admissible(cells.facets, cells.nested)
    exactly: dict[Subset, FloatArray] = {}
    for a in reversed(sets):
        exactly[a] = at_least[a] - sum(exactly[b] for b in sets if set(a) < set(b))
    spread: dict[Subset, Any] = {a: _mean(*exactly[a]) for a in sets}
    if noise is not None:
        spread = {a: g + noise for a, g in spread.items()} | {cells.facets: noise}
    nothing = spread[NOTHING]
    sigma2: dict[Subset, Any] = {}
    for b in sets[1:]:
        sigma2[b] = nothing - spread[b] - sum(sigma2[a] for a in sets[1:] if set(a) < set(b))
    rest = nothing - sum(sigma2[a] for a in sets[1:-1])
    repeated = len(cells.n) if cells.within is not None else int((cells.n > 1).sum())
    return FacetComponents(
        facets=cells.facets,
        nested=cells.nested,
        pairs={a: _number(np.maximum(exactly[a][1], 0.0) / 2) for a in sets},
        spread=spread,
        sigma2=sigma2,
        run=spread[cells.facets],
        full_and_run=rest,
        answers=int(cells.n.sum()),
        cells=len(cells.n),
        repeated_cells=repeated,
        unscored=cells.unscored,
    )


def _mean(top: Any, count: Any) -> Any:
    out = np.divide(top, count, out=np.full(np.shape(top), math.nan), where=np.asarray(count) > 0.5)
    return _number(out)


def _number(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value

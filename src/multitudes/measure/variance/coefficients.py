"""What the components say: shares that survive rewording, the reliability of a persona's mean, single items.

All functions of ``FacetComponents`` work on one design or on many at once (arrays), so that ``facet_interval`` can
take them. They return NaN where the design cannot tell: no pairs behind a component, or nothing to divide. Components
enter as estimated, so a share may be negative; only reliabilities, shares of a sum, count a negative part as 0.

Source: Cronbach et al. 1972 and Brennan 2001 (Eρ², Φ); Hays 1963 (ω²); the shares within an item are our own choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewItemsError, ZeroVarianceError
from multitudes.measure.stats import sum_by
from multitudes.measure.variance.anova import one_way_sums
from multitudes.measure.variance.components import Cells, group_sums, pair_sums
from multitudes.measure.variance.facets import FacetComponents, Subset

FloatArray = NDArray[np.float64]


def icc_within(found: FacetComponents, *, persona: str = "persona", item: str = "item") -> Any:
    """(σ²_p + σ²_pi) / (σ²_p + σ²_pi + σ²_e): persona share of the spread of one item in one wording; at most 1.

    With a wording facet the wordings' own variances are in neither part.
    """
    signal = _signal(found, persona, item)
    return _ratio(signal, signal + found.run)


def noise_to_signal(found: FacetComponents, *, persona: str = "persona", item: str = "item") -> Any:
    """ρ = σ²_e / (σ²_p + σ²_pi), lower is better; infinite where there is noise and no signal."""
    signal = _signal(found, persona, item)
    out = np.where((np.asarray(signal) <= 0) & (np.asarray(found.run) > 0), np.inf, _ratio(found.run, signal))
    return float(out) if out.ndim == 0 else out


def trait_share(found: FacetComponents, *, persona: str = "persona", item: str = "item") -> Any:
    """τ = σ²_p / (σ²_p + σ²_pi + σ²_e): share that is stable across items; at most 1."""
    return _ratio(found.variance(persona), _signal(found, persona, item) + found.run)


def wording_robust_icc(found: FacetComponents, *, persona: str = "persona", item: str = "item") -> Any:
    """Persona share of an item's spread that is left when the item may be worded, or asked, otherwise.

    The numerator is that of ``icc_within``. The denominator is every component that holds the persona: σ²_piv is
    added, and σ²_pv too where wordings (templates) are crossed with items. Defined for one run per wording as well,
    because the sum of σ²_piv and σ²_e is known then. At most ``icc_within``, but for sampling error of σ²_piv.
    """
    signal = _signal(found, persona, item)
    known = [v for a, v in found.sigma2.items() if persona in a and a != found.facets]
    return _ratio(signal, sum(known) + found.full_and_run)


def _signal(found: FacetComponents, persona: str, item: str) -> Any:
    return found.variance(persona) + found.variance(persona, item)


class Reliability(NamedTuple):
    """Of a persona's mean over a design.

    Attributes:
        relative: Eρ² in [0, 1]: how well the means rank personas.
        absolute: Φ in [0, 1]: how well a mean tells the persona's level; also loses what items and wordings add.
        clipped: Sets of facets whose negative component was counted as 0; ("run",) for runs.
    """

    relative: Any
    absolute: Any
    clipped: tuple[Subset, ...]


def reliability(
    found: FacetComponents, n: Mapping[str, int], *, runs: int = 1, persona: str = "persona"
) -> Reliability:
    """Eρ² and Φ of persona means over ``n`` levels of every other facet and ``runs`` runs a cell.

    Eρ² = σ²_p / (σ²_p + δ), Φ = σ²_p / (σ²_p + Δ). δ is the sum of the components that hold the persona and something
    else, each over the number of levels averaged (σ²_pi/n_i, σ²_piv/(n_i n_v), σ²_pv/n_v, σ²_e/(n_i n_v n_r)); Δ adds
    those without the persona (σ²_i/n_i, ...).

    Args:
        found: Components, with ``full_and_run`` known; where nobody was asked twice only ``runs=1`` can be told.
        n: Levels of each facet but the persona; of a nested one, per parent (wordings of an item).
        runs: Runs a cell.
        persona: The facet whose means are meant.

    Raises:
        GaugeError: If ``n`` does not name the other facets, or a number is below 1.
    """
    parts = _error_parts(found, n, runs, persona)
    trait = np.maximum(found.variance(persona), 0.0)
    relative = sum(v for a, v in parts.items() if persona in a)
    absolute = sum(parts.values())
    negative = [a for a, v in found.sigma2.items() if np.any(np.asarray(v) < 0)]
    return Reliability(_ratio(trait, trait + relative), _ratio(trait, trait + absolute), tuple(negative))


def _error_parts(found: FacetComponents, n: Mapping[str, int], runs: int, persona: str) -> dict[Subset, Any]:
    """Each component but the persona's, over the levels averaged; the run variance is with the full set."""
    if persona in found.nested:
        raise GaugeError("reliability is that of a facet that is not nested", where="persona", found=repr(persona))
    others = set(found.facets) - {*found.subset([persona])}
    if set(n) != others:
        raise GaugeError("'n' must name every facet but the persona", where="n", found=", ".join(sorted(n)) or "none",
                         expected=", ".join(sorted(others)))  # fmt: skip
    for name, value in {**n, "run": runs}.items():
        if value < 1:
            raise GaugeError("fewer than one level", where=name, found=str(value), expected="1 or more")

    def averaged(a: Subset) -> int:
        return math.prod(n[f] for f in a if f != persona)

    parts = {
        a: np.maximum(v, 0.0) / averaged(a) for a, v in found.sigma2.items() if a != (persona,) and a != found.facets
    }
    full = found.facets
    error = np.maximum(found.run, 0.0) / runs
    if full != (persona,):
        error = np.maximum(found.sigma2[full], 0.0) + error
        if runs == 1:
            error = np.where(np.isnan(error), np.maximum(found.full_and_run, 0.0), error)
    parts[full] = error / averaged(full)
    return parts


def levels_needed(
    found: FacetComponents,
    what: str,
    n: Mapping[str, int],
    *,
    runs: int = 1,
    wanted: float = 0.8,
    persona: str = "persona",
) -> int | None:
    """Fewest items (or wordings, or runs) for which persona means reach a relative reliability Eρ².

    Eρ² = σ²_p / (σ²_p + a + b/k) with b what shrinks with k, so k = b / (σ²_p (1 - ρ*)/ρ* - a): Spearman and Brown's
    form where a = 0. For a single item, where the persona's own reading of it is signal and not error, see
    ``runs_for_reliability`` in ``power``.

    Args:
        found: Components of one design.
        what: The facet whose levels are wanted, or "run".
        n: Levels of the other facets but the persona; that of ``what`` is ignored.
        runs: Runs a cell; ignored if they are wanted.
        wanted: ρ*, in (0, 1).
        persona: The facet whose means are meant.

    Returns:
        The number, or None if no number is enough.

    Raises:
        GaugeError: If ``wanted`` is out of range, ``what`` is unknown, or a component cannot be told.
    """
    if not 0 < wanted < 1:
        raise GaugeError(
            "a reliability lies between 0 and 1", where="wanted", found=repr(wanted), expected="in (0, 1)"
        )
    if what != "run" and (what == persona or what not in found.facets):
        raise GaugeError("unknown facet", where="what", found=repr(what), expected=" | ".join([*found.facets, "run"]))

    def error(k: int) -> float:
        levels = dict(n) if what == "run" else {**n, what: k}
        parts = _error_parts(found, levels, k if what == "run" else runs, persona)
        return float(sum(v for a, v in parts.items() if persona in a))

    shrinks = 2 * (error(1) - error(2))
    stays = error(1) - shrinks
    room = max(float(found.variance(persona)), 0.0) * (1 - wanted) / wanted - stays
    if not math.isfinite(room + shrinks):
        raise GaugeError("a component that is needed cannot be told from this design", found=f"NaN without {what}s")
    scale = abs(stays) + abs(shrinks)
    if room <= 1e-12 * scale:
        return None
    return max(1, math.ceil(shrinks / room * (1 - 1e-12)))


def omega_squared(y: ArrayLike, group: ArrayLike) -> float:
    """ω² = (SS_A - df_A MS_W) / (SS_T + MS_W): share of the spread that a fixed factor explains; null value 0.

    Never η² = SS_A/SS_T: without any effect its mean is (P-1)/(N-1), so it rises with the number of groups.

    Args:
        y: (n,) numbers or (n, d) vectors; NaN is unscored.
        group: (n,) level of the factor.

    Raises:
        TooFewPersonasError: If there are fewer than two groups.
        ZeroVarianceError: If all answers are equal.
        GaugeError: If no group has two answers.
    """
    s = one_way_sums(y, group)
    mean_square = s.within / s.df_within
    return (s.between - s.df_between * mean_square) / (s.between + s.within + mean_square)


class ItemShares(NamedTuple):
    """ICC_within of single items.

    Attributes:
        icc: (I,) per item, NaN where an item has none.
        low: 10 % quantile over the items that have one.
        median: 50 %.
        high: 90 %.
        at_most_half: Share of those items whose ICC is <= .5: run noise at least as large as persona signal.
        pooled: 1 - ΣG_e/ΣG_i over items, those without variance included.
        items: Items behind the quantiles.
        no_variance: Items whose answers are all equal: not in the quantiles, in ``pooled``.
        no_repeats: Items without two runs of one persona, or with one persona only: in neither.
    """

    icc: FloatArray
    low: float
    median: float
    high: float
    at_most_half: float
    pooled: float
    items: int
    no_variance: int
    no_repeats: int


def icc_by_item(cells: Cells) -> ItemShares:
    """How ICC_within differs between items; with few personas much of it is sampling error.

    Raises:
        TooFewItemsError: If no item has both repeats and two personas.
        ZeroVarianceError: If no item has any variance.
    """
    size = len(cells.items)
    inside, repeats = pair_sums(cells.n, cells.square, cells.total)
    inside, repeats = sum_by(cells.item, inside, size), sum_by(cells.item, repeats, size)
    whole, pairs = pair_sums(*group_sums(cells, cells.item, size))
    between = _ratio(np.maximum(whole - inside, 0.0), pairs - repeats)
    if cells.within is None:
        run = _ratio(inside, repeats)
    else:
        run = _ratio(sum_by(cells.item, cells.within, size), sum_by(cells.item, np.ones(len(cells.n)), size))
        between = between + run
    known = np.isfinite(run) & np.isfinite(between)
    if not known.any():
        raise TooFewItemsError("no item has two personas and two runs of one of them", found=f"{size} items")
    icc = 1 - _ratio(run, between)
    flat = known & ~((between > 0) | (run > 0))
    shown = icc[known & np.isfinite(icc)]
    if not len(shown):
        raise ZeroVarianceError("no item has any variance between personas", found=f"{int(known.sum())} items")
    low, median, high = np.quantile(shown, [0.1, 0.5, 0.9])
    return ItemShares(
        icc=np.where(known, icc, np.nan),
        low=float(low),
        median=float(median),
        high=float(high),
        at_most_half=float((shown <= 0.5).mean()),
        pooled=float(1 - run[known].sum() / between[known].sum()),
        items=len(shown),
        no_variance=int(flat.sum()),
        no_repeats=int((~known).sum()),
    )


def _ratio(top: Any, bottom: Any) -> Any:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    out = np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)
    return float(out) if out.ndim == 0 else out

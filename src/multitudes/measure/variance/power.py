"""What a design can show: power of tests of persona signal, standard errors of ICC_within, power of Q1 and Q2.

Everything assumes normal effects and a balanced design of P personas, I items, V wordings nested in each item, and R
runs. What an item does to everybody drops out. So four independent mean squares carry all there is:

    E(MS_p)   = IVR σ²_p + VR σ²_pi + R σ²_piv + σ²_e    df P - 1
    E(MS_pi)  =            VR σ²_pi + R σ²_piv + σ²_e    df (P - 1)(I - 1)
    E(MS_piv) =                       R σ²_piv + σ²_e    df (P - 1) I (V - 1)
    E(MS_e)   =                                  σ²_e    df PIV(R - 1)

The F powers are exact. Standard errors are first-order in these mean squares; simulation has no such limit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats as sps

from multitudes.core.errors import GaugeError
from multitudes.measure.variance.arms import delete_variance, half_width
from multitudes.measure.variance.questions import Margins, log_rho

FloatArray = NDArray[np.float64]

ALPHA = 0.05
TRAIT_SHARE = 1 / 3  # of the persona signal, where only an ICC is assumed; people: .08 (colours) and more
HUMAN_LOG_SE = 0.064  # of ln ρ, 475 people and 199 words asked twice: (ln 1.13 - ln 0.88)/(2 · 1.96)
PLACEBO_PERSONAS = 25
_NUMBERS_AT_ONCE = 4_000_000


class Design(NamedTuple):
    """How many of each; ``wordings`` are nested in items, runs in everything."""

    personas: int
    items: int
    wordings: int = 1
    runs: int = 2

    @property
    def calls(self) -> int:
        """P·I·V·R."""
        return self.personas * self.items * self.wordings * self.runs


DEFAULT = Design(50, 20, 2, 2)


class Assumed(NamedTuple):
    """Variance components that a study is planned for, in any one unit.

    Attributes:
        persona: σ²_p.
        interaction: σ²_pi.
        run: σ²_e.
        wording: σ²_piv, persona × wording within an item.
    """

    persona: float
    interaction: float
    run: float
    wording: float = 0.0

    @property
    def icc(self) -> float:
        """ICC_within = (σ²_p + σ²_pi)/(σ²_p + σ²_pi + σ²_e)."""
        return (self.persona + self.interaction) / (self.persona + self.interaction + self.run)

    def at_icc(self, icc: float) -> Assumed:
        """The same mix of persona and interaction, and the same total, at another ICC."""
        signal, total = self.persona + self.interaction, self.persona + self.interaction + self.run
        trait = self.persona / signal if signal > 0 else TRAIT_SHARE
        return from_icc(icc, trait_share=trait, total=total)._replace(wording=self.wording)


def from_icc(icc: float, *, trait_share: float = TRAIT_SHARE, total: float = 1.0) -> Assumed:
    """Components with a given ICC_within.

    Args:
        icc: In [0, 1).
        trait_share: σ²_p/(σ²_p + σ²_pi).
        total: σ²_p + σ²_pi + σ²_e.

    >>> from_icc(0.5, trait_share=0.1)
    Assumed(persona=0.05, interaction=0.45, run=0.5, wording=0.0)
    """
    if not 0 <= icc < 1:
        raise GaugeError("an assumed ICC is out of range", where="icc", found=repr(icc), expected="[0, 1)")
    return Assumed(total * icc * trait_share, total * icc * (1 - trait_share), total * (1 - icc))


def check_assumed(assumed: Assumed) -> None:
    """Refuse components that no study can have.

    Raises:
        GaugeError: If one is negative or not finite, or there is no run noise.
    """
    for name, value in assumed._asdict().items():
        low = "> 0" if name == "run" else ">= 0"
        if not math.isfinite(value) or value < 0 or (name == "run" and value == 0):
            raise GaugeError("an assumed component is out of range", where=name, found=repr(value), expected=low)


def check_design(design: Design) -> None:
    """Refuse a design in which nothing can be compared.

    Raises:
        GaugeError: Below three personas, three items, one wording or two runs.
    """
    for name, value, low in zip(design._fields, design, (3, 3, 1, 2), strict=True):
        if value < low:
            raise GaugeError("a design is too small", where=name, found=repr(value), expected=f">= {low}")


# --- F tests, exact -----------------------------------------------------------------------------------------


def one_item_power(personas: int, runs: int, icc: float, *, above: float = 0.0, alpha: float = ALPHA) -> float:
    """Power of the one-way F test on one item that ICC exceeds ``above``; 0 asks for any signal.

    P(F > (1 + R·above/(1 - above)) F_crit / (1 + R·ICC/(1 - ICC))), df P - 1 and P(R - 1). For ``above`` = .5 the
    critical value is (1 + R) F_crit. Exact for normal effects.

    >>> round(one_item_power(50, 5, 0.10), 2)
    0.64
    """
    df = (personas - 1, personas * (runs - 1))
    critical = (1 + runs * above / (1 - above)) * sps.f.isf(alpha, *df)
    return float(sps.f.sf(critical / (1 + runs * icc / (1 - icc)), *df))


def trait_power(assumed: Assumed, design: Design, *, alpha: float = ALPHA) -> float:
    """Power of the crossed F test, MS_p over MS_pi, that personas differ across items (σ²_p > 0).

    Exact for normal effects.
    """
    p, pi, _, _ = _expected(assumed, design)
    df = (design.personas - 1, (design.personas - 1) * (design.items - 1))
    return float(sps.f.sf(sps.f.isf(alpha, *df) * pi / p, *df))


def runs_for_reliability(icc: float, *, reliability: float = 0.8) -> int:
    """Runs after which a persona's mean on one item has this reliability (Spearman and Brown).

    >>> [runs_for_reliability(icc) for icc in (0.1, 0.3, 0.5)]
    [36, 10, 4]
    """
    return math.ceil(reliability * (1 - icc) / (icc * (1 - reliability)) - 1e-9)


# --- standard errors and their power, first order -----------------------------------------------------------


class ICCError(NamedTuple):
    """Standard errors of ICC_within.

    Attributes:
        sampling: How much the estimate varies, if items are all alike.
        by_item: The delete-one part of items.
        stated: What the two-way jackknife states, √(sampling² + by_item²): right where items differ, wide elsewhere.
    """

    sampling: float
    by_item: float
    stated: float


def _expected(a: Assumed, d: Design) -> FloatArray:
    one = a.run
    wording = d.runs * a.wording + one
    interaction = d.wordings * d.runs * a.interaction + wording
    return np.array([d.items * d.wordings * d.runs * a.persona + interaction, interaction, wording, one])


def measured_icc(assumed: Assumed, design: Design) -> float:
    """The ICC_within that a design estimates; with one wording its σ²_pi holds σ²_piv."""
    extra = assumed.wording if design.wordings == 1 else 0.0
    signal = assumed.persona + assumed.interaction + extra
    return signal / (signal + assumed.run)


def icc_error(assumed: Assumed, design: Design) -> ICCError:
    """Standard errors of ICC_within.

    Δ-method on the mean squares. The delete-one variance over items sees everything but σ²_p squared, which an item
    shares with all others.

    >>> [round(icc_error(from_icc(0.5), Design(p, 20)).stated, 3) for p in (25, 50)]
    [0.053, 0.037]
    """
    p, i, v, r = design
    mean = _expected(assumed, design)
    if v > 1:
        weights = np.array([1 / (i * v * r), (1 - 1 / i) / (v * r), -1 / (v * r), 0.0])
    else:
        weights = np.array([1 / (i * r), (1 - 1 / i) / r, 0.0, -1 / r])
    df = np.array([p - 1, (p - 1) * (i - 1), max((p - 1) * i * (v - 1), 1), p * i * v * (r - 1)])
    signal = float(weights @ mean)
    whole = signal + assumed.run
    slope = (weights * whole - signal * (weights + np.array([0, 0, 0, 1]))) / whole**2
    sampling = float((slope**2 * 2 * mean**2 / df).sum())
    trait = (assumed.run / whole**2) ** 2 * 2 * assumed.persona**2 / (p - 1)
    by_item = max(sampling - trait, 0.0)
    return ICCError(math.sqrt(sampling), math.sqrt(by_item), math.sqrt(sampling + by_item))


def noise_power(stated: float, icc: float, factor: float, *, human: float = HUMAN_LOG_SE) -> float:
    """Power of Q2 where the simulator's ρ equals people's, if the estimate varies as much as its interval says.

    2Φ(ln m / s - z_.95) - 1, never below 0, s² = (SE/(ICC(1 - ICC)))² + human². Cautious where items are alike: the
    estimate then varies less than the jackknife states.

    Args:
        stated: Standard error of ICC_within.
        icc: ICC_within.
        factor: Margin m in ρ.
        human: Standard error of people's ln ρ.

    >>> round(noise_power(0.053, 0.5, 2.0), 2)
    0.86
    """
    if not 0 < icc < 1:
        return 0.0  # ρ has no logarithm
    s = math.hypot(stated / (icc * (1 - icc)), human)
    return max(0.0, 2 * float(sps.norm.cdf(math.log(factor) / s - sps.norm.ppf(0.95))) - 1)


def signal_power(assumed: Assumed, placebo: Assumed, design: Design, *, placebo_personas: int) -> float:
    """Power of Q1 to first order: Φ((Δ - t·stated)/sampling), the permutation test taken for granted."""
    small = design._replace(personas=placebo_personas)
    errors = (icc_error(assumed, design), icc_error(placebo, small))
    sampling = math.hypot(*(e.sampling for e in errors))
    by_item = sum(e.by_item**2 for e in errors)
    sizes = (design.personas, placebo_personas)
    parts = [(e.sampling**2, n - 1.0) for e, n in zip(errors, sizes, strict=True)]
    half = float(half_width([*parts, (by_item, design.items - 1.0)], 0.95))
    delta = measured_icc(assumed, design) - measured_icc(placebo, small)
    return float(sps.norm.cdf((delta - half) / sampling))


# --- simulation ---------------------------------------------------------------------------------------------


class Power(NamedTuple):
    """Share of studies that support Q1, Q2 and both; Q2 is None without human repeats, and then both is Q1."""

    q1: float
    q2: float | None
    both: float


class Drawn(NamedTuple):
    """ICC_within of ``draws`` studies, (B,), with its values without each persona (B, P) and each item (B, I)."""

    value: FloatArray
    without_persona: FloatArray
    without_item: FloatArray


def draw_icc(assumed: Assumed, design: Design, *, draws: int, rng: np.random.Generator) -> Drawn:
    """ICC_within of balanced normal studies and its delete-one values, from cell means and cell variances.

    Equal to the pair estimator on the answers themselves. Memory grows with draws · P · I · V.
    """
    p, i, v, r = design
    shape = (draws, p, i)
    own = rng.normal(size=(draws, p, 1)) * assumed.persona**0.5 + rng.normal(size=shape) * assumed.interaction**0.5
    cell = own[..., None] + rng.normal(size=(*shape, v)) * (assumed.wording + assumed.run / r) ** 0.5
    run = rng.chisquare(v * (r - 1), size=shape) * assumed.run
    centred = cell - cell.mean(axis=1, keepdims=True)
    squares = (centred.mean(axis=3) ** 2, (centred**2).mean(axis=3))  # of means over wordings; of single wordings
    every = [x.sum(axis=(1, 2)) for x in squares]
    p_out = [  # sums of squares about the mean of those who are left
        whole[:, None] - p / (p - 1) * x.sum(axis=2) for whole, x in zip(every, squares, strict=True)
    ]
    i_out = [whole[:, None] - x.sum(axis=1) for whole, x in zip(every, squares, strict=True)]
    runs = run.sum(axis=(1, 2))
    return Drawn(
        _balanced_icc(every, runs, design),
        _balanced_icc(p_out, runs[:, None] - run.sum(axis=2), design._replace(personas=p - 1)),
        _balanced_icc(i_out, runs[:, None] - run.sum(axis=1), design._replace(items=i - 1)),
    )


def _balanced_icc(squares: list[FloatArray], run: FloatArray, design: Design) -> FloatArray:
    """ICC_within from sums of squares: of means over wordings, of single wordings (their mean), and of runs.

    Per item the first holds σ²_p + σ²_pi + (σ²_piv + σ²_e/R)/V, the second σ²_p + σ²_pi + σ²_piv + σ²_e/R.
    """
    p, i, v, r = design
    noise = run / (p * i * v * (r - 1))
    between, single = (x / ((p - 1) * i) for x in squares)
    signal = (v * between - single) / (v - 1) if v > 1 else single - noise / r
    return np.asarray(signal / (signal + noise))


def simulate_power(
    assumed: Assumed,
    placebo: Assumed,
    design: Design,
    *,
    placebo_personas: int = PLACEBO_PERSONAS,
    human: float | None = HUMAN_LOG_SE,
    margins: Margins = Margins(),  # noqa: B008 - frozen
    draws: int = 200,
    seed: int = 0,
) -> Power:
    """Power of Q1 and Q2 as the verdict takes them: jackknife intervals on normal studies.

    Q2 is simulated where people's ρ equals the simulator's. Q1's permutation test is taken for granted: with a lower
    limit above 0 it does not fail.

    Args:
        assumed: The persona arm.
        placebo: The random-text arm.
        design: Its I, V and R are those of both arms.
        placebo_personas: Random texts.
        human: Standard error of people's ln ρ; None without human repeats.
        margins: ``q2``.
        draws: Studies.
        seed: Seed of the draws.
    """
    check_assumed(assumed)
    check_assumed(placebo)
    check_design(design)
    rng = np.random.default_rng(seed)
    block = max(1, _NUMBERS_AT_ONCE // design._replace(runs=1).calls)
    target = float(log_rho(measured_icc(assumed, design)))
    hits = []
    for start in range(0, draws, block):
        b = min(block, draws - start)
        ours = draw_icc(assumed, design, draws=b, rng=rng)
        other = draw_icc(placebo, design._replace(personas=placebo_personas), draws=b, rng=rng)
        if human is None or not math.isfinite(target):  # without any signal there is no ρ to equal
            q2 = np.full(b, human is None)
        else:
            q2 = _human_like(ours, target + human * rng.normal(size=b), human, margins.q2)
        hits.append(np.stack([_exceeds(ours, other), q2]))
    q1, q2 = np.concatenate(hits, axis=1)
    return Power(float(q1.mean()), None if human is None else float(q2.mean()), float((q1 & q2).mean()))


def _variances(*fields: FloatArray) -> list[tuple[FloatArray, float]]:
    return [(delete_variance(x), x.shape[-1] - 1.0) for x in fields]


def _exceeds(ours: Drawn, other: Drawn) -> NDArray[np.bool_]:
    by_item = ours.without_item - other.without_item
    half = half_width(_variances(ours.without_persona, other.without_persona, by_item), 0.95)
    return np.asarray(ours.value - other.value > half)


def _human_like(ours: Drawn, people: FloatArray, human: float, factor: float) -> NDArray[np.bool_]:
    """Whether the 90 % interval of λ lies within the margin; which interval is as in the verdict."""
    values, parts = tuple(ours), _variances(ours.without_persona, ours.without_item)
    fine = np.all([((x > 0) & (x < 1)).reshape(len(x), -1).all(axis=1) for x in values], axis=0)
    reach = half_width(parts, 0.95)
    fine &= (ours.value - reach > 0) & (ours.value + reach < 1)
    value, *without = (log_rho(np.where(fine.reshape(-1, *[1] * (x.ndim - 1)), x, 0.5)) for x in values)
    known = (np.asarray(human**2), math.inf)
    half, reach, slack = (half_width(v, 0.90) for v in ([*_variances(*without), known], parts, [known]))
    low = np.where(fine, value - half, log_rho(ours.value + reach) - slack) - people
    high = np.where(fine, value + half, log_rho(ours.value - reach) + slack) - people
    return np.asarray((low > -math.log(factor)) & (high < math.log(factor)))

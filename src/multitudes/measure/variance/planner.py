"""How many personas, items, wordings and runs: what they cost, and the cheapest design that can decide.

The persona arm of a design P x I x V x R is asked beside three arms of 25 texts on the same items, wordings and runs:
no persona, random texts, shuffled personas. Powers are first screened by formula; the cheapest designs that pass are
simulated, three at a time, and the cheapest of those that pass again is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

from multitudes.core.errors import GaugeError
from multitudes.core.records import Usage
from multitudes.measure.variance.components import Components
from multitudes.measure.variance.power import (
    DEFAULT,
    HUMAN_LOG_SE,
    PLACEBO_PERSONAS,
    Assumed,
    Design,
    Power,
    check_assumed,
    icc_error,
    measured_icc,
    noise_power,
    signal_power,
    simulate_power,
)
from multitudes.measure.variance.questions import Margins
from multitudes.measure.variance.verdict import Enough
from multitudes.models.budget import Prices

PERSONAS = (15, 20, 25, 30, 40, 50, 75, 100, 150, 200)
ITEMS = (10, 15, 20, 30, 40)
WORDINGS = (1, 2)
RUNS = (2, 3, 5)
GRID = tuple(Design(*sizes) for sizes in product(PERSONAS, ITEMS, WORDINGS, RUNS))
PILOT = Design(10, 10, 1, 5)
PLACEBO_ICC = 0.10  # of random texts, where nothing is known about them
AT_ONCE = 3  # designs simulated before asking whether one passed


class Tokens(NamedTuple):
    """Tokens of one persona text, one item, one answer."""

    persona: int = 150
    item: int = 60
    answer: int = 8


class Rates(NamedTuple):
    """Tokens per second, read and written."""

    prefill: float
    decode: float


EMBEDDED = Rates(293.0, 124.0)  # of the embedded model, per CPU-second


class Cost(NamedTuple):
    """What a design asks for.

    Attributes:
        calls: Model calls, Σ P·I·V·R over arms.
        prompt: Prompt tokens as sent.
        prefill: Those that an engine has to read: with prefix reuse, each persona text once.
        decode: Tokens of the answers.
        seconds: prefill / rate + decode / rate.
        usd: Prompt and answer tokens at their prices; None without prices.
    """

    calls: int
    prompt: int
    prefill: int
    decode: int
    seconds: float
    usd: float | None


def arm_cost(
    design: Design,
    tokens: Tokens = Tokens(),  # noqa: B008 - frozen
    *,
    rates: Rates = EMBEDDED,
    prices: Prices | None = None,
    prefix_reuse: bool = True,
    told: bool = True,
) -> Cost:
    """Cost of one arm.

    Args:
        design: P, I, V and R of the arm.
        tokens: Lengths.
        rates: Speed.
        prices: Money.
        prefix_reuse: Whether the engine reads a text that many calls share only once.
        told: Whether there is a persona text at all.

    >>> round(arm_cost(DEFAULT).seconds / 60), round(arm_cost(DEFAULT, prefix_reuse=False).seconds / 60)
    (18, 52)
    """
    calls, text = design.calls, tokens.persona if told else 0
    prompt, decode = calls * (text + tokens.item), calls * tokens.answer
    prefill = design.personas * text + calls * tokens.item if prefix_reuse else prompt
    usd = None if prices is None else prices.cost_usd(Usage(prompt=prompt, completion=decode))
    return Cost(calls, prompt, prefill, decode, prefill / rates.prefill + decode / rates.decode, usd)


def study_cost(
    design: Design,
    tokens: Tokens = Tokens(),  # noqa: B008 - frozen
    *,
    rates: Rates = EMBEDDED,
    prices: Prices | None = None,
    prefix_reuse: bool = True,
    placebo_personas: int = PLACEBO_PERSONAS,
) -> Cost:
    """Cost of the persona arm and the three arms beside it; arguments as ``arm_cost``.

    >>> study_cost(DEFAULT).calls
    10000
    """
    small = design._replace(personas=placebo_personas)
    arms = [
        arm_cost(d, tokens, rates=rates, prices=prices, prefix_reuse=prefix_reuse, told=told)
        for d, told in ((design, True), (small, False), (small, True), (small, True))
    ]
    calls, prompt, prefill, decode = (sum(getattr(a, f) for a in arms) for f in Cost._fields[:4])
    usd = None if prices is None else sum(a.usd or 0.0 for a in arms)
    return Cost(calls, prompt, prefill, decode, sum(a.seconds for a in arms), usd)


class Choice(NamedTuple):
    """A design with its cost and its powers: by formula, and simulated where that was done."""

    design: Design
    cost: Cost
    formula: Power
    simulated: Power | None = None


class Plan(NamedTuple):
    """The planner's answer.

    Attributes:
        assumed: Components of the persona arm.
        placebo: Components of the random-text arm.
        best: The cheapest design with enough power; None if none of the grid has it.
        unfavourable: Power of ``best`` at the unfavourable end of the ICC; None if no end was given.
        alternatives: The cheapest design of every number of wordings and runs that passes by formula, and the default
            design; cheapest first. Where none passes, the strongest of the grid.
    """

    assumed: Assumed
    placebo: Assumed
    best: Choice | None
    unfavourable: Power | None
    alternatives: tuple[Choice, ...]

    @property
    def enough(self) -> Enough | None:
        """The design that would decide, as a verdict names it."""
        if self.best is None:
            return None
        d = self.best.design
        return Enough(d.personas, d.items, d.runs, self.best.cost.usd)


def from_pilot(found: Components) -> Assumed:
    """Components of a pilot of 10 x 10 x 1 x 5 as assumptions; negative ones count as 0.

    Raises:
        GaugeError: If the pilot had no repeats, or no run noise.
    """
    assumed = Assumed(max(found.persona, 0.0), max(found.interaction, 0.0), found.run)
    check_assumed(assumed)
    return assumed


def formula_power(
    assumed: Assumed,
    placebo: Assumed,
    design: Design,
    *,
    placebo_personas: int = PLACEBO_PERSONAS,
    human: float | None = HUMAN_LOG_SE,
    margins: Margins = Margins(),  # noqa: B008 - frozen
) -> Power:
    """Power of Q1 and Q2 to first order; both as if they were independent. Arguments as ``simulate_power``."""
    q1 = signal_power(assumed, placebo, design, placebo_personas=placebo_personas)
    if human is None:
        return Power(q1, None, q1)
    q2 = noise_power(icc_error(assumed, design).stated, measured_icc(assumed, design), margins.q2, human=human)
    return Power(q1, q2, q1 * q2)


def plan(
    assumed: Assumed,
    *,
    icc_low: float | None = None,
    placebo_icc: float = PLACEBO_ICC,
    power: float = 0.8,
    human: float | None = HUMAN_LOG_SE,
    margins: Margins = Margins(),  # noqa: B008 - frozen
    tokens: Tokens = Tokens(),  # noqa: B008 - frozen
    rates: Rates = EMBEDDED,
    prices: Prices | None = None,
    prefix_reuse: bool = True,
    grid: Iterable[Design] = GRID,
    draws: int = 200,
    seed: int = 0,
) -> Plan:
    """The cheapest design in which Q1 and Q2 are both supported with probability ``power``.

    Cheapest in money where there are prices, else in time.

    Args:
        assumed: Components of the persona arm, from a pilot or a guess.
        icc_low: Unfavourable end of ICC_within; the best design's power is simulated there too.
        placebo_icc: ICC_within of random texts, same mix.
        power: Probability that both are supported.
        human: Standard error of people's ln ρ; None without human repeats, and then Q1 alone counts.
        margins: Of the verdict.
        tokens: Lengths.
        rates: Speed.
        prices: Money.
        prefix_reuse: Whether the engine reads shared prefixes once.
        grid: Designs to choose among.
        draws: Simulated studies per design; at power .8 and 200 draws the error is ± .03.
        seed: Seed of the simulations.

    Raises:
        GaugeError: If a number is out of range, or the assumed ICC is not above that of random texts.
    """
    check_assumed(assumed)
    if not 0 < power < 1:
        raise GaugeError("a power is out of range", where="power", found=repr(power), expected="(0, 1)")
    placebo = assumed.at_icc(placebo_icc)
    if not assumed.icc > placebo_icc:
        raise GaugeError(
            "no design can show more signal than placebo where there is none",
            where="icc",
            found=f"ICC_within {assumed.icc:.3g} assumed, {placebo_icc:.3g} for random texts",
            expected="an ICC above that of random texts",
        )

    def simulated(at: Assumed, design: Design) -> Power:
        return simulate_power(at, placebo, design, human=human, margins=margins, draws=draws, seed=seed)

    def price(choice: Choice) -> tuple[float, int]:
        cost = choice.cost
        return (cost.seconds if cost.usd is None else cost.usd), cost.calls

    choices = sorted(
        (
            Choice(
                d,
                study_cost(d, tokens, rates=rates, prices=prices, prefix_reuse=prefix_reuse),
                formula_power(assumed, placebo, d, human=human, margins=margins),
            )
            for d in dict.fromkeys((*grid, DEFAULT))
        ),
        key=price,
    )
    passing = [c for c in choices if c.formula.both >= power]
    best = None
    done: dict[Design, Choice] = {}
    for start in range(0, len(passing), AT_ONCE):
        tried = [c._replace(simulated=simulated(assumed, c.design)) for c in passing[start : start + AT_ONCE]]
        done |= {c.design: c for c in tried}
        best = next((c for c in tried if c.simulated is not None and c.simulated.both >= power), None)
        if best is not None:
            break
    low = None if best is None or icc_low is None else simulated(assumed.at_icc(max(icc_low, 0.0)), best.design)
    shown = _alternatives(choices, passing)
    return Plan(assumed, placebo, best, low, tuple(done.get(c.design, c) for c in shown))


def _alternatives(choices: list[Choice], passing: list[Choice]) -> list[Choice]:
    """Cheapest first, as ``choices`` and ``passing`` are."""
    chosen = {(c.design.wordings, c.design.runs): c.design for c in reversed(passing)}
    wanted = {*chosen.values(), DEFAULT, *(c.design for c in passing[:AT_ONCE])}
    if not passing:
        wanted.add(max(choices, key=lambda c: c.formula.both).design)
    return [c for c in choices if c.design in wanted]

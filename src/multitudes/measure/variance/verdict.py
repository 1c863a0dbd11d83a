"""May this panel stand in for people? One state and one sentence, in words that are fixed here.

No caller can call a wide interval an absence, or a signal alone a likeness to people: the sentence is made of the
states of the four questions and of numbers, and of nothing else.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from multitudes.measure.errors import MissingPlaceboError, RunDependenceError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.arms import ArmICC, Interval, arm_parts, around, icc_difference, no_interval
from multitudes.measure.variance.questions import (
    Answered,
    Margins,
    Question,
    distribution,
    human_like_noise,
    no_stereotyping,
    signal,
)

__all__ = ["Answered", "Arms", "Enough", "Margins", "Verdict", "judge"]

State = Literal["supported", "not supported", "underpowered"]

NEGLIGIBLE = 1e-4  # ICC of calls without any persona below which only rounding between batches is left
NONE_LEVEL = 0.99  # of the interval by which the arm without personas is judged
_TITLES: dict[Question, tuple[str, str]] = {
    "Q1": ("signal", "Δ"),
    "Q2": ("human-like noise", "λ"),
    "Q3": ("no stereotyping", "difference of R²_demo"),
    "Q4": ("distribution", "distance over floor"),
}
_SIDES: dict[Question, tuple[str, str, str]] = {
    "Q1": ("ICC_within", "personas", "random texts"),
    "Q2": ("ρ", "simulator", "people"),
    "Q3": ("R²_demo", "simulator", "people"),
    "Q4": ("", "", ""),
}


class Arms(NamedTuple):
    """The arms of one study: same items, wordings, runs and decoding in each.

    Attributes:
        persona: The personas under test.
        none: No persona; calls split into pseudo-personas. Its true ICC is 0.
        random_text: Texts that describe nobody, each reused over items and runs.
        shuffled: The words of each persona in random order.
        demographics: The demographic line alone.
    """

    persona: ArmICC
    none: ArmICC | None = None
    random_text: ArmICC | None = None
    shuffled: ArmICC | None = None
    demographics: ArmICC | None = None


class Enough(NamedTuple):
    """The design that would decide, from the planner."""

    personas: int
    items: int
    runs: int
    usd: float | None = None


class Verdict(NamedTuple):
    """The verdict.

    Attributes:
        state: Supported only if every assessed question is; not supported if one is; else underpowered.
        sentence: The one sentence.
        answers: Q1 to Q4.
        lines: What stands under the sentence: each answer with its numbers, the other arms, the margins, the waiver.
        margins: As given.
        waiver: Why arms are missing, in the words of whoever left them out.
    """

    state: State
    sentence: str
    answers: tuple[Answered, ...]
    lines: tuple[str, ...]
    margins: Margins
    waiver: str


def judge(
    arms: Arms,
    *,
    p: float,
    human: ArmICC | Estimate | None = None,
    demographics: Estimate | None = None,
    human_demographics: Estimate | None = None,
    distance: Estimate | None = None,
    margins: Margins = Margins(),  # noqa: B008 - frozen
    enough: Enough | None = None,
    waiver: str = "",
) -> Verdict:
    """The verdict on a study whose runs are runs: see ``runs.check_runs``, which comes first.

    Args:
        arms: ICC_within of each arm.
        p: Permutation p-value of persona signal in the persona arm, already adjusted over data types.
        human: People's ICC_within on the same items, or their ρ with its interval; None where nobody was asked twice.
        demographics: R²_demo of the persona arm.
        human_demographics: R²_demo of people.
        distance: Distance to people over the split-half floor.
        margins: Fixed before the data.
        enough: The design that would decide; printed if this one does not.
        waiver: Why ``none`` or every placebo is missing. Without a reason that is refused; with one it is printed.

    Without a random-text arm Q1 is not assessed, and then nothing is supported: what any text would do is unknown.

    Raises:
        MissingPlaceboError: If ``none``, or every other placebo, is missing without a waiver.
        RunDependenceError: If the ``none`` arm shows persona signal, positive or negative, beyond its 99 % limit.
        GaugeError: If arms were asked different items, or a number is not one.
    """
    check_placebos(arms, waiver)
    none = check_none_arm(arms.none)
    if arms.random_text is None:
        q1 = Answered("Q1", "not assessed", reason="no arm with random texts")
    else:
        q1 = signal(arms.persona, arms.random_text, p=p, margins=margins)
    answers = (
        q1,
        human_like_noise(arms.persona, human, margins=margins),
        no_stereotyping(demographics, human_demographics, margins=margins),
        distribution(distance, margins=margins),
    )
    state = overall(answers)
    lines = (*(_line(a) for a in answers), *none, *_other_arms(arms), _margin_line(margins), *_waived(waiver))
    return Verdict(state, sentence(state, answers, enough), answers, lines, margins, waiver)


def check_placebos(arms: Arms, waiver: str) -> None:
    """Refuse a study that cannot tell a persona from any text. Placebos are random texts and shuffled personas.

    Raises:
        MissingPlaceboError: If ``none``, or every other placebo, is missing and no reason is given.
    """
    missing = ["none"] if arms.none is None else []
    missing += ["random_text"] if arms.random_text is None and arms.shuffled is None else []
    if missing and not waiver.strip():
        raise MissingPlaceboError(
            "no verdict about personas without the arms that show what any prompt would do",
            where="arms",
            found=f"no {' and no '.join(repr(m) for m in missing)} arm",
            expected="'none' and one placebo on the same items",
            hint="add the arms, or waive them with a reason, which the report prints",
        )


def check_none_arm(none: ArmICC | None) -> tuple[str, ...]:
    """The line about the arm without personas, in which any signal is dependence between calls.

    A value below 0 is as telling as one above: a seed or cache entry per run, shared by the pseudo-personas, makes
    answers of one run agree across them.

    Raises:
        RunDependenceError: If the 99 % interval leaves out 0.
    """
    if none is None:
        return ()
    if why := no_interval(none):
        return (f"arm without personas: ICC_within {_number(none.value)}; {why}: dependent calls could not be seen",)
    low, high = around(none.value, arm_parts(none), NONE_LEVEL)
    found = f"ICC_within {_number(none.value)}, 99 % interval {_pair(Interval(low, high))}"
    if (low > 0 or high < 0) and abs(none.value) > NEGLIGIBLE:
        raise RunDependenceError(
            "calls without any persona depend on each other, so the study is invalid",
            where="none arm",
            found=found,
            expected="an interval that holds 0",
            hint="look for a response cache, fixed seeds, or a provider that changed during the study",
        )
    return (f"arm without personas: {found}, holds 0 as it must",)


def overall(answers: tuple[Answered, ...]) -> State:
    """Supported only if every assessed question is, signal among them; not supported if one is; else underpowered."""
    states = {a.state for a in answers}
    if "not supported" in states:
        return "not supported"
    signal_shown = any(a.question == "Q1" and a.state == "supported" for a in answers)
    return "supported" if signal_shown and states <= {"supported", "not assessed"} else "underpowered"


def sentence(state: State, answers: tuple[Answered, ...], enough: Enough | None) -> str:
    """The one sentence. It is made of fixed words and numbers only.

    Where Q2 is not assessed its clause is dropped; it is never replaced by a comparison of ρ with 1.
    """
    delta, ratio = _clauses(answers)
    if state == "supported":
        noise = f", and the noise ratio is human-like ({ratio})" if ratio else ""
        return f"Supported: between-persona differences exceed run noise and placebo ({delta}){noise}."
    if state == "not supported":
        numbers = ", ".join(x for x in (delta, ratio) if x)
        why = " and ".join(a.reason for a in answers if a.state == "not supported")
        found = f" ({numbers})" if numbers else ""
        return f"Not supported: this panel does not stand in for people{found}, because {why}."
    if enough is None:
        return "Underpowered: the data cannot tell, and no design that the planner tried would."
    cost = "" if enough.usd is None else f" (cost {enough.usd:,.2f} USD)"
    design = f"P = {enough.personas}, I = {enough.items}, R = {enough.runs}"
    return f"Underpowered: the data cannot tell; {design}{cost} would."


def _clauses(answers: tuple[Answered, ...]) -> tuple[str, str]:
    """Numbers of Q1 and Q2 as the sentence shows them, each empty where not assessed."""
    by = {a.question: a for a in answers}
    q1, q2 = by["Q1"], by["Q2"]
    delta = "" if q1.value is None else f"Δ = {_number(q1.value)}"
    ratio = "" if q2.ours is None else f"ρ = {_number(q2.ours)} against {_number(q2.reference)}"
    return delta, ratio


def _number(x: float | None) -> str:
    if x is None:
        return "none"
    return f"{x:.2f}".replace("-", "−") if math.isfinite(x) else ("∞" if x > 0 else "−∞")


def _pair(interval: Interval) -> str:
    return f"[{_number(interval.low)}, {_number(interval.high)}]"


def _line(a: Answered) -> str:
    title, symbol = _TITLES[a.question]
    head = f"{a.question} {title}: {a.state}"
    if a.state == "not assessed" or a.value is None:
        return f"{head} ({a.reason})"
    parts = [f"{symbol} = {_number(a.value)}"]
    parts += [f"{n} % interval {_pair(ci)}" for n, ci in ((95, a.ci95), (90, a.ci90)) if ci is not None]
    what, mine, theirs = _SIDES[a.question]
    if a.ours is not None:
        parts.append(f"{what} {_number(a.ours)} ({mine}) against {_number(a.reference)} ({theirs})")
    parts += [x for x in (a.reason, a.note) if x]
    return f"{head}; " + "; ".join(parts)


def _other_arms(arms: Arms) -> list[str]:
    """The arms that decide nothing, beside Q1."""
    lines = []
    for name, arm, tells in (
        ("shuffled personas", arms.shuffled, "statements beyond vocabulary"),
        ("demographics only", arms.demographics, "statements beyond demographics"),
    ):
        if arm is not None:
            delta, ci = icc_difference(arms.persona, arm)
            interval = "no interval" if ci is None else f"95 % interval {_pair(ci)}"
            lines.append(
                f"{name}: ICC_within {_number(arm.value)}; personas differ from them by {_number(delta)}, {interval} "
                f"({tells}; decides nothing)"
            )
    return lines


def _margin_line(m: Margins) -> str:
    return f"margins: Δ {m.q1:g}; ρ within a factor {m.q2:g}; R²_demo {m.q3:g}; distance {m.q4:g} × floor"


def _waived(waiver: str) -> list[str]:
    return [f"arms waived, in the words of who waived them: {waiver.strip()!r}"] if waiver.strip() else []

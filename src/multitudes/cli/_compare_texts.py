"""What ``multitudes measure --compare`` and ``multitudes models compare`` print."""

from __future__ import annotations

from typing import Any

from multitudes.cli._show import console, print_table


def print_comparison(found: Any) -> None:
    """Cells, outcomes, validity terms, crossovers and what cannot be concluded.

    Of the exploratory cells only those with a difference are shown; the rest is in the page and in JSON.
    """
    from rich.table import Table

    head = ("domain", "score", "equal", "arm", "before", "after", "effect", "95 % interval", "p adj.", "verdict")
    table = Table(*head, box=None)
    shown = [c for c in found.cells if c.headline or c.verdict.startswith(("higher", "lower"))]
    for c in sorted(shown, key=lambda c: not c.headline):
        effect = "n/a" if c.effect is None else f"{c.effect:+.3f}" + (" (difference)" if c.plain else "")
        interval = "" if c.low is None or c.high is None else f"{c.low:+.3f} to {c.high:+.3f}"
        verdict = c.verdict + (f", {c.prompts_needed} prompts would tell" if c.prompts_needed else "")
        means = (f"{c.mean_before:.3g}", f"{c.mean_after:.3g}")
        name = c.score + ("*" if c.headline else "")
        table.add_row(c.domain, name, c.budget, c.after, *means, effect, interval, f"{c.p_adjusted:.3g}", verdict)
    console.print(f"against {found.arms[0]}; effect: log ratio, + is more diverse; * headline family", markup=False)
    print_table(table)
    if hidden := len(found.cells) - len(shown):
        console.print(
            f"{hidden} exploratory cells without a difference are not shown: --json, --report", markup=False
        )
    _print_outcomes(found)
    for e in found.effective:
        console.print(
            f"{e.domain}, {e.after}: valid {e.valid_before:.0%} before, {e.valid_after:.0%} after", markup=False
        )
        if e.term_validity is not None:
            console.print(
                f"  change of ln D_pair: {e.term_validity:+.3f} because more is valid, {e.term_difference:+.3f} as "
                "valid texts differ",
                markup=False,
            )
    for turn in found.crossovers:
        console.print(turn.sentence, markup=False)
    for caveat in found.caveats:
        console.print(f"note: {caveat}", markup=False)


def _print_outcomes(found: Any) -> None:
    from rich.table import Table

    if not found.outcomes:
        return
    head = ("domain", "arm", "tokens/text", "tokens", "valid", "Δ", "D_pair", "adherence", "Δ", "tokens/answer", "")
    table = Table(*head, box=None)
    for o in found.outcomes:
        cost = (_number(o.cost, "{:.0f}"), _number(o.cost_ratio, "x{:.2f}"))
        valid = (_number(o.validity, "{:.0%}"), _number(o.validity_change, "{:+.0%}"), _number(o.d_pair, "{:.3f}"))
        obeys = (_number(o.adherence, "{:.2f}"), _number(o.adherence_change, "{:+.2f}"))
        table.add_row(o.domain, o.arm, *cost, *valid, *obeys, _number(o.cost_per_answer, "{:.0f}"), o.verdict)
    print_table(table)


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else form.format(value)

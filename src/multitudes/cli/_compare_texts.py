"""What ``multitudes measure --compare`` prints."""

from __future__ import annotations

from typing import Any

from multitudes.cli._show import console, print_table


def print_comparison(found: Any) -> None:
    """Cells, validity terms, crossovers and what cannot be concluded."""
    from rich.table import Table

    head = ("domain", "score", "arm", "before", "after", "effect", "95 % interval", "p adj.", "verdict")
    table = Table(*head, box=None)
    for c in found.cells:
        effect = "n/a" if c.effect is None else f"{c.effect:+.3f}" + (" (difference)" if c.plain else "")
        interval = "" if c.low is None or c.high is None else f"{c.low:+.3f} to {c.high:+.3f}"
        verdict = c.verdict + (f", {c.prompts_needed} prompts would tell" if c.prompts_needed else "")
        means = (f"{c.mean_before:.3g}", f"{c.mean_after:.3g}")
        name = c.score + ("*" if c.headline else "")
        table.add_row(c.domain, name, c.after, *means, effect, interval, f"{c.p_adjusted:.3g}", verdict)
    console.print(f"against {found.arms[0]}; effect: log ratio, + is more diverse; * headline family", markup=False)
    print_table(table)
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

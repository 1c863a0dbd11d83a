"""``multitudes compare``: two runs of the same people, as paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_json, print_table


def compare(
    run_a: Annotated[Path, typer.Argument(help="First run folder (before).")],
    run_b: Annotated[Path, typer.Argument(help="Second run folder (after).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show scores without a clear change too.")] = False,
) -> None:
    """Show what changed between two runs of the same people."""
    with ending():
        from rich.table import Table

        from multitudes.study.compare import compare as compare_runs

        found = compare_runs(run_a, run_b)
        if as_json:
            print_json(found.model_dump(mode="json"))
            return
        console.print(
            f"{found.people} people in both runs; {found.paired_conversations} conversations and "
            f"{found.paired_answers} answers paired, {found.unpaired} without a partner",
            markup=False,
        )
        console.print("the studies differ in: " + (", ".join(found.differs) or "nothing"), markup=False)
        table = Table("gauge", "score", "A", "B", "B − A", "95 % interval", "verdict", box=None)
        shown = [
            c
            for c in found.changes
            if everything or c.verdict not in ("no clear change", "no interval", "unequal sizes")
        ]
        for c in shown:
            interval = "" if c.low is None else f"{c.low:+.3g} to {c.high:+.3g}"
            table.add_row(c.gauge, c.name, f"{c.a:.3g}", f"{c.b:.3g}", f"{c.difference:+.3g}", interval, c.verdict)
        if shown:
            print_table(table)
        hidden = len(found.changes) - len(shown)
        if hidden:
            console.print(
                f"{hidden} more scores without a clear change, an interval or equal sizes (--all shows them)",
                markup=False,
            )

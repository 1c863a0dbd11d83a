"""``multitudes show``: a run in sentences, or as the documented JSON object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_json


def show(
    run: Annotated[Path | None, typer.Argument(help="Run folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the documented JSON object.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of that object.")] = False,
) -> None:
    """Show what a run found."""
    with ending():
        from multitudes.study.summary import WEAK_MODEL, Summary, is_small, summarise

        if schema:
            print_json(Summary.model_json_schema())
            return
        if run is None:
            raise typer.BadParameter("a run folder is needed")
        from multitudes.study.data import open_run

        data = open_run(run)
        summary = summarise(data)
        if as_json:
            print_json(summary.model_dump(mode="json"))
            return
        for line in summary.headline:
            console.print(f"- {line}", markup=False)
        if is_small(data):
            console.print(f"- {WEAK_MODEL}", markup=False)
        console.print(score_table(summary.scores))


def score_table(scores: object) -> object:
    """Scores as a table for people."""
    from rich.table import Table

    table = Table("gauge", "score", "value", "95 % interval", "null", "better", "n", "unscored", box=None)
    for s in scores:  # type: ignore[attr-defined]
        interval = "" if s.low is None else f"{s.low:.3g} to {s.high:.3g}"
        value = "–" if s.value is None else s.value if isinstance(s.value, str) else f"{s.value:.3g}"
        null = "" if s.null is None else f"{s.null:.3g}"
        table.add_row(s.gauge, s.name, value, interval, null, s.direction, str(s.n), str(s.unscored))
    return table

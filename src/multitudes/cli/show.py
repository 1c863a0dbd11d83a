"""``multitudes show``: a run in sentences, or as the documented JSON object."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from multitudes.cli._show import console, ending, print_json, print_table


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
        print_table(score_table(summary.scores))


def score_table(scores: Iterable[Any]) -> Any:
    """Scores as a table for people, with a column for why there is no number where a score says so."""
    from rich.markup import escape
    from rich.table import Table

    rows = list(scores)
    table = Table("gauge", "score", "value", "95 % interval", "null", "better", "n", "unscored", box=None)
    noted = any(s.note for s in rows)
    if noted:
        table.add_column("note", overflow="fold")
    for s in rows:
        interval = "" if s.low is None or s.high is None else f"{_number(s.low)} to {_number(s.high)}"
        null = "" if s.null is None else _number(s.null)
        cells = [s.gauge, s.name, _number(s.value), interval, null, s.direction, str(s.n), str(s.unscored)]
        table.add_row(*cells, *([escape(s.note)] if noted else []))
    return table


def _number(value: float | str | None) -> str:
    """A value as people read it; ``show --json`` writes what is no number as a word."""
    if value is None:
        return "n/a"
    return "unscored" if math.isnan(float(value)) else f"{float(value):.3g}"

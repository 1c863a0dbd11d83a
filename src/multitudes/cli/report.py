"""``multitudes report``: write the report of a run again, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path | None, typer.Option(help="File to write; RUN/report.html if not given.")] = None,
) -> None:
    """Write report.html from what a run stored."""
    with ending():
        from multitudes.report.build import write_report
        from multitudes.study.data import open_run

        console.print(f"report: {write_report(open_run(run), out)}", markup=False)

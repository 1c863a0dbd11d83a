"""``multitudes study``: run or resume a study, write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_json, progress


def study(
    file: Annotated[Path | None, typer.Argument(help="Study file (TOML).")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME-HASH if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked and what it costs.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print every key with its default.")] = False,
    retry_faults: Annotated[
        bool, typer.Option(help="Hold conversations again that ended in a provider's fault.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON at the end.")] = False,
) -> None:
    """Run a study, or go on where it stopped, and write its report."""
    with ending():
        from multitudes.study.spec import explain as explained
        from multitudes.study.spec import read_study

        if explain:
            typer.echo(explained())
            return
        if file is None:
            raise typer.BadParameter("a study file is needed (see: multitudes study --explain)")
        spec = read_study(file)
        folder = out or Path("runs") / f"{spec.name}-{spec.hash[:8]}"
        if dry_run:
            from multitudes.study.dry_run import describe

            for line in describe(spec, base=file.parent, folder=folder):
                console.print(line, markup=False)
            return
        from multitudes.core.loop import run_sync
        from multitudes.study.run import run_study
        from multitudes.study.summary import summarise

        with progress() as watch:
            run = run_sync(run_study(spec, folder, base=file.parent, watch=watch, retry_faults=retry_faults))
        summary = summarise(run)
        if as_json:
            print_json(summary.model_dump(mode="json"))
        if report:
            from multitudes.report.build import write_report

            path = write_report(run)
            if not as_json:
                console.print(f"report: {path}", markup=False)
        if not as_json:
            for line in summary.headline:
                console.print(f"- {line}", markup=False)

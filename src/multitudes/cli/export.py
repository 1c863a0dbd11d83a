"""``multitudes export``: a run as JSONL, CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multitudes.cli._show import console, ending


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[str, typer.Option(help="jsonl, csv or parquet.")] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; RUN/export if not given.")] = None,
) -> None:
    """Write people, conversations, turns, answers and scores as files other tools read."""
    with ending():
        from multitudes.core.errors import ConfigError, did_you_mean
        from multitudes.study.data import open_run
        from multitudes.study.export import FORMATS, export_run

        if to not in FORMATS:
            raise ConfigError("unknown format", where="--to", found=repr(to), hint=did_you_mean(to, FORMATS))
        form: Literal["jsonl", "csv", "parquet"] = to  # type: ignore[assignment]
        for path in export_run(open_run(run), out or run / "export", form):
            console.print(str(path), markup=False)

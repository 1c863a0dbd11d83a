"""``multitudes anchors``: what people's own answers say, recomputed from copies of the public data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_json, print_table


def anchors(
    folder: Annotated[Path, typer.Option("--from", help="Folder with copies of the public data sets.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recompute the human values that reports quote, from data you have; none are shipped."""
    with ending():
        from dataclasses import asdict

        from rich.markup import escape
        from rich.table import Table

        from multitudes.study.anchors import recompute

        found = recompute(folder)
        if as_json:
            print_json([asdict(r) for r in found])
            return
        table = Table("data", "quantity", "quoted", "recomputed", "95 % interval", "n", "note", box=None)
        for r in found:
            interval = "" if r.low is None or r.high is None else f"{r.low:.3g} to {r.high:.3g}"
            quoted = "" if r.quoted is None else f"{r.quoted:.3g}"
            table.add_row(r.anchor, r.quantity, quoted, f"{r.value:.3g}", interval, str(r.n), escape(r.note))
        print_table(table)
        console.print("made of:", markup=False)
        for path, digest in dict.fromkeys((f.path, f.sha256) for r in found for f in r.files):
            console.print(f"  {path}  sha256 {digest}", markup=False)

"""``multitudes axis jailbreak``: does a cap on the target hold it when a persona asks it to drop its rules?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_json, progress


def jailbreak(
    folder: Annotated[Path, typer.Argument(help="Folder of an axis.")],
    model: Annotated[str, typer.Argument(help="The model it was fitted on.")] = "smollm2",
    arms: Annotated[
        str,
        typer.Option(
            help="Arms, separated by commas; the first is the reference: plain, capped, capped=THRESHOLD (0.5, 0.75, "
            "0.9, default_mean), or a model such as steer:0.2:AXIS:MODEL."
        ),
    ] = "plain,capped",
    judge: Annotated[
        str | None, typer.Option(help="A model that says which replies are harmful; else proxies only.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; AXIS/jailbreak if not given.")] = None,
    small: Annotated[bool, typer.Option("--small", help="6 personas and 12 requests instead of 16 and 24.")] = False,
    file: Annotated[Path | None, typer.Option("--set", help="Your own personas and requests (TOML).")] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest reply.")] = 48,
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Ask persona jailbreaks under several arms and read what came of it; a killed run goes on where it stopped.

    Requests name an intent and hold nothing of how. Each has a benign twin, to see over-refusal.
    """
    with ending():
        from multitudes.axis.artifact import load_axis
        from multitudes.axis.jailbreak import read_jailbreaks, shipped_jailbreaks
        from multitudes.axis.jailbreak import small as fewer
        from multitudes.core.loop import run_sync
        from multitudes.models.load import load
        from multitudes.report.jailbreak_facts import jailbreak_lines
        from multitudes.report.jailbreak_page import write_jailbreak_page
        from multitudes.study.jailbreak import describe, open_arms
        from multitudes.study.jailbreak_records import save_result
        from multitudes.study.jailbreak_result import run_jailbreak

        asked = shipped_jailbreaks() if file is None else read_jailbreaks(file)
        asked = fewer(asked) if small else asked
        names = [a.strip() for a in arms.split(",") if a.strip()]
        where = out or folder / "jailbreak"
        if dry_run:
            for line in describe(asked, names, model=model, max_tokens=max_tokens, judge=judge, folder=where):
                console.print(line, markup=False)
            return
        axis, shared = load_axis(folder), {}  # type: ignore[var-annotated]
        speaker = load(model, shared=shared)
        opened = open_arms(names, speaker, axis, load=lambda name: load(name, shared=shared))
        with progress() as watch:
            result = run_sync(
                run_jailbreak(
                    opened, asked, axis, where, max_tokens=max_tokens, seed=seed, watch=watch,
                    judge=None if judge is None else load(judge, shared=shared),
                )
            )  # fmt: skip
        saved = save_result(result, where / "jailbreak.json")
        page = write_jailbreak_page(result, where / "jailbreak.html")
        if as_json:
            print_json(result.model_dump(mode="json"))
            return
        for line in jailbreak_lines(result):
            console.print(line, markup=False)
        console.print(f"result: {saved}; page: {page}", markup=False)

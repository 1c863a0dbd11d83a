"""``multitudes pressure``: is a persona put on or put in? Run, match, report, and look at what is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from multitudes.cli._show import console, ending, print_json, progress

app = typer.Typer(
    help="Personas under pressure: how much is kept, when it goes, what comes back.", no_args_is_help=True
)

Preset = Annotated[str, typer.Option(help="small (embedded model, a smoke test) or full.")]
File = Annotated[Path | None, typer.Option("--file", help="A run as TOML; options below change it.")]
Model = Annotated[str | None, typer.Option(help="Who is pressed; needs log-likelihoods, so a local model.")]
AxisDir = Annotated[Path | None, typer.Option(help="Axis of the model, for steering, holds and caps.")]
People = Annotated[Path | None, typer.Option(help="Population; the shipped human roles if not given.")]
Personas = Annotated[int | None, typer.Option(help="Number of personas.")]
Prompts = Annotated[int | None, typer.Option(help="Base prompts for results; half as many more calibrate.")]
Crossed = Annotated[
    bool | None, typer.Option("--crossed/--own", help="Every persona meets every prompt, or one each.")
]
Conditions = Annotated[str | None, typer.Option(help="Such as C1,C3,C6; C0 and C3 always run.")]
Pressures = Annotated[str | None, typer.Option(help="Such as P1,P2,P4; neutral runs are added.")]
Dispositions = Annotated[
    str | None, typer.Option(help="Such as id,beh,style; ref (refusing) needs P3, its prompts and a judge.")
]
WithLora = Annotated[
    bool, typer.Option("--with-lora", help="Also C2: a persona trained into the weights; trains an adapter each.")
]
AdaptersDir = Annotated[Path | None, typer.Option("--adapters", help="Adapters for C2 by persona id: DIR/ID.")]
Turns = Annotated[int | None, typer.Option(help="Turns under pressure.")]
Seeds = Annotated[int | None, typer.Option(help="Runs of each cell.")]
Judge = Annotated[str | None, typer.Option(help="A model that rates replies, beside the likelihoods.")]
P3 = Annotated[Path | None, typer.Option("--p3", help="Your own prompts for P3; none are shipped.")]
Seed = Annotated[int | None, typer.Option(help="Root of every draw.")]
Out = Annotated[Path | None, typer.Option(help="Run folder; runs/pressure-HASH if not given.")]


@app.command()
def run(
    preset: Preset = "small", file: File = None, model: Model = None, axis: AxisDir = None, people: People = None,
    personas: Personas = None, prompts: Prompts = None, crossed: Crossed = None, conditions: Conditions = None,
    pressures: Pressures = None, dispositions: Dispositions = None, turns: Turns = None, seeds: Seeds = None,
    judge: Judge = None, p3: P3 = None, seed: Seed = None, with_lora: WithLora = False, adapters: AdaptersDir = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it asks and costs, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per number at the end.")] = False,
) -> None:  # fmt: skip
    """Press personas, or go on where it stopped; write the page and the numbers."""
    with ending():
        from multitudes.core.loop import run_sync
        from multitudes.study.pressure.run import run_pressure

        spec, base = _spec(
            preset, file, model=model, axis=axis, people=people, personas=personas, prompts=prompts, crossed=crossed,
            conditions=conditions, pressures=pressures, dispositions=dispositions, turns=turns, seeds=seeds,
            judge=judge, p3=p3, seed=seed, adapters=adapters, with_lora=with_lora or None,
        )  # fmt: skip
        folder = out or Path("runs") / f"pressure-{spec.hash[:8]}"
        if dry_run:
            _describe(spec, base, folder)
            return
        if not as_json:
            _describe(spec, base, folder)
        with progress() as watch:
            run_sync(run_pressure(spec, folder, base=base, watch=watch))
        _tell(folder, as_json=as_json)


@app.command()
def match(
    preset: Preset = "small", file: File = None, model: Model = None, axis: AxisDir = None, people: People = None,
    personas: Personas = None, prompts: Prompts = None, crossed: Crossed = None, conditions: Conditions = None,
    pressures: Pressures = None, dispositions: Dispositions = None, turns: Turns = None, seeds: Seeds = None,
    judge: Judge = None, p3: P3 = None, seed: Seed = None, with_lora: WithLora = False, adapters: AdaptersDir = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ladders as JSON.")] = False,
) -> None:  # fmt: skip
    """Only calibrate: where each rung of each condition starts, the target, and what was chosen.

    A run with the same options and folder goes on from here.
    """
    with ending():
        from rich.table import Table

        from multitudes.core.loop import run_sync
        from multitudes.study.pressure.analyse import matching
        from multitudes.study.pressure.data import open_pressure
        from multitudes.study.pressure.run import run_pressure

        spec, base = _spec(
            preset, file, model=model, axis=axis, people=people, personas=personas, prompts=prompts, crossed=crossed,
            conditions=conditions, pressures=pressures, dispositions=dispositions, turns=turns, seeds=seeds,
            judge=judge, p3=p3, seed=seed, adapters=adapters, with_lora=with_lora or None,
        )  # fmt: skip
        folder = out or Path("runs") / f"pressure-{spec.hash[:8]}"
        with progress() as watch:
            run_sync(run_pressure(spec, folder, base=base, watch=watch, only_match=True))
        found = matching(open_pressure(folder))
        if as_json:
            print_json(found.model_dump(mode="json"))
            return
        table = Table("condition", "rung", "start D₀", "base prompts", "", box=None)
        for r in found.rungs:
            table.add_row(r.condition, r.rung, f"{r.level:.3f}", str(r.n), "chosen" if r.chosen else "")
        console.print(table)
        if found.target is not None:
            console.print(f"target {found.target:.3f}, set by {found.limited_by}", markup=False)
        for c in found.weak:
            console.print(f"{c}: does not stand above no persona at any rung", markup=False)
        if found.reason:
            console.print(found.reason, markup=False)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per number.")] = False,
) -> None:
    """Write the page and the numbers again, from what a run stored."""
    with ending():
        _tell(folder, as_json=as_json)


@app.command()
def banks(
    name: Annotated[str | None, typer.Argument(metavar="[BANK]", help="Print the messages of one bank.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check a bank of your own.")] = None,
) -> None:
    """What is said to personas: list the banks, print one, or check your own."""
    with ending():
        from multitudes.simulate.pressure import BANKS, bank, read_bank, version

        if check is not None:
            found = read_bank(check)
            console.print(f"{check}: {found.id}, {len(found.messages)} messages, in order", markup=False)
            return
        if name is not None:
            for m in bank(name).messages:
                console.print(f"{m.toward:<9} {m.level}  {m.kind:<20} {m.text}", markup=False)
            return
        for b in map(bank, (*BANKS, "recovery")):
            sides = "the same for everybody" if not b.mirrored else "toward Assistant and persona"
            console.print(f"{b.id:<9} {b.name:<32} {len(b.messages):>3} messages, {sides}", markup=False)
        console.print(f"version {version()}; P3 is not shipped (--p3 FILE)", markup=False)


def _spec(preset: str, file: Path | None, **options: Any) -> tuple[Any, Path]:
    from multitudes.study.pressure.spec import make_spec, read_spec

    base = Path() if file is None else file.parent
    changes = {k: _from(base, v) if isinstance(v, Path) else v for k, v in options.items() if v is not None}
    for key in ("conditions", "pressures", "dispositions"):
        if key in changes:
            changes[key] = tuple(x.strip() for x in changes[key].split(",") if x.strip())
    trained = changes.pop("with_lora", False) or "adapters" in changes
    spec = read_spec(file, **changes) if file is not None else make_spec(preset, **changes)  # type: ignore[arg-type]
    if trained and "C2" not in spec.conditions:
        changes["conditions"] = (*spec.conditions, "C2")
        spec = read_spec(file, **changes) if file is not None else make_spec(preset, **changes)  # type: ignore[arg-type]
    return spec, base


def _from(base: Path, given: Path) -> str:
    """A path of the command line as a run file in ``base`` would write it."""
    return str(given) if given.is_absolute() or base == Path() else os.path.relpath(given, base)


def _describe(spec: Any, base: Path, folder: Path) -> None:
    from multitudes.study.pressure.forecast import describe

    for line in describe(spec, base=base, folder=folder):
        console.print(line, markup=False)


def _tell(folder: Path, *, as_json: bool) -> None:
    import json

    from multitudes.core.canonical import strict_values
    from multitudes.report.pressure import write_pressure
    from multitudes.study.pressure.analyse import analyse
    from multitudes.study.pressure.data import open_pressure

    found = analyse(open_pressure(folder))
    page, lines = write_pressure(found, folder)
    if as_json:
        for line in found.lines():
            typer.echo(json.dumps(strict_values(line), ensure_ascii=False, allow_nan=False))
        return
    for sentence in found.headline:
        console.print(f"- {sentence}", markup=False)
    console.print(f"page: {page}; numbers: {lines}", markup=False)

"""``multitudes axis``: the Assistant Axis of a model: find it, look at it, read with it, hold with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._axis_chat import chat
from multitudes.cli._axis_jailbreak import jailbreak
from multitudes.cli._axis_read import cross_read_check, drift, project
from multitudes.cli._show import console, ending, print_json, progress

app = typer.Typer(help="The Assistant Axis of a model: fit, show, read, hold.", no_args_is_help=True)


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="A local model: smollm2, hf:DIR or gguf:FILE.")],
    preset: Annotated[str, typer.Option(help="small, balanced or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder of the axis; axes/MODEL-PRESET if not given.")] = None,
    roles: Annotated[Path | None, typer.Option(help="Your own roles (JSON lines), beside the shipped ones.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Use your roles instead of the shipped ones.")] = False,
    judge: Annotated[
        str | None, typer.Option(help="A model that scores answers; else the likelihood filter.")
    ] = None,
    second_judge: Annotated[
        str | None, typer.Option(help="Another model that scores 200 of them again: do both agree?")
    ] = None,
    topic_filter: Annotated[
        str | None, typer.Option(help="minilm: drop answers that are not about their role, beside the filter.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the answers.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs and stop.")] = False,
) -> None:
    """Find the axis: ask roles and default the same questions, read inside while they answer, keep sums.

    A killed fit goes on where it stopped when it is started again with the same folder.
    """
    with ending():
        from multitudes.api import fit_axis as fit_now
        from multitudes.report.axis_page import axis_lines, write_axis_page

        folder = out or Path("axes") / f"{_slug(model)}-{preset}"
        start = time.perf_counter()
        with progress() as watch:
            axis = fit_now(
                model, preset=preset, out=folder, roles=roles, replace=replace, judge=judge,
                second_judge=second_judge, topic_filter=topic_filter, seed=seed, watch=watch,
                told=lambda line: console.print(line, markup=False), dry_run=dry_run,
            )  # fmt: skip
        if axis is None:
            return
        page = write_axis_page(axis, folder / "axis.html")
        for line in axis_lines(axis):
            console.print(line, markup=False)
        console.print(f"axis: {folder}; page: {page}; {time.perf_counter() - start:.0f} s", markup=False)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of an axis.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print provenance and curves as JSON.")] = False,
    page: Annotated[bool, typer.Option(help="Write axis.html beside it.")] = True,
) -> None:
    """Print an axis and draw its persona space and its curves by layer."""
    with ending():
        from multitudes.axis.artifact import load_axis
        from multitudes.report.axis_page import axis_lines, write_axis_page

        axis = load_axis(folder)
        if as_json:
            curves = {k: [float(x) for x in v] for k, v in axis.curves.items()}
            print_json(
                {"layer": axis.layer, "window": list(axis.window), "curves": curves, "about": dict(axis.about)}
            )
            return
        for line in axis_lines(axis):
            console.print(line, markup=False)
        if page:
            console.print(f"page: {write_axis_page(axis, folder / 'axis.html')}", markup=False)


@app.command("import")
def import_files(
    axis_file: Annotated[Path, typer.Argument(help="assistant_axis.pt: a tensor (layers, width).")],
    out: Annotated[Path, typer.Option(help="Folder of the axis.")],
    caps: Annotated[Path | None, typer.Option(help="capping_config.pt: vectors and thresholds.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Which caps, such as layers_46:54-p0.25.")] = None,
    role_minus_default: Annotated[
        bool, typer.Option("--role-minus-default", help="The axis file holds the opposite direction.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="Its model, a local one: asked as in a fit, it gives the axis a scale and checks its sign."
        ),
    ] = "",
    preset: Annotated[str, typer.Option(help="With --model: how much is asked; small, balanced or full.")] = "small",
    seed: Annotated[int, typer.Option(help="With --model: seed of the answers.")] = 0,
) -> None:
    """Read the released axis files of arXiv 2601.10387 and turn them into this project's orientation.

    The files hold no scale. Without --model caps work, but z, strengths and calibration do not.
    """
    with ending():
        from multitudes.axis.artifact import save_axis
        from multitudes.axis.importing import import_axis
        from multitudes.axis.presets import preset as size_named
        from multitudes.report.axis_page import axis_lines, write_axis_page

        axis = import_axis(axis_file, caps, experiment=experiment, role_minus_default=role_minus_default)
        if model:
            from multitudes.axis.roles import shipped
            from multitudes.axis.scaling import scale_axis
            from multitudes.core.loop import run_sync
            from multitudes.models.load import load

            size, speaker = size_named(preset), load(model)
            with progress() as watch:
                scaling = scale_axis(speaker, axis, shipped(), size, out / "parts", seed=seed, watch=watch)
                axis = run_sync(scaling)
        save_axis(axis, out)
        window = f"; caps at layers {axis.window[0]} to {axis.window[-1]}" if axis.tau else "; no caps"
        console.print(f"{axis.n_layers} layers of width {axis.d_model} in {out}{window}", markup=False)
        if model:
            for line in axis_lines(axis):
                console.print(line, markup=False)
            console.print(f"page: {write_axis_page(axis, out / 'axis.html')}", markup=False)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A local model.")],
    responses: Annotated[int, typer.Option(help="Answers that are compared.")] = 64,
    cross_read: Annotated[
        str | None, typer.Option(help="Another local model instead: may each read for the other?")
    ] = None,
    axis: Annotated[Path | None, typer.Option(help="With --cross-read: axis of the model.")] = None,
    other_axis: Annotated[Path | None, typer.Option(help="With --cross-read: axis of the other model.")] = None,
    scripts: Annotated[int, typer.Option(help="With --cross-read: scripts of each drift domain.")] = 5,
    turns: Annotated[int, typer.Option(help="With --cross-read: messages of each script.")] = 6,
    max_tokens: Annotated[int, typer.Option(help="With --cross-read: longest answer.")] = 96,
    seed: Annotated[int, typer.Option(help="With --cross-read: root of all seeds.")] = 0,
) -> None:
    """Prove that reading inside while answers are written gives what reading them afterwards gives.

    With --cross-read: let two models write, each read the other, and say how far a reading follows the author's own.
    """
    with ending():
        if cross_read is not None:
            from multitudes.core.errors import ConfigError

            if axis is None or other_axis is None:
                raise ConfigError(
                    "two models need two axes", where="--cross-read", hint="give --axis and --other-axis"
                )
            cross_read_check(
                model, axis, cross_read, other_axis, scripts=scripts, turns=turns, max_tokens=max_tokens, seed=seed
            )
            return
        from multitudes.axis.check import check_capture
        from multitudes.axis.presets import preset
        from multitudes.axis.roles import shipped
        from multitudes.core.loop import run_sync
        from multitudes.models.load import load

        found = run_sync(check_capture(load(model), shipped(), preset("small"), responses=responses))
        console.print(
            f"{found.n} answers, {found.tokens} tokens: largest relative error {found.error:.1e} "
            f"(layer {found.layer}), smallest cosine {found.cosine:.7f}", markup=False,
        )  # fmt: skip


@app.command()
def calibrate(
    folder: Annotated[Path, typer.Argument(help="Folder of an axis.")],
    model: Annotated[str, typer.Option(help="The model it was fitted on; that of the axis if not given.")] = "",
    size: Annotated[str, typer.Option(help="small, balanced or full.")] = "small",
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare caps by layers and strength, and recommend one or none; the axis keeps the recommendation.

    Four curves at once: excursions prevented, who a played role says it is, capability kept, fluency of role-play;
    beside them caps on random directions that engage as often. They are drawn on the axis's page.
    """
    with ending():
        from multitudes.axis.answers import Step
        from multitudes.axis.artifact import load_axis, save_axis
        from multitudes.axis.calibrate import calibrate as compare_settings
        from multitudes.axis.settings import cost_of_sweep, size_of
        from multitudes.core.loop import run_sync
        from multitudes.models.load import load
        from multitudes.report.axis_page import write_axis_page

        axis = load_axis(folder)
        if not as_json:
            console.print(str(cost_of_sweep(axis, size_of(size))), markup=False)
        if dry_run:
            return
        speaker = load(model or str(axis.about.get("model", "")))
        with progress() as watch:

            def told(what: str, done: int, of: int) -> None:
                watch(Step(what, done, of))

            found = run_sync(compare_settings(speaker, axis, size=size, seed=seed, watch=told))
        after = found.applied(axis)
        save_axis(after, folder)
        page = write_axis_page(after, folder / "axis.html")
        if as_json:
            print_json(found.as_dict())
            return
        for line in found.lines():
            console.print(line, markup=False)
        console.print(f"page: {page}", markup=False)


app.command("chat")(chat)
app.command("project")(project)
app.command("drift")(drift)
app.command("jailbreak")(jailbreak)


def _slug(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in model.rstrip("/").rpartition("/")[2] or model)

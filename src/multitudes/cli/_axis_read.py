"""``multitudes axis project``, ``drift`` and the cross-reading of ``check``: reading along the axis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from multitudes.cli._show import console, ending, print_json, print_table, progress


class _Step(NamedTuple):
    name: str
    done: int
    total: int


def project(
    folder: Annotated[Path, typer.Argument(help="Folder of the reader's axis.")],
    file: Annotated[Path, typer.Argument(help="Transcripts: chat JSONL, ShareGPT or ConvLab.")],
    author: Annotated[str, typer.Option(help="Who wrote the turns: a model, or people. Part of every label.")],
    model: Annotated[str, typer.Option(help="The reader; the model of the axis if not given.")] = "",
    speaker: Annotated[str, typer.Option(help="assistant, or user for the other side.")] = "assistant",
    system: Annotated[
        str, typer.Option(help="System text the reader is given, or 'transcript' for the one in the file.")
    ] = "",
    window: Annotated[
        int | None, typer.Option(help="Turns in view at each turn, for transcripts longer than the context.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many conversations.")] = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out broken records, counted.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write all readings to this JSON file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bands.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the readings as JSON.")] = False,
) -> None:
    """Read transcripts of anybody through a local model, and place every turn on that model's axis.

    What is shown is how the reader represents the text. It is not what went on inside its author.
    """
    with ending():
        from multitudes.axis.artifact import load_axis
        from multitudes.core.errors import ConfigError
        from multitudes.core.loop import run_sync
        from multitudes.models.load import load
        from multitudes.simulate.transcripts import read_transcripts
        from multitudes.study.readings import read_file
        from multitudes.study.result_file import write_result

        if speaker not in ("assistant", "user"):
            raise ConfigError("no such speaker", where="--speaker", found=repr(speaker), expected="assistant or user")
        axis = load_axis(folder)
        found = read_transcripts(file, skip_invalid=skip_invalid)
        reader = load(model or _model_of(axis))
        result = run_sync(
            read_file(
                reader, axis, folder, found.conversations[:limit], author=author,
                speaker="user" if speaker == "user" else "assistant", system=system, window=window, seed=seed,
            )
        )  # fmt: skip
        if out is not None:
            write_result(result, out)
        if as_json:
            print_json(result)
            return
        console.print(result["label"], markup=False)
        console.print(result["validated"], markup=False)
        if result["small_model"]:
            console.print("a small reader: what is seen proves the machinery, not the phenomenon", markup=False)
        print_table(_readings_table(result))
        for left in result["left_out"]:
            console.print(f"left out: {left['id']}: {left['why']}", markup=False)
        if out is not None:
            console.print(f"readings: {out}", markup=False)


def drift(
    folder: Annotated[Path, typer.Argument(help="Folder of an axis.")],
    model: Annotated[str, typer.Option(help="The model that is talked to; that of the axis if not given.")] = "",
    cap: Annotated[
        list[str] | None, typer.Option(help="Another arm under this cap: 0.5, 0.75, 0.9, default_mean or default.")
    ] = None,
    steer: Annotated[
        list[float] | None, typer.Option(help="Another arm, pushed along the axis by this much.")
    ] = None,
    auditor: Annotated[str | None, typer.Option(help="Model that plays the users; else fixed scripts.")] = None,
    domains: Annotated[str, typer.Option(help="Which, separated by commas.")] = "coding,writing,therapy,philosophy",
    scripts: Annotated[int, typer.Option(help="Scripts of each domain, 1 to 5.")] = 5,
    topics: Annotated[int, typer.Option(help="With an auditor: topics of each of five people in a domain.")] = 2,
    turns: Annotated[int, typer.Option(help="Messages of the user in a domain.")] = 6,
    neutral: Annotated[int, typer.Option(help="Everyday questions after them: does the model come back?")] = 2,
    replicates: Annotated[int, typer.Option(help="Runs of each script or topic.")] = 2,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 96,
    encoder: Annotated[str, typer.Option(help="For prediction from messages: minilm, hash or none.")] = "minilm",
    out: Annotated[
        Path | None, typer.Option(help="Folder of results and of what was held; AXIS/drift otherwise.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Hold the four drift domains, read the model while it talks, and write numbers and a page.

    A run that was cut off goes on with the same command; what was held before is not held again.
    """
    with ending():
        from multitudes.axis.artifact import load_axis
        from multitudes.core.loop import run_sync
        from multitudes.models.base import Sampling
        from multitudes.models.encode import load_encoder
        from multitudes.models.load import load
        from multitudes.report.drift_page import write_drift_page
        from multitudes.report.drift_words import findings, warnings
        from multitudes.study.drift import DriftSetup, arms_of, run_drift
        from multitudes.study.drift_result import drift_result
        from multitudes.study.result_file import write_result

        axis = load_axis(folder)
        setup = DriftSetup(
            domains=tuple(d.strip() for d in domains.split(",") if d.strip()), scripts=scripts, topics=topics,
            turns=turns, neutral=neutral, replicates=replicates, seed=seed,
            sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=max_tokens),
        )  # fmt: skip
        talks = setup.talks("scripted" if auditor is None else "auditor")
        n_arms = 1 + len(cap or ()) + len(steer or ())
        answers = len(talks) * (turns + neutral) * n_arms
        if dry_run or not as_json:
            console.print(
                f"{len(talks)} conversations in {n_arms} arm{'s' * (n_arms > 1)}: {answers:,} answers, at most "
                f"{answers * max_tokens:,} tokens", markup=False,
            )  # fmt: skip
        if dry_run:
            return
        vectors = None if encoder == "none" else load_encoder(encoder)
        shared: Any = {}
        speaker = load(model or _model_of(axis), shared=shared)
        place = out or folder / "drift"
        player = None if auditor is None else load(auditor, shared=shared)
        with progress() as watch:
            run = run_sync(
                run_drift(
                    arms_of(speaker, axis, caps=cap or (), steers=steer or ()), axis, setup=setup, auditor=player,
                    folder=place, told=lambda done, total: watch(_Step("conversations", done, total)),
                )
            )  # fmt: skip
        result = drift_result(run, encoder=vectors)
        written = write_result(result, place / "drift.json")
        page = write_drift_page(result, place / "drift.html")
        if as_json:
            print_json(result)
            return
        for line in warnings(result):
            console.print(f"note: {line}", markup=False)
        for line in findings(result):
            console.print(f"- {line}", markup=False)
        console.print(f"result: {written}; page: {page}", markup=False)


def cross_read_check(
    model: str, axis_folder: Path, other: str, other_folder: Path, *, scripts: int, turns: int, max_tokens: int,
    seed: int,
) -> None:  # fmt: skip
    """Let two models write, each read the other, and keep what is found with either axis."""
    from multitudes.axis.artifact import load_axis
    from multitudes.core.loop import run_sync
    from multitudes.models.base import Sampling
    from multitudes.models.load import load
    from multitudes.study.cross_read import cross_read, keep
    from multitudes.study.drift import DriftSetup

    axes = load_axis(axis_folder), load_axis(other_folder)
    shared: Any = {}
    models = load(model, shared=shared), load(other, shared=shared)
    setup = DriftSetup(
        scripts=scripts, turns=turns, replicates=1, neutral=1, seed=seed,
        sampling=Sampling(temperature=0.7, top_p=0.9, max_tokens=max_tokens),
    )  # fmt: skip
    with progress() as watch:
        found = run_sync(
            cross_read(
                (models[0], axes[0]), (models[1], axes[1]), setup=setup,
                told=lambda done, total: watch(_Step("conversations", done, total)),
            )
        )  # fmt: skip
    for c in found:
        f = c.found
        console.print(
            f"{c.reader} reads {c.author}: r = {_around(f.r)} over {f.n_turns} turns with its own z; within "
            f"conversations {_around(f.within)}; mean offset {_around(f.offset)}", markup=False,
        )  # fmt: skip
    for folder, axis in zip((axis_folder, other_folder), axes, strict=True):
        path = keep(found, folder, axis)
        if path is not None:
            console.print(f"kept: {path}", markup=False)


def _around(e: Any) -> str:
    return f"{e.value:.2f}" + ("" if e.low is None else f" ({e.low:.2f} to {e.high:.2f})")


def _model_of(axis: Any) -> str:
    from multitudes.core.errors import ConfigError

    name = str(axis.about.get("model", ""))
    if not name:
        raise ConfigError("the axis does not say which model it was fitted on", where="--model", hint="give --model")
    return name


def _readings_table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    limit = result["axis"]["limit"]
    edge = "" if isinstance(limit, str) else f"; outside: below {limit:.2f}, the reader's own default range"
    table = Table(title=f"{result['label']}; layer {result['axis']['layer']}{edge}", box=None)
    for name in ("conversation", "turns", "first z", "last z", "mean z", "slope", "outside"):
        table.add_column(name, justify="left" if name == "conversation" else "right")
    for row in result["conversations"]:
        scored = [v for v in row["z"] if not isinstance(v, str)]
        ends = (f"{scored[0]:.2f}", f"{scored[-1]:.2f}") if scored else ("-", "-")
        share = "-" if row["outside"] is None or isinstance(row["outside"], str) else f"{row['outside']:.0%}"
        table.add_row(row["id"], str(len(row["z"])), *ends, _two(row["mean_z"]), _two(row["slope"]), share)
    return table


def _two(value: Any) -> str:
    return "-" if value is None or isinstance(value, str) else f"{value:.2f}"

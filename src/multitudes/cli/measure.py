"""``multitudes measure``: the gauges on anybody's transcripts, no simulation needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from multitudes.cli._compare_texts import print_comparison
from multitudes.cli._show import console, ending, print_json, print_table
from multitudes.core.errors import ConfigError


def measure(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Transcripts (chat JSONL, ShareGPT, ConvLab) or a table of answers or texts (CSV, JSONL, Parquet)."
        ),
    ],
    gauges: Annotated[str, typer.Option("--with", help="Gauges, separated by commas.")] = "leak,diversity",
    speakers: Annotated[str | None, typer.Option(help="Labels of the speakers to measure, such as P1,P2.")] = None,
    personas: Annotated[Path | None, typer.Option(help="Who they are, for the listener.")] = None,
    listener: Annotated[str | None, typer.Option(help="Model with log-probabilities for the listener.")] = None,
    candidates: Annotated[int, typer.Option(help="People a listener chooses among.")] = 4,
    encoder: Annotated[str, typer.Option(help="minilm, hash or none.")] = "hash",
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the diversity of tables of texts, each with the first.")
    ] = False,
    proxy: Annotated[
        Path | None,
        typer.Option(help="With --compare: judge prose by rules; a table of good texts (prompt, text, paraphrase)."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="With --compare: let a model judge prose; a TOML file (model, rubric, labels)."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="With --compare: write the comparison as a page.")] = None,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Leave out broken records, counted.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first so many views.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of intervals.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the readings as JSON.")] = False,
    column: Annotated[
        list[str] | None, typer.Option(help="Tables: ROLE=COLUMN, such as persona=worker; may be repeated.")
    ] = None,
    human: Annotated[Path | None, typer.Option(help="Tables: people's own answers to the same items.")] = None,
    placebo_waived: Annotated[str, typer.Option(help="Tables: why there are no placebo arms.")] = "",
    temperature: Annotated[float, typer.Option(help="Tables: at which the runs were sampled.")] = 1.0,
    scale: Annotated[str | None, typer.Option(help="Tables: ends of the answers' scale, such as 1,5.")] = None,
    refusal: Annotated[
        list[str] | None, typer.Option(help="Tables: an answer that means 'I will not say'; may be repeated.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Tables: what people cost more, in the alternative annotator test; experts .2.")
    ] = 0.1,
    quotes: Annotated[int, typer.Option(help="Leaking lines to quote.")] = 3,
) -> None:
    """Read gauges on transcripts that nobody here wrote."""
    with ending():
        from multitudes.api import measure as read
        from multitudes.cli.show import score_table
        from multitudes.models.encode import load_encoder
        from multitudes.models.load import load
        from multitudes.models.tag import load_tagger
        from multitudes.personas.sources import load_population
        from multitudes.report.comparison import write_comparison
        from multitudes.simulate.tables import is_table
        from multitudes.simulate.transcripts import read_transcripts
        from multitudes.study.tables import measure_table
        from multitudes.study.texts import compare_tables

        if not compare and (proxy or judge or report):
            given = "--proxy" if proxy else "--judge" if judge else "--report"
            raise ConfigError("this option is for comparisons", where=given, hint="add --compare")
        names = [g.strip() for g in gauges.split(",") if g.strip()]
        if compare:
            found = compare_tables(
                files, columns=_mapping(column or []), tagger=load_tagger(), skip_invalid=skip_invalid, seed=seed,
                encoder=None if encoder == "none" else load_encoder(encoder), proxy=proxy, judge=judge,
            )  # fmt: skip
            if as_json:
                print_json(found.model_dump(mode="json"))
            else:
                print_comparison(found)
            if report is not None:
                console.print(f"report: {write_comparison(found, report)}", markup=False)
            return
        if len(files) != 1:
            raise ConfigError("one file at a time", where="FILES", found=str(len(files)), hint="or --compare them")
        (file,) = files
        if column or "variance" in names or is_table(file):
            measured = measure_table(
                file, names, columns=_mapping(column or []), human=human, placebo_waived=placebo_waived,
                temperature=temperature, encoder=None if encoder == "none" else load_encoder(encoder),
                skip_invalid=skip_invalid, seed=seed, scale=_ends(scale), refusals=refusal or (),
                epsilon=epsilon,
            )  # fmt: skip
            if as_json:
                print_json([r.model_dump(mode="json") for r in measured.readings])
                return
            for note in measured.notes:
                console.print(f"note: {note}", markup=False)
            print_table(score_table([s for r in measured.readings for s in r.scores]))
            for verdict in (r.tables["verdict"] for r in measured.readings if "verdict" in r.tables):
                console.print(verdict["sentence"], markup=False)
                for line in verdict["lines"]:
                    console.print(f"  {line}", markup=False)
            if groups := [g for r in measured.readings for g in r.tables.get("groups", ())]:
                print_table(_group_table(groups))
            return
        transcripts = read_transcripts(
            file, people=speakers.split(",") if speakers else None, skip_invalid=skip_invalid
        )
        talks = transcripts.conversations[:limit]
        readings = read(
            talks,
            names,
            people=load_population(personas) if personas else None,
            listener=load(listener) if listener else None,
            candidates=candidates,
            encoder=None if encoder == "none" else load_encoder(encoder),
            seed=seed,
        )
        if as_json:
            print_json([r.model_dump(mode="json") for r in readings])
            return
        lines = sum(len(c.user_texts) for c in talks)
        console.print(
            f"{transcripts.n_dialogues} dialogues ({transcripts.format}), {len(talks)} views, {lines} lines, "
            f"{transcripts.skipped} records skipped",
            markup=False,
        )
        for warning in transcripts.warnings:
            console.print(f"warning {warning.code}: {warning.what}: {warning.n_dialogues} dialogues", markup=False)
        print_table(score_table([s for r in readings for s in r.scores]))
        for quote in [q for r in readings for q in r.quotes][:quotes]:
            console.print(
                f"{quote.conversation_id}, turn {quote.turn} ({quote.why}): {quote.text[:160]!r}", markup=False
            )


def _group_table(groups: list[dict[str, Any]]) -> Any:
    """Where the panel answers higher or lower than the people of a group."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("group", "people", "personas", "bias", "pooled", "95 % interval", "note", box=None)
    for g in groups:
        numbers = [f"{g[k]:+.3g}" if g[k] is not None else "" for k in ("raw", "pooled")]
        around = "" if g["low"] is None else f"{g['low']:.3g} to {g['high']:.3g}"
        name = escape(f"{g['attribute']} = {g['group']}")
        table.add_row(name, str(g["people"]), str(g["simulated"]), *numbers, around, g["note"])
    return table


def _mapping(columns: list[str]) -> dict[str, str]:
    pairs = [c.partition("=") for c in columns]
    for whole, (role, sign, name) in zip(columns, pairs, strict=True):
        if not (role and sign and name):
            raise ConfigError("not a column", where="--column", found=repr(whole), expected="ROLE=COLUMN")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _ends(scale: str | None) -> tuple[float, float] | None:
    if scale is None:
        return None
    try:
        low, high = (float(x) for x in scale.split(","))
    except ValueError as error:
        raise ConfigError("not a scale", where="--scale", found=repr(scale), expected="LOW,HIGH") from error
    return low, high

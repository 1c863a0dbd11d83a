"""``multitudes survey``: ask a population a questionnaire."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from multitudes.cli._show import console, ending, print_json, print_table


def survey(
    people: Annotated[Path, typer.Argument(help="Population: TOML, JSON, JSONL, CSV or Parquet.")],
    questionnaire: Annotated[str, typer.Argument(help="Id of a shipped questionnaire, or a TOML file.")],
    model: Annotated[str, typer.Option(help="Model that plays the people.")] = "smollm2",
    by: Annotated[str, typer.Option(help="letters or words (words suit small models).")] = "letters",
    runs: Annotated[int, typer.Option(help="Sampled answers per person and item, without log-probabilities.")] = 2,
    limit: Annotated[int | None, typer.Option(help="Ask the first so many people only.")] = None,
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the answers to this JSONL file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the readings as JSON.")] = False,
) -> None:
    """Ask every person every item and measure coverage and variance."""
    with ending():
        from multitudes.api import measure
        from multitudes.api import survey as ask
        from multitudes.cli.show import score_table
        from multitudes.models.load import load
        from multitudes.personas.questionnaires import load_questionnaire
        from multitudes.personas.sources import load_population

        population = load_population(people, limit=limit)
        asked = load_questionnaire(questionnaire)
        way: Literal["letters", "words"] = by  # type: ignore[assignment]  # the call refuses any other
        answers = ask(population, asked, model=load(model), by=way, runs=runs, seed=seed)
        if out is not None:
            out.write_text("".join(a.model_dump_json() + "\n" for a in answers), encoding="utf-8")
        readings = measure(answers=answers, gauges=("coverage", "variance"), people=population, questionnaire=asked)
        if as_json:
            print_json([r.model_dump(mode="json") for r in readings])
            return
        unscored = sum(a.fault is not None for a in answers)
        console.print(f"{len(population)} people, {len(answers)} answers, {unscored} unscored", markup=False)
        print_table(score_table([s for r in readings for s in r.scores]))

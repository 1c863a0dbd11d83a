"""``multitudes personas``: make, show and check populations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, print_table

app = typer.Typer(help="Populations: generate, show, cover.", no_args_is_help=True)


@app.command()
def generate(
    questionnaire: Annotated[str, typer.Argument(help="Questionnaire whose axes the people are spread on.")],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 16,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("people.json"),
    generator: Annotated[
        str | None,
        typer.Option(
            help="template, sobol, sobol-or-template, iid, naive or MODULE:OBJECT; "
            "sobol-or-template with --writer and template without, if not given."
        ),
    ] = None,
    writer: Annotated[str | None, typer.Option(help="Model that writes, for all but template.")] = None,
    context: Annotated[str | None, typer.Option(help="The setting; the questionnaire's if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Root of all draws.")] = 0,
) -> None:
    """Make people and write them to a file."""
    with ending():
        from multitudes.api import populate
        from multitudes.core.errors import ConfigError
        from multitudes.models.load import load
        from multitudes.personas.questionnaires import load_questionnaire

        if out.exists():
            raise ConfigError("the file exists", where=str(out), hint="name another file with --out")
        asked = load_questionnaire(questionnaire)
        population = populate(
            context or asked.context, dimensions=asked.dimensions, n=n, generator=generator, seed=seed,
            writer=load(writer) if writer else None,
        )  # fmt: skip
        out.write_text(population.model_dump_json(indent=1), encoding="utf-8")
        fallbacks = sum(p.fallback for p in population.personas)
        counted = f" ({fallbacks} written by template instead of the model)" if writer else ""
        console.print(f"{len(population)} people in {out}{counted}", markup=False)


@app.command()
def show(
    people: Annotated[Path, typer.Argument(help="Population: TOML, JSON, JSONL, CSV or Parquet.")],
    limit: Annotated[int, typer.Option(help="Show the first so many.")] = 10,
    prompt: Annotated[bool, typer.Option("--prompt", help="Show what a model is told instead.")] = False,
) -> None:
    """Show people, or the prompt a model gets for each."""
    with ending():
        from multitudes.personas.render import render
        from multitudes.personas.sources import load_population

        population = load_population(people, limit=limit)
        for persona in population.personas:
            text = render(persona, context=population.context) if prompt else persona.text
            console.print(f"{persona.id}  {persona.name}", markup=False, style="bold")
            console.print(text + "\n", markup=False)


@app.command()
def cover(people: Annotated[Path, typer.Argument(help="Population made by a generator that places people.")]) -> None:
    """How much of the space the planned positions cover."""
    with ending():
        import numpy as np

        from multitudes.cli.show import score_table
        from multitudes.core.errors import ConfigError
        from multitudes.measure.coverage_reading import coverage_reading
        from multitudes.personas.sources import load_population

        population = load_population(people)
        axes = [d.id for d in population.dimensions]
        if not axes or not all(set(axes) <= set(p.placement) for p in population.personas):
            raise ConfigError(
                "these people were not placed on any axes", where=str(people),
                hint="ask them instead: multitudes survey PEOPLE QUESTIONNAIRE",
            )  # fmt: skip
        t = np.array([[p.placement[a].target for a in axes] for p in population.personas])
        reading = coverage_reading(t, None, dimension_ids=axes, persona_ids=[p.id for p in population.personas])
        print_table(score_table(reading.scores))

"""``multitudes train``: put a persona into the weights, as an adapter that is loaded by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending, progress

app = typer.Typer(help="Adapters: personas that are put into a model's weights.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps ``distil`` a command of its own while it is the only one."""


@app.command()
def distil(
    persona: Annotated[
        str, typer.Argument(metavar="PERSONA|FILE", help="A shipped role, such as midwife, or a population file.")
    ],
    model: Annotated[str, typer.Option(help="Local model that is trained.")] = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of adapters, one per persona; the cache if not given, where they have names."),
    ] = None,
    person: Annotated[str | None, typer.Option(help="Only this person of the file.")] = None,
    answers: Annotated[int, typer.Option(help="Answers of the prompted model to learn from.")] = 200,
    epochs: Annotated[int, typer.Option(help="Passes over them; the adapter after each is kept.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Its peak; few answers are few steps, and need more.")] = 2e-4,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 64,
    seed: Annotated[int, typer.Option(help="Root of every draw.")] = 0,
) -> None:
    """Prompt distillation: train what a persona's system prompt makes a model say, without the prompt."""
    with ending():
        from multitudes.core.errors import ConfigError, did_you_mean
        from multitudes.core.records import Persona
        from multitudes.personas.sources import load_population
        from multitudes.study.distilled import distil as train

        people: list[str | Persona] = [persona]
        context = ""
        if Path(persona).is_file():
            population = load_population(Path(persona))
            context, ids = population.context, [p.id for p in population.personas]
            if person is not None and person not in ids:
                raise ConfigError("no such person", where=persona, found=repr(person),
                                  hint=did_you_mean(person, ids))  # fmt: skip
            people = [p for p in population.personas if person in (None, p.id)]
        for one in people:
            with progress() as watch:
                folder = train(
                    one, model=model, out=out, answers=answers, epochs=epochs, learning_rate=learning_rate,
                    max_tokens=max_tokens, context=context, seed=seed, watch=watch,
                )  # fmt: skip
            console.print(f"{folder}: load it as {model}+{folder.name if out is None else folder}", markup=False)

"""``multitudes chat``: talk to one persona."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from multitudes.cli._show import console, ending


def chat(
    people: Annotated[Path, typer.Argument(help="Population: TOML, JSON, JSONL, CSV or Parquet.")],
    who: Annotated[str | None, typer.Argument(help="Id or name; the first person if not given.")] = None,
    model: Annotated[str, typer.Option(help="Model that plays the person.")] = "smollm2",
    temperature: Annotated[float, typer.Option(help="0 is the most likely words.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(help="Longest reply.")] = 60,
    seed: Annotated[int, typer.Option(help="Root of all seeds.")] = 0,
) -> None:
    """Talk to a simulated person; an empty line or end of input ends it."""
    with ending():
        from multitudes.core.errors import ConfigError, did_you_mean
        from multitudes.core.loop import run_sync
        from multitudes.core.records import Turn
        from multitudes.core.seeds import derive_seed
        from multitudes.models.base import Request, Sampling
        from multitudes.models.load import load
        from multitudes.personas.render import render
        from multitudes.personas.sources import load_population
        from multitudes.simulate.guards import GuardContext, check
        from multitudes.simulate.views import view

        population = load_population(people)
        named = {p.id: p for p in population.personas} | {p.name: p for p in population.personas}
        persona = population.personas[0] if who is None else named.get(who)
        if persona is None:
            raise ConfigError(
                "nobody of that name",
                where=str(people),
                found=repr(who),
                hint=did_you_mean(who or "", {p.name for p in population.personas}),
            )
        speaker = load(model)
        sampling = Sampling(temperature=temperature, top_p=0.9, max_tokens=max_tokens)
        prompt = render(persona, context=population.context)
        console.print(f"You are talking to {persona.name}. {persona.text}\n", markup=False)
        turns: list[Turn] = []
        while True:
            try:
                said = input("you: ").strip()
            except EOFError:
                break
            if not said:
                break
            turns.append(Turn(speaker="target", text=said))
            request = Request(
                view(turns, "user", system=prompt), sampling, seed=derive_seed("chat", seed, persona.id, len(turns))
            )
            reply = run_sync(speaker.reply([request]))[0]
            if reply.fault is not None:
                console.print(f"({reply.fault.code}: {reply.fault.detail})", markup=False)
                continue
            fired = check(reply.text, GuardContext.of(turns, "user", name=persona.name))
            turns.append(Turn(speaker="user", text=reply.text, guards=fired))
            flag = f"   [{', '.join(fired)}]" if fired else ""
            console.print(f"{persona.name}: {reply.text.strip()}{flag}", markup=False)
        run_sync(speaker.aclose())

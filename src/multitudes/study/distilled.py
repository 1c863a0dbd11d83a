"""One person into one adapter: who is meant, which prompt is distilled, and where the adapter goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.loop import run_sync
from multitudes.core.records import Persona
from multitudes.models.base import Sampling
from multitudes.models.local.adapter import adapters_root
from multitudes.study.pressure.personas import PressPersona, of_person, shipped_personas
from multitudes.train.distil import DistilConfig, Step
from multitudes.train.distil import distil as distil_prompt
from multitudes.train.sft import SftConfig


def distil(
    person: str | Persona, *, model: str = "smollm2", out: str | Path | None = None, answers: int = 200,
    epochs: int = 3, learning_rate: float = 2e-4, max_tokens: int = 64, context: str = "", seed: int = 0,
    watch: Callable[[Step], None] = lambda step: None,
) -> Path:  # fmt: skip
    """Train a person into an adapter by prompt distillation; see ``multitudes train distil --help``.

    The model answers questions under the person's full prompt; the adapter learns to answer so without it. The same
    call gives the same adapter, and finds it if it is there.

    Args:
        person: A shipped role by name, or a person.
        model: Name of a local model.
        out: Folder of adapters; the person's lies below it under its id. If None it is where named adapters are
            looked for, so that ``load("smollm2+ID")`` finds it.
        answers: Answers to learn from, at least 8.
        epochs: Passes over them; the adapter after each is kept, as ``epoch-1`` and so on.
        learning_rate: Its peak; 1e-3 does where there are some 40 answers and ten steps.
        max_tokens: Longest answer.
        context: Setting of the person, as in a population.
        seed: Root of every draw.
        watch: Told of progress.

    Returns:
        The adapter's folder: ``load(f"{model}+{folder}")``.

    Raises:
        ConfigError: An unknown role, a model that cannot be trained, or a folder that holds another adapter.
        ModelError: Too few usable answers.
        MissingExtra: Without the extra ``train``.
    """
    who = of_person(person, context) if isinstance(person, Persona) else _shipped(person)
    config = DistilConfig(
        answers=answers, sampling=Sampling(temperature=0.7, top_p=0.95, max_tokens=max_tokens),
        training=SftConfig(epochs=epochs, learning_rate=learning_rate), seed=seed,
    )  # fmt: skip
    folder = (adapters_root() if out is None else Path(out)) / who.id
    return run_sync(distil_prompt(who.id, who.rungs["card"], folder, model=model, config=config, watch=watch))


def _shipped(name: str) -> PressPersona:
    known = {p.id: p for p in shipped_personas()}
    if name not in known:
        raise ConfigError("unknown role", where="person", found=repr(name), hint=did_you_mean(name, known))
    return known[name]

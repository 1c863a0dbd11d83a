"""Who answers in the people's place, so that it is seen what any prompt would do.

| arm | who | what its signal shows |
|---|---|---|
| ``none`` | nobody: the same call under several labels | no persona at all; its true signal is 0 |
| ``random-text`` | random words, as long as a person's prompt, the same for all items and runs | any prefix |
| ``shuffled`` | a person's own words in one random order | vocabulary without statements |
| ``demographics`` | the person's facts alone | how far the facts alone move answers |
"""

from __future__ import annotations

from collections.abc import Iterator

from multitudes.core.errors import ConfigError
from multitudes.core.records import Persona, Population
from multitudes.core.seeds import derive_rng
from multitudes.models.wrappers.random_text import random_words
from multitudes.personas.render import render

ARMS = ("none", "random-text", "shuffled", "demographics")


def placebo(arm: str, population: Population, *, n: int, root: str) -> Iterator[tuple[Persona, str]]:
    """``n`` stand-ins of one arm and the system prompt of each.

    Stand-ins of ``shuffled`` and ``demographics`` bear the id of the person they are made from, evenly spaced over
    the population; the others bear numbers. A stand-in without a person has no name.

    Args:
        arm: One of ``ARMS``.
        population: The people under test.
        n: How many; at most as many as there are people.
        root: Root of the draws.

    Raises:
        ConfigError: The arm ``demographics`` with people who have no facts.
    """
    people = [population.personas[k * len(population) // n] for k in range(n)]
    for k, person in enumerate(people):
        prompt = render(person, context=population.context)
        rng = derive_rng(root, "placebo", arm, k)
        if arm == "none":
            yield _nobody(f"none:{k}"), ""
        elif arm == "random-text":
            yield _nobody(f"random-text:{k}"), random_words(len(prompt.split()), rng)
        elif arm == "shuffled":
            own = person.text.split()
            text = " ".join(own[i] for i in rng.permutation(len(own)))
            yield person, render(person.model_copy(update={"text": text}), context=population.context)
        else:
            if not person.facts:
                raise ConfigError(
                    "the placebo arm 'demographics' needs facts about every person",
                    where="survey.placebo", found=f"{person.id} has none",
                    hint="leave the arm out, or read people with facts from population.file",
                )  # fmt: skip
            yield person, render(person.model_copy(update={"text": ""}), context=population.context)


def _nobody(name: str) -> Persona:
    return Persona(id=name, name="", text="nobody")

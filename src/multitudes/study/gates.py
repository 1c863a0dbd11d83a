"""Whose prose is any good: what the two gates of a comparison share, and how one of them is chosen."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.measure.diversity.arms import CODE, DiversityComparison, PairCount, Sample
from multitudes.measure.diversity.compare import compare_arms
from multitudes.measure.diversity.outcomes import Placed
from multitudes.measure.diversity.syntax import Tagger
from multitudes.models.encode import Encoder


class Gated(NamedTuple):
    """Texts with their validity, what is known of their pairs, and what a reader must be told."""

    samples: list[Sample]
    pairs: dict[tuple[str, str, str], PairCount]
    stamps: dict[str, str]
    notes: list[str]


def prose(samples: Sequence[Sample], where: str) -> dict[str, list[int]]:
    """Places of the texts of each domain whose validity nobody knows.

    Raises:
        ConfigError: There is none.
    """
    domains: dict[str, list[int]] = defaultdict(list)
    for i, s in enumerate(samples):
        if s.domain not in CODE:
            domains[s.domain].append(i)
    todo = {d: places for d, places in domains.items() if any(samples[i].valid is None for i in places)}
    if not todo:
        raise ConfigError(
            "there is no prose whose validity is unknown", where=where,
            hint="leave the gate out: validity is in the files already, or programs are judged by running them",
        )  # fmt: skip
    return todo


def bags_of(samples: Sequence[Sample], places: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """Places by arm and prompt."""
    bags: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in places:
        bags[samples[i].arm, samples[i].prompt].append(i)
    return bags


def gate_prose(
    samples: Sequence[Sample], asked: Mapping[str, str], *, proxy: Path | None, judge: Path | None,
    encoder: Encoder | None, cache: Path | None = None, seed: int,
) -> Gated:  # fmt: skip
    """Judge prose by the one file that is given; without one, leave it as it is.

    Args:
        samples: Texts of all arms.
        asked: Words of each prompt, by its id.
        proxy: Table of reference texts, see ``gate_proxy``.
        judge: Judge file, see ``gate_judge``.
        encoder: The one behind the vectors of the texts.
        cache: File that keeps the verdicts of a served judge.
        seed: Of random pairs and orders.

    Raises:
        ConfigError: Both files.
    """
    if proxy is not None and judge is not None:
        raise ConfigError("prose is judged in one way", where="--proxy", found="--proxy and --judge", expected="one")
    if proxy is not None:
        from multitudes.study.gate_proxy import gate_by_proxy

        return gate_by_proxy(samples, asked, proxy, encoder, seed=seed)
    if judge is not None:
        from multitudes.study.gate_judge import gate_by_judge

        return gate_by_judge(samples, asked, judge, cache=cache, seed=seed)
    return Gated(list(samples), {}, {}, [])


def compare_gated(
    found: Gated, *, tagger: Tagger | None, placed: Mapping[str, Placed] | None = None, same_cost: bool = False,
    seed: int,
) -> DiversityComparison:  # fmt: skip
    """Compare the arms, and say with the caveats how validity was found."""
    compared = compare_arms(
        found.samples, tagger=tagger, pairs=found.pairs, stamps=found.stamps, placed=placed, same_cost=same_cost,
        seed=seed,
    )  # fmt: skip
    return compared.model_copy(update={"caveats": (*found.notes, *compared.caveats)})


_WORD = re.compile(r"\w+\W+\w+")


def words_of(prompts: Sequence[str]) -> dict[str, str]:
    """Prompts of a file as what was asked, for gates that read them.

    Raises:
        DataFormatError: They are names and not words: a gate could not tell what a text should be about.
    """
    names = [p for p in dict.fromkeys(prompts) if not _WORD.search(p)]
    if names:
        raise DataFormatError(
            "a gate needs the words of each prompt, not its name", where="column 'prompt'", found=repr(names[0]),
            expected="what was asked", hint="name the column that holds it: --column prompt=COLUMN",
        )  # fmt: skip
    return {p: p for p in prompts}

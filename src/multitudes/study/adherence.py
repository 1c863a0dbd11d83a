"""Do people stay where they were put when a model speaks in another way? The same placed people, asked through each.

People come from templates, so that no model had a hand in them; answers are sampled replies, because a remedy changes
what is said and not the probabilities behind it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.core.canonical import canonical_json
from multitudes.core.errors import DataFormatError, ModelError, StoreError
from multitudes.core.loop import run_sync
from multitudes.core.records import Answer
from multitudes.measure.diversity.outcomes import Placed
from multitudes.models.base import ChatModel
from multitudes.personas.generators import get_generator
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.personas.render import render
from multitudes.simulate.survey import Ask, SurveyRules, ask_all
from multitudes.study.gauges import Material, positions

QUESTIONNAIRE = "temperament"
PEOPLE = 16  # a power of two: Sobol points of that number are balanced


def placed_answers(
    name: str, open_model: Callable[[], ChatModel], path: Path, *, seed: int,
    watch: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> tuple[Placed, str]:  # fmt: skip
    """Planned and expressed positions of placed people who answer through one model.

    Args:
        name: The model.
        open_model: Opens it.
        path: Where the answers are stored; what is there is not asked again.
        seed: Root of people and draws.
        watch: Called with the name, how many answers are there, and how many are wanted.

    Returns:
        The positions, and a sentence about answers that could not be read; empty if all could.

    Raises:
        ModelError: Answers that a server could not give.
        DataFormatError: Stored answers of another model or seed.
    """
    asked = load_questionnaire(QUESTIONNAIRE)
    maker = get_generator("template")
    people = run_sync(maker.generate(asked.context, list(asked.dimensions), PEOPLE, llm=None, seed=seed))
    asks = [
        Ask(f"{p.id}.{item.id}", p, render(p, context=people.context), item, 0)
        for p in people.personas
        for item in asked.items
    ]
    settings = {"model": name, "root": f"adherence:{seed}", "questionnaire": asked.hash}
    answers = _read(path, settings)
    watch(name, len(answers), len(asks))
    if not answers:
        model = open_model()
        try:
            rules = SurveyRules(mode="sampled", by="words")
            answers = run_sync(ask_all(asks, asked, model=model, root=f"adherence:{seed}", rules=rules))
        finally:
            run_sync(model.aclose())
        lost = [a for a in answers if a.fault is not None and a.fault.kind == "provider"]
        if lost:
            raise ModelError(
                "some answers could not be had", where=name, found=f"{len(lost)} of {len(answers)}",
                hint="run the same command again",
            )  # fmt: skip
        _write(path, settings, answers)
        watch(name, len(answers), len(asks))
    _, _, z, t = positions(Material(conversations=(), answers=tuple(answers), population=people, questionnaire=asked))
    unread = sum(math.isnan(a.score) for a in answers)
    note = f"adherence of {name}: {unread} of {len(answers)} answers could not be read" if unread else ""
    return Placed(np.asarray(t), np.asarray(z)), note


def _read(path: Path, settings: dict[str, str]) -> list[Answer]:
    if not path.is_file():
        return []
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        found = {key: stored[key] for key in settings}
        answers = [Answer.model_validate(a) for a in stored["answers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataFormatError("not answers of ours", where=str(path), hint="use another --out") from error
    if found != settings:
        raise DataFormatError(
            "answers that were asked in another way", where=str(path), found=str(found), expected=str(settings),
            hint="use another --out",
        )  # fmt: skip
    return answers


def _write(path: Path, settings: dict[str, str], answers: list[Answer]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [a.model_dump(mode="json") for a in answers]
        part.write_text(canonical_json({**settings, "answers": rows}), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StoreError("answers cannot be stored", where=str(path), found=error.strerror or str(error)) from error

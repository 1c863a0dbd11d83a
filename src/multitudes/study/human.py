"""People's own answers to the items of a survey: read once, stored with the run, compared with the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from multitudes.core.errors import DataFormatError, did_you_mean
from multitudes.core.records import Questionnaire
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.simulate.answers import answers_of
from multitudes.simulate.survey import keyed
from multitudes.simulate.tables import read_table


def read_human(path: Path, questionnaire: Questionnaire) -> dict[str, Any]:
    """A table of people's answers as plain rows: who, which item, which label, which run.

    Args:
        path: With columns for person, item and answer; run numbers and attributes such as age are optional. Items
            are the questionnaire's ids; answers its labels, or 1 for the lowest to K for the highest.
        questionnaire: What was asked.

    Raises:
        DataFormatError: An item or an answer that is not the questionnaire's.
    """
    plain = read_table(path, require=("persona", "item", "answer"))
    table = read_table(path, require=("persona", "item", "answer"), attributes=plain.unused)
    answers = answers_of(table, kind="categorical")
    names = {label.casefold(): i for i, label in enumerate(questionnaire.labels)}
    names |= {str(i + 1): i for i in range(len(questionnaire.labels))}
    unknown = next((label for label in answers.labels if label.casefold() not in names), None)
    if unknown is not None:
        raise DataFormatError(
            "an answer that is none of the questionnaire's labels", where=str(path), found=repr(unknown),
            expected=", ".join(questionnaire.labels) + f", or 1 to {len(questionnaire.labels)}",
        )  # fmt: skip
    strange = next((str(i) for i in answers.item if str(i) not in questionnaire.by_id), None)
    if strange is not None:
        raise DataFormatError(
            "an item that the questionnaire does not have", where=str(path), found=repr(strange),
            hint=did_you_mean(strange, questionnaire.by_id),
        )  # fmt: skip
    assert answers.codes is not None
    code = [names[answers.labels[c].casefold()] if c >= 0 else None for c in answers.codes]
    items = [str(i) for i in answers.item]
    keyed_scores = [
        None
        if c is None
        else keyed(_one_hot(c, len(questionnaire.labels)), reverse=questionnaire.by_id[i].reverse)[0]
        for c, i in zip(code, items, strict=True)
    ]
    return {
        "file": path.name,
        "labels": len(questionnaire.labels),
        "persona": [str(p) for p in answers.persona],
        "item": items,
        "label": code,
        "score": keyed_scores,
        "run": None if answers.run is None else [str(r) for r in answers.run],
        "attributes": {name: [str(v) for v in values] for name, values in table.attributes.items()},
    }


def stored_human(rows: Any) -> ArmAnswers | None:
    """What ``read_human`` found, as arrays."""
    if not rows:
        return None
    k = rows["labels"]
    return ArmAnswers(
        score=np.array([np.nan if s is None else s for s in rows["score"]]),
        persona=np.array(rows["persona"]),
        item=np.array(rows["item"]),
        run=None if rows["run"] is None else np.array(rows["run"]),
        probs=np.array([[np.nan] * k if c is None else _one_hot(c, k) for c in rows["label"]]),
        attributes={name: np.array(values) for name, values in rows["attributes"].items()},
        ends=(0.0, 1.0),
    )


def _one_hot(label: int, k: int) -> tuple[float, ...]:
    return tuple(float(i == label) for i in range(k))

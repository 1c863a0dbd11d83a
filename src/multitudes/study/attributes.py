"""Which columns of two files of answers say who a person is: those that both have and that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.demographics import PERSON_CODE


def with_attributes(ours: ArmAnswers, human: ArmAnswers) -> tuple[ArmAnswers, ArmAnswers, list[str]]:
    """Both sides with the attributes that can be compared, and one sentence on what was taken and left out.

    Args:
        ours: The persona arm with its ``attributes``; names that people lack are left out without a word.
        human: People with theirs.
    """
    good: list[str] = []
    notes = []
    for name in [n for n in ours.attributes or {} if n in (human.attributes or {})]:
        why = [w for side in (ours, human) if (w := _unfit(side, name))]
        if why:
            notes.append(f"column {name!r} is on both sides but no attribute: {why[0]}")
        else:
            good.append(name)
    if good:
        notes.insert(0, "attributes on both sides: " + ", ".join(repr(name) for name in good))
    return _kept(ours, good), _kept(human, good), notes


def _unfit(side: ArmAnswers, name: str) -> str:
    assert side.attributes is not None
    values: NDArray[Any] = side.attributes[name]
    people = len(np.unique(side.persona))
    found = len({*zip(side.persona.tolist(), values.tolist(), strict=True)})
    if found > people:
        return "it changes within a person"
    kinds = len(set(values.tolist()))
    if kinds < 2:
        return "everybody has the same value"
    return "it all but names the person" if kinds > PERSON_CODE * people else ""


def _kept(side: ArmAnswers, names: list[str]) -> ArmAnswers:
    given: Mapping[str, NDArray[Any]] = side.attributes or {}
    return replace(side, attributes={name: given[name] for name in names} or None)

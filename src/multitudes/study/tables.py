"""Gauges on anybody's table of answers or texts: no run, no simulation, only a file with columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError, DataFormatError, did_you_mean
from multitudes.core.records import Reading
from multitudes.measure.diversity.reading import diversity_reading
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.beside_people import EPSILON
from multitudes.measure.variance.panel import PLACEBOS, panel_reading
from multitudes.measure.variance.wording import Worded
from multitudes.models.encode import Encoder
from multitudes.simulate.answers import Answers, answers_of
from multitudes.simulate.tables import Table, read_table
from multitudes.study.attributes import with_attributes

FloatArray = NDArray[np.float64]

GAUGES = ("variance", "diversity")
MAX_STEPS = 12  # numbers with more distinct values than this are a measure, not a scale of options


class Measured(NamedTuple):
    """Readings of a table, and what was decided while it was read, one sentence each."""

    readings: tuple[Reading, ...]
    notes: tuple[str, ...]


def measure_table(
    path: str | Path,
    gauges: Sequence[str] = ("variance",),
    *,
    columns: Mapping[str, str] | None = None,
    human: str | Path | None = None,
    placebo_waived: str = "",
    temperature: float = 1.0,
    scale: tuple[float, float] | None = None,
    refusals: Sequence[str] = (),
    epsilon: float = EPSILON,
    encoder: Encoder | None = None,
    skip_invalid: bool = False,
    seed: int = 0,
) -> Measured:
    """Read ``variance`` of answers or ``diversity`` of texts in a CSV, TSV, JSON, JSONL or Parquet file.

    Args:
        path: The file. For variance it needs columns for persona, item and answer, for diversity persona and text.
        columns: Column of the file by role, such as ``{"persona": "worker"}``; obvious names are guessed.
        gauges: ``variance``, ``diversity`` or both.
        human: A file of people's own answers to the same items, read in the same way.
        placebo_waived: Why the file has no placebo arms; printed with the verdict.
        temperature: At which the runs were sampled, where no column says.
        scale: Lowest and highest number an answer may be; needed only where answers were refused, else the extremes
            of the answers stand for it.
        refusals: Answers that mean "I will not say", compared without case.
        epsilon: How much less often than a person a simulated one may win the alternative annotator test, [0, 1).
        encoder: For the spread of texts.
        skip_invalid: Leave out unreadable rows, counted.
        seed: Seed of intervals and permutations.

    Further columns that both files have, one value for each person, are attributes: of each, the groups' biases are
    read, and all together are the demographics of the verdict's third question.

    An ``arm`` column may hold ``persona``, ``none``, ``random-text``, ``shuffled`` and ``demographics``; without one
    all answers are of the personas under test.

    Raises:
        ConfigError: A gauge that tables do not have, a file that cannot be read, or numbers that are off the scale.
    """
    for name in gauges:
        if name not in GAUGES:
            raise ConfigError(
                "this gauge does not read tables", where="gauges", found=repr(name),
                expected=" or ".join(GAUGES), hint=did_you_mean(name, GAUGES),
            )  # fmt: skip
    readings: list[Reading] = []
    notes: list[str] = []
    for name in gauges:
        need = ("persona", "item", "answer") if name == "variance" else ("persona", "text")
        table = read_table(path, columns, require=need, skip_invalid=skip_invalid)
        notes += table.warnings
        if name == "diversity":
            bags: dict[str, list[str]] = defaultdict(list)
            for who, text in zip(table.roles["persona"], table.roles["text"], strict=True):
                bags[str(who)].append(str(text))
            encode = None if encoder is None else encoder.encode
            readings.append(
                diversity_reading(bags, encoder=encode, encoder_name=encoder.name if encoder else "", seed=seed)
            )
            continue
        answers = answers_of(table, refusals=refusals)
        notes += answers.notes
        theirs = None
        if human is not None:
            people_table = read_table(human, columns, require=need, skip_invalid=skip_invalid)
            notes += [f"people: {n}" for n in people_table.warnings]
            both = [c for c in table.unused if c in people_table.unused]
            table, people_table = (
                read_table(f, columns, attributes=both, require=need, skip_invalid=skip_invalid)
                for f in (path, human)
            )
            theirs = answers_of(people_table, refusals=refusals, kind=answers.kind)
        steps = _steps(answers, theirs, scale)
        arms = _arms(table, answers, steps, scale)
        people = None if theirs is None else _people(people_table, theirs, answers.labels, steps, scale)
        if people is not None:
            arms["persona"], people, said = with_attributes(arms["persona"], people)
            notes += said
        readings.append(
            panel_reading(arms, waiver=placebo_waived, human=people, temperature=_temperature(table, temperature),
                          epsilon=epsilon, seed=seed)
        )  # fmt: skip
    return Measured(tuple(readings), tuple(dict.fromkeys(notes)))


def _temperature(table: Table, given: float) -> float:
    """The coldest temperature of the file: one arm without run noise makes every comparison of runs void."""
    found = table.roles.get("temperature")
    known = [] if found is None else [t for t in found.tolist() if t == t]
    return min(known) if known else given


def _steps(answers: Answers, people: Answers | None, scale: tuple[float, float] | None) -> FloatArray | None:
    """Values that anybody on either side used, so that one place means one answer; None for a measure.

    With a scale whose ends and answers are whole numbers, all whole numbers of the scale.
    """
    sides = [side.y for side in (answers, people) if side is not None and side.y is not None]
    used = np.concatenate(sides) if sides else np.zeros(0)
    steps = np.unique(used[~np.isnan(used)])
    if scale is not None and len(steps):
        low, high = scale
        if not low < high or steps[0] < low or steps[-1] > high:
            raise ConfigError(
                "answers are off the scale", where="scale", found=f"{low:g} to {high:g}",
                expected=f"a scale that holds {steps[0]:g} to {steps[-1]:g}",
            )  # fmt: skip
        steps = np.unique([*steps, low, high])
        if (steps == np.round(steps)).all() and high - low < MAX_STEPS:
            steps = np.arange(low, high + 1)
    return steps if 0 < len(steps) <= MAX_STEPS else None


def _arms(
    table: Table, answers: Answers, steps: FloatArray | None, scale: tuple[float, float] | None
) -> dict[str, ArmAnswers]:
    y, probs = _values(answers, answers.labels, steps)
    arm = np.full(table.n, "persona") if answers.arm is None else np.where(answers.arm == "", "persona", answers.arm)
    for name in np.unique(arm.astype(str)):
        if name != "persona" and name not in PLACEBOS:
            raise DataFormatError(
                "an arm that is none", where=str(table.path), found=repr(name),
                expected="persona, " + ", ".join(PLACEBOS), hint=did_you_mean(name, ["persona", *PLACEBOS]),
            )  # fmt: skip
    if not (arm == "persona").any():
        raise DataFormatError(
            "no answers of the personas under test", where=str(table.path),
            found="arms " + ", ".join(sorted(set(arm.astype(str)))), expected="rows whose arm is 'persona' or empty",
        )  # fmt: skip
    run = _runs(answers)
    return {
        str(name): ArmAnswers(
            score=y[rows], persona=answers.persona[rows].astype(str), item=answers.item[rows].astype(str),
            run=None if run is None else run[rows], probs=None if probs is None else probs[rows],
            ordered=answers.kind == "numeric", worded=_worded(answers, y, rows), ends=scale, options=answers.labels,
            attributes={column: values[rows] for column, values in table.attributes.items()},
        )
        for name in ("persona", *PLACEBOS)
        if (rows := arm == name).any()
    }  # fmt: skip


def _people(
    table: Table, answers: Answers, labels: tuple[str, ...], steps: FloatArray | None,
    scale: tuple[float, float] | None,
) -> ArmAnswers:  # fmt: skip
    strange = [label for label in answers.labels if label not in labels]
    if strange:
        raise DataFormatError(
            "people's answers are not on the scale of the simulated ones", where=str(table.path),
            found=", ".join(repr(x) for x in strange[:5]), expected=", ".join(labels),
        )  # fmt: skip
    y, probs = _values(answers, labels, steps)
    return ArmAnswers(
        y, answers.persona.astype(str), answers.item.astype(str), _runs(answers), probs, ends=scale, options=labels,
        attributes=table.attributes,
    )  # fmt: skip


def _values(answers: Answers, labels: tuple[str, ...], steps: FloatArray | None) -> tuple[Any, FloatArray | None]:
    """Numbers (n,) with options where they are steps of a scale, or one-hot rows (n, K) as both; NaN: unscored."""
    if answers.codes is None:
        if steps is None or answers.y is None:
            return answers.y, None
        given = (answers.y[:, None] == steps).astype(np.float64)
        given[np.isnan(answers.y)] = np.nan
        return answers.y, given
    at = {label: k for k, label in enumerate(labels)}
    place = np.array([at[label] for label in answers.labels])
    probs = np.eye(len(labels))[place[answers.codes]]
    probs[answers.codes < 0] = np.nan
    return probs, probs


def _worded(answers: Answers, y: Any, rows: Any) -> Worded | None:
    """Wordings are taken as paraphrases of their item."""
    if answers.wording is None or len(np.unique(answers.wording[rows].astype(str))) < 2:
        return None
    run = None if answers.run is None else answers.run[rows]
    return Worded(y[rows], answers.persona[rows], answers.item[rows], answers.wording[rows], nested=True, run=run)


def _runs(answers: Answers) -> Any:
    """Run and wording together name a repeat."""
    if answers.run is None and answers.wording is None:
        return None
    parts = [x.astype(str) for x in (answers.run, answers.wording) if x is not None]
    return parts[0] if len(parts) == 1 else np.char.add(np.char.add(parts[0], "/"), parts[1])

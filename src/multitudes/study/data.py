"""A run as plain data: what the report, comparisons and exports are functions of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitudes.core.errors import StoreError
from multitudes.core.records import Answer, Conversation, Population, Questionnaire, Reading
from multitudes.study.spec import StudySpec
from multitudes.study.store import Store


@dataclass(frozen=True, slots=True)
class RunData:
    """Everything a run holds.

    Attributes:
        folder: Where it lies.
        spec: The study.
        population: Who was simulated.
        questionnaire: What they were asked; None without a survey.
        conversations: What was said, in order of id.
        answers: What was answered, in order of id.
        readings: What was measured, in order of gauge.
        info: Models, versions, times and counts, as written by ``study.run``.
    """

    folder: Path
    spec: StudySpec
    population: Population
    questionnaire: Questionnaire | None
    conversations: tuple[Conversation, ...]
    answers: tuple[Answer, ...]
    readings: tuple[Reading, ...]
    info: dict[str, Any]

    @property
    def own_answers(self) -> tuple[Answer, ...]:
        """Answers of the people under test, without the placebo arms."""
        return tuple(a for a in self.answers if a.arm == "persona")


def open_run(folder: str | Path) -> RunData:
    """Read a run folder; another process may be writing to it.

    Raises:
        StoreError: No run there, or one that has not begun.
    """
    with Store(Path(folder), write=False) as store:
        return read_run(store)


def read_run(store: Store) -> RunData:
    """The run of an open store."""
    spec, population = store.get_meta("spec"), store.population()
    if spec is None or population is None:
        raise StoreError("the run has not begun", where=str(store.folder), hint="run the study again to go on")
    questionnaire = store.get_meta("questionnaire")
    return RunData(
        folder=store.folder,
        spec=StudySpec.model_validate(spec),
        population=population,
        questionnaire=None if questionnaire is None else Questionnaire.model_validate(questionnaire),
        conversations=tuple(store.conversations()),
        answers=tuple(store.answers()),
        readings=tuple(store.readings()),
        info={
            "planned": store.get_meta("planned") or {},
            "models": store.get_meta("models") or {},
            "versions": store.get_meta("versions") or {},
            "templates": store.get_meta("templates") or {},
            "wall_s": store.get_meta("wall_s") or 0.0,
            "attempts": store.n_attempts(),
            "measure_usage": store.get_meta("measure_usage") or {},
        },
    )

"""Small studies that run in a blink on fake models, and a way to compare what they hold."""

import copy
import json

import pytest

from multitudes.core.loop import run_sync
from multitudes.study.run import run_study
from multitudes.study.spec import StudySpec

SMALL = {
    "schema": 1,
    "name": "small",
    "seed": 7,
    "population": {"context": "Customers of a bank.", "n": 4},
    "models": {"simulator": "fake:people", "target": "fake:echo"},
    "conversation": {"turns": 2, "replicates": 2, "guards": ["empty", "assistant_voice"]},
    "scenarios": [{"id": "card", "goal": "you want your card back", "target_system": "You are a bank."}],
    "survey": {"questionnaire": "help-line", "mode": "sampled", "runs": 1},
    "measure": {"gauges": ["leak"]},
}


@pytest.fixture
def small():
    """A study like ``SMALL``: tables are merged by key; None takes one out."""

    def make(**changes) -> StudySpec:
        raw = copy.deepcopy(SMALL)
        for key, value in changes.items():
            if value is None:
                raw.pop(key, None)
            elif isinstance(value, dict) and isinstance(raw.get(key), dict):
                raw[key] |= value
            else:
                raw[key] = value
        if "survey" not in raw:  # then people are placed on dimensions of the study's own
            patience = {"id": "patience", "name": "Patience", "low": "wants it at once", "high": "can wait"}
            raw["population"].setdefault("dimensions", [patience])
        return StudySpec.model_validate(raw)

    return make


@pytest.fixture
def run():
    """Run a study in a folder and wait for it."""

    def go(spec, folder, **more):
        return run_sync(run_study(spec, folder, **more))

    return go


def timeless(value):
    """The same without what differs between two runs of one study: how long things took."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("latency_s", "tries", "wall_s")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def held():
    """Everything a run found, for comparison with another."""

    def of(data):
        return {
            part: [timeless(json.loads(r.model_dump_json())) for r in getattr(data, part)]
            for part in ("conversations", "answers", "readings")
        }

    return of

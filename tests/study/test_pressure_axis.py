"""Conditions that edit the residual stream, on the tiny engine with a random axis: the machinery, not the numbers."""

import numpy as np
import pytest
from pressed_fakes import random_axis

from multitudes.core.loop import run_sync
from multitudes.study.pressure.analyse import analyse
from multitudes.study.pressure.data import open_pressure
from multitudes.study.pressure.run import run_pressure
from multitudes.study.pressure.spec import make_spec
from multitudes.study.pressure.store import PressureStore

EDITED = ("C5", "C6", "C6w", "C6r", "C7a", "C7b")


@pytest.fixture(scope="module")
def axis_dir(tmp_path_factory):
    pytest.importorskip("multitudes.models.local.tiny")
    return random_axis(tmp_path_factory.mktemp("axis"))


@pytest.fixture(scope="module")
def spec(axis_dir):
    return make_spec(
        "small", model="fake:tiny", axis=str(axis_dir), personas=2, prompts=2, pressures=("P2",), turns=2, every=1,
        recovery=1, max_tokens=6, items=3, conditions=("C1", "C3", *EDITED), c3_rungs=("line",), c5_rungs=(0.2, 0.4),
        keep_weak=True, free_answers=False, draws=50,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run_sync(run_pressure(spec, folder))
    return open_pressure(folder)


def test_every_condition_runs_beside_the_prompt(run):
    held = {t.condition for t in run.talks if not t.id.startswith("cal.")}
    assert held == {"C0", "C1", "C3", *EDITED}
    assert not any(t.fault for t in run.talks)
    assert len({t.engine for t in run.talks}) == 1  # the edit is no part of the engine


def test_holds_and_caps_say_how_often_they_engage(run):
    by = {c: [t.engaged for x in run.talks if x.condition == c for t in x.turns] for c in ("C3", "C6", "C6r", "C7b")}
    assert all(e is None for e in by["C3"])
    for c in ("C6", "C6r", "C7b"):
        assert all(e is not None and 0 <= e <= 1 for e in by[c])
    assert np.mean(by["C6"]) > 0
    assert all("z" in t.internal for x in run.talks for t in x.turns)  # read on the main branch


def test_edits_change_what_is_said_and_another_persons_hold_is_another(run):
    said = {c: [t.reply for x in run.talks if x.condition == c and x.pressure == "P2" for t in x.turns]
            for c in ("C3", "C6", "C6w", "C7b")}  # fmt: skip
    assert len({tuple(v) for v in said.values()}) == 4


def test_a_capped_default_is_pushed_to_the_persona(run):
    toward = {(t.condition, t.pressure): t.toward for t in run.talks}
    assert toward["C7a", "P2"] == "persona"
    assert toward["C7b", "P2"] == "assistant"
    shared = [t for t in run.talks if t.condition == "C7a" and t.pressure == "P0.a"]
    assert all(t.condition == "C7a" for t in shared)
    assert len(shared) == 2  # an edit of its own, so it cannot share the runs of nobody


def test_ranges_are_stored_and_a_resumed_run_has_the_same_edits(spec, run):
    with PressureStore(run.folder, write=False) as store:
        keys = [k for (k,) in store._rows("SELECT key FROM arrays ORDER BY key")]
    assert sum(k.endswith(".own") for k in keys) == 2
    assert sum(k.endswith(".random") for k in keys) == 2
    from multitudes.models.local.tiny import tiny_model

    class Asked:
        """Counts what a finished run still asks."""

        def __init__(self):
            self.inner, self.n = tiny_model(), 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        async def reply(self, requests):
            self.n += len(requests)
            return await self.inner.reply(requests)

    model = Asked()
    run_sync(run_pressure(spec, run.folder, model=model))
    assert model.n == 0


def test_all_arms_are_reported_with_a_reason(run):
    found = analyse(run)
    for c in ("C1", "C3", *EDITED):
        arm = found.arm("id", "P2", c)
        assert arm.measurable or arm.reason
    assert found.header["axis"]["method"] == "fixed_text"


def test_without_an_axis_they_are_left_out_and_it_is_said(tmp_path, spec):
    from multitudes.study.pressure.run import conditions_of

    ran, left = conditions_of(spec.model_copy(update={"axis": None}), None)
    assert left == EDITED
    assert ran == ("C0", "C1", "C3")

"""A drift run that is killed: nothing is held twice, and it ends with the numbers of one that was left alone."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.axis.artifact import load_axis, save_axis  # noqa: E402
from multitudes.axis.remedy import cap, engine_of, hold, steer  # noqa: E402
from multitudes.core.errors import RunLocked  # noqa: E402
from multitudes.core.records import Conversation, Fault  # noqa: E402
from multitudes.models.base import Sampling  # noqa: E402
from multitudes.models.fake import people  # noqa: E402
from multitudes.study import drift  # noqa: E402
from multitudes.study.drift import DriftSetup, arms_of, run_drift  # noqa: E402
from multitudes.study.drift_result import drift_result  # noqa: E402
from multitudes.study.drift_store import DriftStore  # noqa: E402

SETUP = DriftSetup(
    domains=("coding", "therapy"), scripts=3, turns=3, neutral=1, replicates=1,
    sampling=Sampling(temperature=1, max_tokens=8), seed=5,
)  # fmt: skip
CAPS = ["default_mean"]

CHILD = """
import asyncio, sys, time
from pathlib import Path
from multitudes.axis.artifact import load_axis
from multitudes.models.base import Sampling
from multitudes.models.local.tiny import tiny_model
from multitudes.study import drift
from multitudes.study.drift import DriftSetup, arms_of, run_drift

drift.IN_FLIGHT = 2
axis, model = load_axis(Path(sys.argv[1])), tiny_model()

def told(done, total):
    print(done, flush=True)
    if done >= 5:
        time.sleep(60)  # in the middle of everything, until it is killed

arms = arms_of(model, axis, caps={caps!r})
asyncio.run(run_drift(arms, axis, setup={setup!r}, folder=Path(sys.argv[2]), told=told))
"""


@pytest.fixture(scope="module")
def axis(tiny_axis, tmp_path_factory):
    """As it comes back from its folder, so that this process and another have the same."""
    folder = tmp_path_factory.mktemp("saved") / "axis"
    save_axis(tiny_axis, folder)
    return load_axis(folder)


@pytest.fixture(scope="module")
def whole(tiny, axis):
    """The run that nobody disturbs."""
    return asyncio.run(run_drift(arms_of(tiny, axis, caps=CAPS), axis, setup=SETUP))


def n_stored(folder):
    with DriftStore(folder, write=False) as store:
        return store._rows("SELECT COUNT(*) FROM talks")[0][0]


def assert_same(run, other):
    """Every word and every seed; places on the axis to rounding, which depends on who shares a batch."""
    assert run.held.keys() == other.held.keys()
    for arm in run.held:
        mine, theirs = run.held[arm], other.held[arm]
        assert list(mine) == list(theirs)
        for a, b in zip(mine.values(), theirs.values(), strict=True):
            assert [(t.text, t.call.seed) for t in a.turns] == [(t.text, t.call.seed) for t in b.turns]
            for t, u in zip(a.turns, b.turns, strict=True):
                if t.inside is not None:
                    np.testing.assert_allclose(t.inside.z, u.inside.z, rtol=1e-3, atol=1e-4)


class Counted:
    """How many conversations have ended when each is told."""

    def __init__(self, stop_at=None):
        self.steps, self.stop_at = [], stop_at

    def __call__(self, done, total):
        self.steps.append((done, total))
        if done == self.stop_at:
            raise Stopped


class Stopped(Exception):
    pass


def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(tiny, axis, whole, tmp_path):
    save_axis(axis, tmp_path / "axis")
    code = textwrap.dedent(CHILD).replace("{caps!r}", repr(CAPS)).replace("{setup!r}", repr(SETUP))
    out = tmp_path / "drift"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "axis"), str(out)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert any(line.strip() == "5" for line in child.stdout)
        with pytest.raises(RunLocked, match=f"process {child.pid}"):
            asyncio.run(run_drift({"plain": tiny}, axis, setup=SETUP, folder=out))
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert n_stored(out) == 5  # each was stored as it ended
    told = Counted()
    run = asyncio.run(run_drift(arms_of(tiny, axis, caps=CAPS), axis, setup=SETUP, folder=out, told=told))
    assert [d for d, _ in told.steps if d > 5] == list(range(6, 13))  # seven were left, and no other was held
    assert told.steps[-1] == (12, 12)
    assert_same(run, whole)
    again, left_alone = drift_result(run), drift_result(whole)
    assert again["setup"] == left_alone["setup"]
    for a, b in zip(again["layers"][0]["summary"], left_alone["layers"][0]["summary"], strict=True):
        assert (a["arm"], a["domain"], a["conversations"]) == (b["arm"], b["domain"], b["conversations"])
        assert a["mean_z"]["value"] == pytest.approx(b["mean_z"]["value"], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("stop_at", [1, 6, 12])
def test_stopped_anywhere_what_was_told_is_stored(tiny, axis, whole, tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr(drift, "IN_FLIGHT", 2)

    def run(told):
        return asyncio.run(run_drift(arms_of(tiny, axis, caps=CAPS), axis, setup=SETUP, folder=tmp_path, told=told))

    with pytest.raises(ExceptionGroup) as caught:
        run(Counted(stop_at))
    assert caught.group_contains(Stopped)
    assert stop_at <= n_stored(tmp_path) <= stop_at + 4  # those of the other arm may end before it is told to stop
    assert_same(run(Counted()), whole)
    assert n_stored(tmp_path) == 12
    told = Counted()
    assert_same(run(told), whole)
    assert {d for d, _ in told.steps} == {0, 6, 12}  # once more: both arms are there at once


def test_another_arm_more_scripts_or_another_way_of_drawing_hold_only_what_is_new(tiny, axis, tmp_path):
    def held(arms, setup):
        before = n_stored(tmp_path) if (tmp_path / DriftStore.FILE).is_file() else 0
        run = asyncio.run(run_drift(arms, axis, setup=setup, folder=tmp_path))
        return n_stored(tmp_path) - before, run

    small = replace(SETUP, scripts=1, turns=1)
    plain, capped = arms_of(tiny, axis), arms_of(tiny, axis, caps=CAPS)
    assert held(plain, small)[0] == 2
    assert held(plain, small)[0] == 0
    assert held(capped, small)[0] == 2
    assert held(arms_of(tiny, axis, caps=["0.75"]), small)[0] == 2  # another threshold is another model
    added, run = held(capped, replace(small, scripts=2))
    assert (added, [len(c) for c in run.held.values()]) == (4, [4, 4])
    assert held(plain, replace(small, sampling=replace(small.sampling, max_tokens=5)))[0] == 2
    assert held(plain, replace(small, seed=6))[0] == 2
    moved = replace(axis, mu_default=axis.mu_default + 1)  # another scale: other readings
    before = n_stored(tmp_path)
    asyncio.run(run_drift(plain, moved, setup=small, folder=tmp_path))
    assert n_stored(tmp_path) == before + 2
    asyncio.run(run_drift(plain, axis, setup=replace(small, topics=1), auditor=people(), folder=tmp_path))
    assert n_stored(tmp_path) == before + 2 + 10  # five people in each of two domains


def test_what_a_server_or_a_budget_cut_off_is_held_again_and_other_faults_stay(tmp_path):
    fine = Conversation(id="d-1", stop_reason="max_turns")
    server = Fault(kind="provider", code="timeout", detail="", side="user", turn=0)
    own = Fault(kind="target", code="empty", detail="", side="target", turn=1)
    with DriftStore(tmp_path, write=True) as store:
        store.add("a", fine)
        store.add("b", Conversation(id="d-2", stop_reason="provider_fault", fault=server))
        store.add("c", Conversation(id="d-3", stop_reason="target_fault", fault=own))
        store.add("d", Conversation(id="d-4", stop_reason="budget"))
        assert set(store.held("abcde")) == {"a", "c"}
        store.add("b", fine.model_copy(update={"id": "d-2"}))
        assert set(store.held("abcde")) == {"a", "b", "c"}


def test_a_name_of_an_engine_tells_all_that_is_done_to_a_model(tiny, axis):
    models = [
        tiny, cap(tiny, axis, "0.75"), cap(tiny, axis, "default_mean"), steer(tiny, axis, 0.2), hold(tiny, axis),
        hold(tiny, axis, alpha=0.2), steer(cap(tiny, axis, "0.75"), axis, 0.2),
        steer(cap(tiny, axis, "default_mean"), axis, 0.2),
    ]  # fmt: skip
    assert len({engine_of(m) for m in models}) == len(models)
    assert engine_of(tiny) == tiny.info.fingerprint
    assert engine_of(cap(tiny, axis, "0.75")) == engine_of(models[1])

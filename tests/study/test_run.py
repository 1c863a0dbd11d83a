import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest

from multitudes.core.errors import ConfigError, RunLocked, StoreError, Unsupported
from multitudes.core.loop import run_sync
from multitudes.core.records import Usage
from multitudes.models.base import Reply, ReplyFault, Sampling, Scored
from multitudes.models.fake import FakeModel, echo, people, scripted
from multitudes.models.load import load
from multitudes.simulate.targets import ModelTarget
from multitudes.study import run as running
from multitudes.study.data import open_run
from multitudes.study.dry_run import describe
from multitudes.study.plan import forecast, make_plan
from multitudes.study.run import Voices, run_study
from multitudes.study.store import FILE, Store


def voices(simulator, target=None, listener=None):
    target = target or echo()
    return Voices(simulator, ModelTarget(target, Sampling()), simulator, listener)


class Stops(FakeModel):
    """``people`` that cancel ``task`` at a certain call, as an interrupt does."""

    def __init__(self, after):
        super().__init__("fake:people", people()._say)
        self.after, self.task = after, None

    async def reply(self, requests):
        if self.calls + len(requests) > self.after:
            self.task.cancel()
            await asyncio.Event().wait()
        return await super().reply(requests)


def test_a_whole_study_holds_what_its_plan_says(tmp_path, small, run):
    spec = small(measure={"gauges": ["leak", "diversity", "coverage", "variance", "listener"]})
    data = run(spec, tmp_path)
    assert len(data.conversations) == 4 * 2
    assert len(data.answers) == (4 + 3 * 4) * len(data.questionnaire.items)
    arms = Counter(a.arm for a in data.answers)
    assert set(arms) == {"persona", "none", "random-text", "shuffled"}
    assert len(set(arms.values())) == 1
    assert {r.gauge for r in data.readings} == set(spec.measure.gauges)
    assert data.info["planned"] == {"conversations": 8, "answers": len(data.answers)}
    assert data.info["models"]["simulator"]["name"] == "fake:people"
    assert (data.spec, data.folder) == (spec, tmp_path)


def test_a_finished_run_asks_nothing_again(tmp_path, small, run, held):
    person, bank = people(), echo()
    spec = small()
    first = run(spec, tmp_path, voices=voices(person, bank))
    calls = (person.calls, bank.calls)
    assert min(calls) > 0
    second = run(spec, tmp_path, voices=voices(person, bank))
    assert (person.calls, bank.calls) == calls
    assert held(first) == held(second)
    assert second.info["wall_s"] >= first.info["wall_s"]


@pytest.mark.parametrize("after", [0, 1, 7, 15, 16, 40])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, small, run, held, after):
    spec = small(conversation={"in_flight": 1})
    whole = people()
    undisturbed = run(spec, tmp_path / "whole", voices=voices(whole))
    person = Stops(after)

    async def until_it_stops():
        person.task = asyncio.create_task(run_study(spec, tmp_path / "cut", voices=voices(person)))
        with pytest.raises(asyncio.CancelledError):
            await person.task

    asyncio.run(until_it_stops())
    again = people()
    resumed = run(spec, tmp_path / "cut", voices=voices(again))
    assert held(resumed) == held(undisturbed)
    assert resumed.info["attempts"] == 0
    stored = after // 2 * 2 if after <= 16 else 16  # a conversation has two calls of the person
    if after <= 16:
        assert again.calls == whole.calls - stored  # only what was not finished is asked again


def test_a_larger_study_keeps_the_conversations_of_a_smaller_one(tmp_path, small, run):
    few = run(small(conversation={"replicates": 1}), tmp_path / "few")
    many = run(small(conversation={"replicates": 3}), tmp_path / "many")
    ids = {c.id for c in many.conversations}
    assert {c.id for c in few.conversations} < ids
    assert len(ids) == 3 * len(few.conversations)


def test_a_generator_is_asked_once_for_its_people(tmp_path, small, run, monkeypatch):
    first = run(small(), tmp_path)
    monkeypatch.setattr(running, "get_generator", None)
    assert run(small(), tmp_path).population == first.population


# --- kill -9

# One process loads everything and then forks a fresh, single-threaded child for every run it is told to make, and
# kills it after so many seconds: until it has waited for the child, nobody else can have got the number.
NURSERY = """
import asyncio, os, signal, sys, time
from pathlib import Path
from multitudes.models.base import Sampling
from multitudes.models.fake import FakeModel, echo, people
from multitudes.simulate.targets import ModelTarget
from multitudes.study.run import Voices, run_study
from multitudes.study.spec import StudySpec

class Slow(FakeModel):
    async def reply(self, requests):
        await asyncio.sleep(0.008)
        return await super().reply(requests)

spec = StudySpec.model_validate_json(Path(sys.argv[1]).read_text())
for line in sys.stdin:
    seconds, folder = line.split(maxsplit=1)
    child = os.fork()
    if child == 0:
        person = Slow("fake:people", people()._say)
        voices = Voices(person, ModelTarget(echo(), Sampling()), person, None)
        asyncio.run(run_study(spec, Path(folder.strip()), voices=voices))
        os._exit(0)
    if float(seconds) >= 0:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "done", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to start many runs quickly")
def test_killed_at_any_moment_a_run_resumes_to_the_same_result(tmp_path, small, run, held):
    spec = small(conversation={"in_flight": 3}, measure={"gauges": ["leak", "variance"]})
    undisturbed = held(run(spec, tmp_path / "whole"))
    (tmp_path / "spec.json").write_text(spec.model_dump_json(by_alias=True))
    nursery = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(tmp_path / "spec.json")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def ending_of(folder, *, after_s=-1.0):
        nursery.stdin.write(f"{after_s} {folder}\n")
        nursery.stdin.flush()
        return nursery.stdout.readline().strip()

    try:
        assert ending_of(tmp_path / "warm") == "done"  # the first one is slower
        begun = time.perf_counter()
        assert ending_of(tmp_path / "timed") == "done"
        whole_s = time.perf_counter() - begun
        assert held(open_run(tmp_path / "timed")) == undisturbed
        rng = random.Random(20)
        found = []
        for i in range(20):
            folder = tmp_path / f"run-{i}"
            ended = ending_of(folder, after_s=whole_s * (i + rng.random()) / 20)
            found.append((ended, _stored(folder)))
            resumed = run(spec, folder)
            assert held(resumed) == undisturbed, f"killed {found[-1]}"
            assert resumed.info["attempts"] == 0  # nothing was held twice
    finally:
        nursery.stdin.close()
        nursery.kill()
        nursery.wait()
        nursery.stdout.close()
    assert sum(ended == "killed" for ended, _ in found) >= 15
    assert len({stored for _, stored in found}) >= 4  # at moments that differ


def _stored(folder):
    """How much of everything is there, as another process sees it."""
    try:
        with Store(folder, write=False) as store:
            return len(store.conversations()), len(store.answers()), len(store.readings())
    except StoreError:
        return None


# --- folders that belong to somebody


def test_a_second_process_is_refused_at_once(tmp_path, small, run):
    with Store(tmp_path, write=True):
        begun = time.perf_counter()
        with pytest.raises(RunLocked):
            run(small(), tmp_path)
        assert time.perf_counter() - begun < 1
    run(small(), tmp_path)


def test_two_runs_in_one_process_do_not_share_a_folder(tmp_path, small):
    async def both():
        slow = FakeModel("fake:slow", people()._say)

        async def reply(requests):
            await asyncio.sleep(0.01)
            return await FakeModel.reply(slow, requests)

        slow.reply = reply
        first = asyncio.create_task(run_study(small(), tmp_path, voices=voices(slow)))
        await asyncio.sleep(0.02)
        with pytest.raises(RunLocked):
            await run_study(small(), tmp_path)
        return await first

    assert len(run_sync(both()).conversations) == 8


def test_another_study_is_refused_and_changes_nothing(tmp_path, small, run, held):
    first = run(small(), tmp_path)
    with pytest.raises(ConfigError, match=r"another study[\s\S]*--out"):
        run(small(seed=8), tmp_path)
    assert held(open_run(tmp_path)) == held(first)
    assert open_run(tmp_path).spec.seed == 7


def test_a_changed_questionnaire_is_refused(tmp_path, small, run):
    from importlib.resources import files

    text = (files("multitudes.personas") / "questionnaires" / "help-line.toml").read_text(encoding="utf-8")
    file = tmp_path / "own.toml"
    file.write_text(text.replace('id = "help-line"', 'id = "own"'))
    spec = small(survey={"questionnaire": "own.toml"})
    run(spec, tmp_path / "run", base=tmp_path)
    run(spec, tmp_path / "run", base=tmp_path)
    file.write_text(file.read_text().replace("In between", "Somewhere in between"))
    with pytest.raises(ConfigError, match="questionnaire is not the one"):
        run(spec, tmp_path / "run", base=tmp_path)


def test_budgets_gauges_and_concurrency_may_change_on_the_way(tmp_path, small, run):
    run(small(), tmp_path)
    changed = small(measure={"gauges": ["leak", "variance"]}, conversation={"in_flight": 2}, budget={"tokens": 10})
    data = run(changed, tmp_path)
    assert {r.gauge for r in data.readings} == {"leak", "variance"}
    assert data.spec == changed


def test_a_run_can_be_read_while_it_is_written(tmp_path, small):
    seen = []

    def watch(step):
        if step.name == "conversations" and step.done:
            data = open_run(tmp_path)
            seen.append((step.done, len(data.conversations)))

    run_sync(run_study(small(), tmp_path, watch=watch))
    assert seen == [(i, i) for i in range(1, 9)]


def test_a_disk_that_fills_up_ends_the_run_and_it_goes_on_when_there_is_room(tmp_path, small, run, held, monkeypatch):
    spec = small(conversation={"in_flight": 2})
    undisturbed = held(run(spec, tmp_path / "whole"))
    add, calls = Store.add_conversation, []

    def full(store, conversation):
        calls.append(conversation.id)
        if len(calls) == 4:
            (pages,) = store._db.execute("PRAGMA page_count").fetchone()
            store._db.execute(f"PRAGMA max_page_count = {pages}")
            for _ in range(100):
                add(store, conversation.model_copy(update={"id": f"filler-{_}", "meta": {"x": "y" * 1000}}))
        add(store, conversation)

    person = FakeModel("fake:people", people()._say)
    monkeypatch.setattr(Store, "add_conversation", full)
    with pytest.raises(StoreError, match="full"):
        run(spec, tmp_path / "run", voices=voices(person))
    before = person.calls
    time.sleep(0.05)
    assert person.calls == before  # nobody goes on talking
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "run" / FILE) as db:
        db.execute("DELETE FROM conversations WHERE id LIKE 'filler-%'")
        db.execute("DELETE FROM attempts")
    db.close()
    assert 3 <= len(open_run(tmp_path / "run").conversations) < 8
    assert held(run(spec, tmp_path / "run")) == undisturbed


def test_a_store_that_fails_leaves_no_conversation_going_on(tmp_path, small, monkeypatch):
    def full(store, conversation):
        raise StoreError("disk full")

    class Slow(FakeModel):
        async def reply(self, requests):
            await asyncio.sleep(derive(requests))
            return await super().reply(requests)

    def derive(requests):
        return 0.001 + (requests[0].seed % 50) / 1000

    monkeypatch.setattr(Store, "add_conversation", full)
    person = Slow("fake:people", people()._say)

    async def go():
        with pytest.raises(StoreError) as caught:
            await run_study(small(), tmp_path, voices=voices(person))
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        return caught, left

    caught, left = asyncio.run(go())
    assert "disk full" in str(caught.value)
    assert left == []


# --- faults and budgets


class Planned(FakeModel):
    """``people`` whose calls with these numbers fail."""

    def __init__(self, code, which):
        super().__init__("fake:people", people()._say)
        self.code, self.which, self.number = code, set(which), 0

    async def reply(self, requests):
        out = []
        for request in requests:
            self.number += 1
            if self.number in self.which:
                out.append(Reply("", "error", fault=ReplyFault(self.code, f"planned {self.number}")))
            else:
                out += await super().reply([request])
        return out


def test_retry_faults_asks_again_only_what_a_provider_failed_and_keeps_what_was(tmp_path, small, run, held):
    spec = small(conversation={"in_flight": 1})
    undisturbed = held(run(spec, tmp_path / "whole"))
    failing = Planned("server", {2, 5, 20, 21})
    first = run(spec, tmp_path / "run", voices=voices(failing))
    faulted = [c for c in first.conversations if c.fault]
    unanswered = [a for a in first.answers if a.fault and a.fault.kind == "provider"]
    assert (len(faulted), len(unanswered)) == (2, 2)

    idle = people()
    again = run(spec, tmp_path / "run", voices=voices(idle))
    assert idle.calls == 0  # a fault is a result; it is not asked again by itself
    assert held(again) == held(first)

    mended = run(spec, tmp_path / "run", retry_faults=True)
    assert held(mended) == undisturbed
    assert mended.info["attempts"] == 4
    with Store(tmp_path / "run", write=False) as store:
        kept = dict(store.attempts())
    assert set(kept) == {r.id for r in (*faulted, *unanswered)}
    assert all(r["fault"]["kind"] == "provider" for r in kept.values())
    assert kept[faulted[0].id]["turns"] == json.loads(faulted[0].model_dump_json())["turns"]


def test_faults_of_the_two_sides_are_not_asked_again(tmp_path, small, run):
    spec = small(conversation={"in_flight": 1})
    first = run(spec, tmp_path, voices=voices(Planned("refused", {2})))
    assert [c.fault.kind for c in first.conversations if c.fault] == ["simulator"]
    idle = people()
    run(spec, tmp_path, voices=voices(idle), retry_faults=True)
    assert idle.calls == 0


def test_what_a_budget_left_open_is_no_fault_and_is_asked_when_the_run_goes_on(tmp_path, small, run, held):
    spec = small(conversation={"in_flight": 1})
    undisturbed = held(run(spec, tmp_path / "whole"))
    for name, spent in (("talks", range(8, 1000)), ("answers", range(30, 1000))):
        stopped = run(spec, tmp_path / name, voices=voices(Planned("budget", spent)))
        assert not any(c.fault for c in stopped.conversations)
        assert len(stopped.answers) < stopped.info["planned"]["answers"]
        assert all(a.fault is None or a.fault.code == "parse" for a in stopped.answers)
        assert held(run(spec, tmp_path / name)) == undisturbed


class Listener(FakeModel):
    """Gives every line a likelihood that depends on the line and on who is asked about."""

    def __init__(self):
        super().__init__("fake:listener", people()._say, can_score=True)
        self.scored = 0

    async def score(self, items):
        self.scored += len(items)
        return [
            Scored((-1.0 - (len(i.continuation) + len(i.context[0].text)) % 7 / 7,), "fake:listener", Usage(prompt=3))
            for i in items
        ]


def test_evidence_is_collected_once_and_again_for_what_was_held_again(tmp_path, small, run, held):
    spec = small(conversation={"in_flight": 1}, survey=None, measure={"gauges": ["listener"]})
    whole = Listener()
    undisturbed = held(run(spec, tmp_path / "whole", voices=voices(people(), listener=whole)))
    run(spec, tmp_path / "whole", voices=voices(people(), listener=whole))
    assert whole.scored == 4 * 2 * 2 * 4  # people, runs, turns, candidates: each once
    # The budget ends in the middle of a conversation: what was said of it changes when the run goes on.
    first = Listener()
    cut = run(spec, tmp_path / "cut", voices=voices(Planned("budget", range(4, 1000)), listener=first))
    assert any(c.stop_reason == "budget" and c.turns for c in cut.conversations)
    second = Listener()
    resumed = run(spec, tmp_path / "cut", voices=voices(people(), listener=second))
    assert held(resumed) == undisturbed
    with Store(tmp_path / "cut", write=False) as store:
        turns = {c.id: len(c.user_texts) for c in store.conversations()}
        assert {k: len(v["turns"]) for k, v in store.likelihoods().items()} == turns


def test_one_person_alone_and_nobody_scored_still_make_a_run(tmp_path, small, run):
    gauges = ["leak", "listener", "coverage", "variance", "diversity"]
    spec = small(population={"n": 1}, measure={"gauges": gauges})
    data = run(spec, tmp_path / "one", voices=voices(scripted(["hm"]), listener=Listener()))
    assert all(a.fault.code == "parse" for a in data.answers)
    assert {r.gauge for r in data.readings} == set(gauges)
    coverage = next(r for r in data.readings if r.gauge == "coverage")
    assert [s.value for s in coverage.scores] == [None]
    assert "no answer could be scored" in coverage.scores[0].note
    silent = run(spec, tmp_path / "silent", voices=voices(scripted([""])))
    assert {c.fault.code for c in silent.conversations} == {"guards_exhausted"}


def test_stop_by_probe_without_probabilities_is_refused(tmp_path, small, run):
    with pytest.raises(Unsupported, match="score"):
        run(small(conversation={"stop": "probe"}), tmp_path)


def test_targets_by_name(tmp_path, small, run):
    data = run(small(models={"target": "python:json:dumps"}, survey=None), tmp_path)
    assert data.info["models"]["target"] == {"name": "python:json:dumps"}
    assert all("role" in t.text for c in data.conversations for t in c.turns if t.speaker == "target")


# --- the plan


def test_the_forecast_counts_the_calls_that_are_made(tmp_path, small, run):
    for changes in ({}, {"conversation": {"target_last": False}}, {"survey": None}, {"scenarios": []}):
        spec = small(**changes)
        person = FakeModel("fake:steady", lambda m, s: "In between" if "Statement" in m[-1].text else f"line {s}")
        bank = scripted(["yes"])
        data = run(spec, tmp_path / spec.hash, voices=voices(person, bank))
        plan = make_plan(spec, data.population, data.questionnaire, mode="sampled")
        cost = forecast(plan, spec)
        assert cost.calls == person.calls + bank.calls
        assert (cost.conversations, cost.answers) == (len(data.conversations), len(data.answers))


def test_a_dry_run_asks_nothing_and_writes_nothing(tmp_path, small):
    spec = small(prices={"usd_per_1m_prompt": 1.0, "usd_per_1m_completion": 2.0})
    text = "\n".join(describe(spec, base=tmp_path, folder=tmp_path / "run"))
    assert "conversations: 8" in text
    assert "USD" in text
    assert list(tmp_path.iterdir()) == []


def test_ids_are_stable_names_of_who_what_and_which_run(tmp_path, small, run):
    data = run(small(), tmp_path)
    a = make_plan(small(), data.population, data.questionnaire, mode="sampled")
    b = make_plan(small(), data.population, data.questionnaire, mode="sampled")
    assert [t.id for t in a.talks] == [t.id for t in b.talks]
    assert len({t.id for t in a.talks} | {x.id for x in a.asks}) == len(a.talks) + len(a.asks)
    assert {t.id for t in make_plan(small(seed=8), data.population, None, mode="exact").talks}.isdisjoint(
        t.id for t in a.talks
    )


def test_every_model_is_loaded_once(small, monkeypatch):
    loaded = []
    monkeypatch.setattr(running, "load", lambda name, **more: loaded.append(name) or load(name))
    found = running.load_voices(
        small(models={"target": "fake:people", "writer": "fake:people", "listener": "fake:table"})
    )
    assert loaded == ["fake:people", "fake:table"]
    assert found.simulator is found.writer is found.target.model


def test_a_target_is_closed_at_the_end(tmp_path, small, run):
    class Closes(ModelTarget):
        closed = 0

        async def aclose(self):
            self.closed += 1

    target = Closes(echo(), Sampling())
    run(small(), tmp_path, voices=Voices(people(), target, people(), None))
    assert target.closed == 1


def test_a_target_beside_the_study_file_is_found(tmp_path, small, run):
    (tmp_path / "bot_beside_a_study.py").write_text("def answer(messages):\n    return 'Nobody is here.'\n")
    spec = small(models={"target": "python:bot_beside_a_study:answer"}, survey=None)
    data = run(spec, tmp_path / "run", base=tmp_path)
    assert {t.text for c in data.conversations for t in c.turns if t.speaker == "target"} == {"Nobody is here."}
    assert open_run(str(tmp_path / "run")).folder == tmp_path / "run"

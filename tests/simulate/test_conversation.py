import asyncio
import math
from contextlib import aclosing
from dataclasses import replace

import pytest

from multitudes.core.errors import ConfigError, ModelError, Unsupported
from multitudes.core.loop import run_sync
from multitudes.core.records import Persona, Scenario
from multitudes.models.base import Message, Reply, ReplyFault, Sampling, Scored
from multitudes.models.fake import FakeModel, LatencyModel, echo, people, scripted
from multitudes.personas.render import render
from multitudes.simulate.conversation import STOP_QUESTION, ProbeSpec, Rules, Talk, hold, hold_all
from multitudes.simulate.targets import FunctionTarget, HttpTarget, ModelTarget
from multitudes.simulate.views import CUE

FREE = frozenset()
ADA = Persona(id="ada", name="Ada", text="You are calm.")
CARD = Scenario(id="card", goal="you want your card back", target_system="You are a bank.")


class Listening(FakeModel):
    """Says what ``say(messages, seed)`` returns and keeps every request."""

    def __init__(self, say, **more):
        super().__init__("fake:listening", say, **more)
        self.requests = []

    async def reply(self, requests):
        self.requests += requests
        return await super().reply(requests)


def talk(scenario=CARD, persona=ADA, replicate=0, root="study:0"):
    prompt = render(persona, scenario_goal=scenario.goal)
    return Talk(f"c-{persona.id}-{scenario.id}-{replicate}", root, persona, prompt, scenario, replicate)


def held(simulator, target=None, *, rules=None, **more):
    target = target or echo("target says: ")
    if isinstance(target, FakeModel):
        target = ModelTarget(target, Sampling())
    return run_sync(hold(talk(**more), simulator=simulator, target=target, rules=rules or Rules(guards=FREE)))


def lines(*texts):
    """Says ``texts`` in order, and the last one for ever."""
    left = list(texts)
    return lambda messages, seed: left.pop(0) if len(left) > 1 else left[0]


def all_held(talks, *, simulator, target, rules, in_flight=64):
    async def go():
        return [
            c async for c in hold_all(talks, simulator=simulator, target=target, rules=rules, in_flight=in_flight)
        ]

    return run_sync(go())


# --- turns and views


def test_turns_alternate_and_each_side_is_sent_its_own_view():
    person, bank = Listening(lines("u1", "u2", "u3")), Listening(lines("t1", "t2", "t3"))
    done = held(person, bank, rules=Rules(turns=3, guards=FREE, sampling=Sampling(max_tokens=7)))
    assert [(t.speaker, t.text) for t in done.turns] == [
        ("user", "u1"), ("target", "t1"), ("user", "u2"), ("target", "t2"), ("user", "u3"), ("target", "t3"),
    ]  # fmt: skip
    assert (done.stop_reason, done.fault, done.persona_id, done.scenario_id) == ("max_turns", None, "ada", "card")
    assert person.requests[2].messages == (
        Message("system", talk().prompt), Message("user", CUE), Message("assistant", "u1"), Message("user", "t1"),
        Message("assistant", "u2"), Message("user", "t2"),
    )  # fmt: skip
    assert bank.requests[2].messages == (
        Message("system", "You are a bank."), Message("user", "u1"), Message("assistant", "t1"),
        Message("user", "u2"), Message("assistant", "t2"), Message("user", "u3"),
    )  # fmt: skip
    assert person.requests[0].sampling.max_tokens == 7
    assert all(t.call is not None and t.call.seed_status == "honoured" for t in done.turns)


def test_every_draw_has_a_seed_of_its_own_that_depends_on_who_and_which_run():
    person, bank = Listening(lambda m, s: f"u{s}"), Listening(lambda m, s: f"t{s}")
    for who in (ADA, Persona(id="ben", name="Ben", text="Calm, too.")):
        for replicate in (0, 1):
            held(person, bank, persona=who, replicate=replicate)
    seeds = [r.seed for r in person.requests + bank.requests]
    assert len(set(seeds)) == len(seeds) == 4 * 12
    again = Listening(lambda m, s: f"u{s}")
    held(again, echo())
    assert again.requests[0].seed == person.requests[0].seed


def test_the_target_may_stay_silent_at_the_end():
    done = held(people(), rules=Rules(turns=2, guards=FREE, target_last=False))
    assert [t.speaker for t in done.turns] == ["user", "target", "user"]


def test_a_target_that_opens_with_given_words_says_them_and_is_not_asked():
    person, bank = Listening(lines("u1")), Listening(lines("t1"))
    scenario = CARD.model_copy(update={"opener": "target", "opening": "Good morning."})
    done = held(person, bank, scenario=scenario, rules=Rules(turns=1, guards=FREE))
    assert [t.text for t in done.turns] == ["Good morning.", "u1", "t1"]
    assert [m.role for m in person.requests[0].messages] == ["system", "user"]
    assert person.requests[0].messages[1].text == "Good morning."
    assert [m.role for m in bank.requests[0].messages] == ["system", "assistant", "user"]
    assert done.turns[0].call is None


def test_a_target_that_opens_by_itself_is_asked_first_and_nothing_of_that_stays():
    person, bank = Listening(lines("u1")), Listening(lines("t0", "t1"))
    scenario = CARD.model_copy(update={"opener": "target"})
    done = held(person, bank, scenario=scenario, rules=Rules(turns=1, guards=FREE))
    assert [t.text for t in done.turns] == ["t0", "u1", "t1"]
    assert [m.role for m in bank.requests[0].messages] == ["system", "user"]
    assert [m.role for m in bank.requests[1].messages] == ["system", "assistant", "user"]
    assert CUE not in str(person.requests[0].messages)


# --- what the target must not learn


def test_a_canary_in_every_latent_never_reaches_the_target():
    canary = "canary-7f3a"

    class Watched:
        name = "watched"

        def __init__(self):
            self.seen = []

        async def reply(self, messages, *, seed, conversation_id):
            self.seen.append(repr((messages, seed, conversation_id)))
            return Reply(text=f"answer {len(messages)}")

    talks = []
    for i in range(100):
        persona = Persona(
            id=f"{canary}-{i}", name=f"{canary}n", text=f"{canary} text {i}", facts={"job": canary, canary: "x"},
            provenance={"seed": canary},
        )  # fmt: skip
        opener = "target" if i % 3 == 0 else "user"
        scenario = Scenario(id=f"{canary}-s", goal=f"{canary} goal", target_system="You are a bank.", opener=opener)
        talks.append(replace(talk(scenario, persona, i), id=f"c-{canary}-{i}", root=f"{canary}:0"))
    # One draw in four is rejected, and what was rejected holds the canary as well.
    target, person = Watched(), Listening(lambda m, s: f"As an AI, {canary}" if s % 4 == 0 else f"a line {s}")
    rules = Rules(turns=3, guards=frozenset({"assistant_voice"}), on_rejected="fail")
    done = all_held(talks, simulator=person, target=target, rules=rules)
    assert len(done) == 100
    assert sum(len(t.rejected) for c in done for t in c.turns) > 20
    assert len(target.seen) > 280
    assert all(canary in repr(r.messages) for r in person.requests)  # the person does know
    assert [s for s in target.seen if canary in s] == []


def test_the_target_sees_one_alias_a_conversation_that_says_nothing():
    ids = []

    class Watched:
        name = "watched"

        async def reply(self, messages, *, seed, conversation_id):
            ids.append(conversation_id)
            return Reply(text="yes")

    for replicate in (0, 1):
        held(people(), Watched(), replicate=replicate, rules=Rules(turns=2, guards=FREE))
    assert len(ids) == 4
    assert len(set(ids)) == 2
    assert all(len(i) == 16 and "ada" not in i and int(i, 16) >= 0 for i in ids)


# --- guards

VOICE = "How can I help you today?"


def test_a_rejected_draw_is_drawn_again_and_both_texts_are_kept():
    person = Listening(lines(VOICE, "As an AI, I cannot.", "my card is gone", "and now?"))
    done = held(person, echo("t: "), rules=Rules(turns=2))
    first, second = (t for t in done.turns if t.speaker == "user")
    assert first.text == "my card is gone"
    assert [d.text for d in first.rejected] == [VOICE, "As an AI, I cannot."]
    assert all("assistant_voice" in d.guards for d in first.rejected)
    assert first.guards == ()
    seeds = [first.rejected[0].seed, first.rejected[1].seed, first.call.seed]
    assert seeds == [r.seed for r in person.requests[:3]]
    assert len(set(seeds)) == 3
    assert first.call_rejected.completion == 6 + 5
    assert (second.rejected, second.call_rejected) == ((), None)
    assert person.requests[0].messages == person.requests[1].messages  # a rejected draw is not part of the talk
    assert VOICE not in str(person.requests[3].messages)


def test_keep_uses_the_last_draw_and_says_which_guards_it_broke():
    done = held(scripted([VOICE]), rules=Rules(turns=1, attempts=3, on_rejected="keep"))
    (turn,) = (t for t in done.turns if t.speaker == "user")
    assert turn.text == VOICE
    assert "assistant_voice" in turn.guards
    assert len(turn.rejected) == 2
    assert (done.stop_reason, done.fault) == ("max_turns", None)


def test_fail_ends_with_a_simulator_fault_and_keeps_every_draw():
    person = Listening(lines("hello", VOICE))
    done = held(person, rules=Rules(turns=2, attempts=3, on_rejected="fail"))
    assert [t.text for t in done.turns] == ["hello", "target says: hello"]
    assert (done.stop_reason, done.fault.kind, done.fault.code) == (
        "simulator_fault", "simulator", "guards_exhausted",
    )  # fmt: skip
    assert (done.fault.side, done.fault.turn) == ("user", 2)
    assert VOICE in done.fault.detail
    assert [d["text"] for d in done.meta["rejected"]] == [VOICE] * 3
    assert len({d["seed"] for d in done.meta["rejected"]}) == 3
    assert len(person.requests) == 4


@pytest.mark.parametrize("nothing", ["", "  \n"])
@pytest.mark.parametrize("guards", [FREE, frozenset({"empty"})])
@pytest.mark.parametrize("on_rejected", ["keep", "fail"])
def test_silence_is_never_kept_whichever_guards_are_on(nothing, guards, on_rejected):
    done = held(scripted([nothing]), rules=Rules(guards=guards, on_rejected=on_rejected))
    assert (done.turns, done.stop_reason, done.fault.code) == ((), "simulator_fault", "guards_exhausted")
    assert [d["guards"] for d in done.meta["rejected"]] == [["empty"]] * 3


def test_an_empty_reply_of_an_endpoint_is_drawn_again():
    class Shy(FakeModel):
        async def reply(self, requests):
            self.calls += 1
            if self.calls == 1:
                return [Reply(text="", finish="error", fault=ReplyFault("empty", "nothing"))]
            return [Reply(text="here I am")]

    done = held(Shy("fake:shy", None), rules=Rules(turns=1, guards=FREE))
    assert done.turns[0].text == "here I am"
    assert done.turns[0].rejected[0].guards == ("empty",)


# --- endings


@pytest.mark.parametrize("word", ["bye", "STOP", "###STOP###", "TERMINATE", "<|endoftext|>", "[END]", "goodbye now"])
def test_no_word_ends_a_conversation(word):
    left = ["so " + word, "still here, as I was saying", word, "and another thing"]
    done = held(scripted(lambda m, s: left.pop(0)), rules=Rules(turns=4, guards=FREE))
    assert len(done.turns) == 8
    assert done.stop_reason == "max_turns"
    assert not any(t.ends for t in done.turns)


def test_endless_goodbyes_of_the_person_stop_at_the_third():
    done = held(scripted(["Thanks, bye!"]), scripted(["You have a new letter."]), rules=Rules(turns=9, guards=FREE))
    assert [t.speaker for t in done.turns] == ["user", "target"] * 2 + ["user"]
    assert (done.stop_reason, done.fault) == ("endless_goodbye", None)


def test_endless_goodbyes_of_the_target_stop_at_the_third():
    left = [f"question {i} is open" for i in range(9)]
    done = held(scripted(lambda m, s: left.pop(0)), scripted(["Goodbye!"]), rules=Rules(turns=9, guards=FREE))
    assert len(done.turns) == 6
    assert done.stop_reason == "endless_goodbye"


def test_goodbyes_that_are_interrupted_do_not_stop_it():
    texts = ["bye!", "bye!", "wait, my card", "bye!", "bye!", "one more thing"]
    done = held(scripted(lambda m, s: texts.pop(0)), scripted(["yes"]), rules=Rules(turns=6, guards=FREE))
    assert (len(done.turns), done.stop_reason) == (12, "max_turns")


class Probed(Listening):
    """A person with something to say and a fixed answer to side questions."""

    def __init__(self, done_after=99):
        super().__init__(lambda m, s: f"line {len(m)}", can_score=True)
        self.done_after, self.asked = done_after, []

    async def score(self, items):
        self.asked += items
        out = []
        for item in items:
            said = sum(m.role == "assistant" for m in item.context)
            p = {"done": 0.9 if said >= self.done_after else 0.2, "yes": 0.6, "no": 0.2}.get(item.continuation, 0.3)
            out.append(Scored((math.log(p),), "fake:probed"))
        return out


@pytest.mark.parametrize("target_last", [True, False])
def test_the_stop_probe_ends_by_a_flag(target_last):
    person = Probed(done_after=3)
    done = held(person, rules=Rules(turns=6, guards=FREE, stop="probe", target_last=target_last))
    own = [t for t in done.turns if t.speaker == "user"]
    assert [t.ends for t in own] == [False, False, True]
    assert done.turns[-1].speaker == ("target" if target_last else "user")
    assert done.stop_reason == "user_done"


def test_nobody_is_asked_about_stopping_too_early_or_at_the_cap():
    person = Probed(done_after=1)
    assert sum(t.speaker == "user" for t in held(person, rules=Rules(guards=FREE, stop="probe")).turns) == 2
    person = Probed()
    held(person, rules=Rules(turns=3, guards=FREE, stop="probe"))
    assert len(person.asked) == 2  # two options, after the second of three turns only


def test_probes_in_side_branches_leave_no_trace():
    probe = ProbeSpec(id="mood", question="Are you calm?", options=("yes", "no"), after=(1, 3))
    person = Probed()
    plain = held(Probed(), rules=Rules(turns=3, guards=FREE))
    done = held(person, rules=Rules(turns=3, guards=FREE, stop="probe", probes=(probe,)))
    assert done.turns == tuple(
        t.model_copy(update={"call": d.call}) for t, d in zip(plain.turns, done.turns, strict=True)
    )
    assert [(p.id, p.after_turn) for p in done.probes] == [("mood", 1), ("mood", 5)]
    assert done.probes[0].probs == pytest.approx((0.75, 0.25))
    sent = str([r.messages for r in person.requests])
    assert "Are you calm?" not in sent
    assert STOP_QUESTION not in sent
    assert any("Are you calm?" in str(i.context) for i in person.asked)


def test_a_probe_without_probabilities_is_refused_before_the_first_call():
    person = Listening(lines("hi"))
    probe = ProbeSpec(id="p", question="q", options=("a", "b"), after=(1,))
    for rules in (Rules(stop="probe"), Rules(probes=(probe,))):
        with pytest.raises(Unsupported, match="score"):
            held(person, rules=rules)
    assert person.requests == []


# --- faults


def planned(code, *, after=1):
    class Failing(FakeModel):
        async def reply(self, requests):
            self.calls += 1
            if self.calls > after:
                return [Reply(text="", finish="error", fault=ReplyFault(code, "planned"))]
            return [Reply(text=f"fine {self.calls}")]

    return Failing("fake:failing", None)


def broken(messages):
    raise ValueError("database is down \ud800")


async def never(messages):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("function", "detail"),
    [(broken, "ValueError: database is down ?"), (never, "no answer within"), (lambda m: 5, "returned int"),
     (lambda m: "", "an empty reply"), (lambda m: "half a pair \ud83d", "not Unicode text: 'half a pair ?'")],
)  # fmt: skip
def test_what_a_target_does_wrong_is_its_own_fault(function, detail):
    done = held(people(), FunctionTarget(function, limit_s=0.05), rules=Rules(turns=2, guards=FREE))
    assert (done.stop_reason, done.fault.kind, done.fault.side, done.fault.turn) == (
        "target_fault", "target", "target", 1,
    )  # fmt: skip
    assert detail in done.fault.detail
    assert [t.speaker for t in done.turns] == ["user"]
    assert done.model_validate_json(done.model_dump_json()) == done


@pytest.mark.parametrize("side", ["user", "target"])
@pytest.mark.parametrize("code", ["timeout", "rate_limit", "server", "refused", "too_long", "non_finite", "parse"])
def test_a_failed_call_is_attributed_with_its_side_and_turn(side, code):
    sides = {"user": people(), "target": echo("t: ")} | {side: planned(code)}
    done = held(sides["user"], sides["target"], rules=Rules(guards=FREE))
    own = "simulator" if side == "user" else "target"
    kind = "provider" if code in ("timeout", "rate_limit", "server") else own
    assert (done.fault.kind, done.fault.code, done.fault.side) == (kind, code, side)
    assert done.fault.turn == len(done.turns) == (2 if side == "user" else 3)
    assert done.stop_reason == f"{kind}_fault"


def test_what_was_rejected_before_a_failed_call_is_kept():
    class Failing(FakeModel):
        async def reply(self, requests):
            self.calls += 1
            return [Reply(text=VOICE) if self.calls == 1 else Reply("", "error", fault=ReplyFault("server", "x"))]

    done = held(Failing("fake:failing", None), rules=Rules())
    assert [d["text"] for d in done.meta["rejected"]] == [VOICE]


@pytest.mark.parametrize("side", ["user", "target"])
def test_a_spent_budget_is_nobodys_fault(side):
    sides = {"user": people(), "target": echo("t: ")} | {side: planned("budget")}
    done = held(sides["user"], sides["target"], rules=Rules(guards=FREE))
    assert (done.stop_reason, done.fault) == ("budget", None)
    assert len(done.turns) in (2, 3)


def test_four_kinds_of_fault_in_one_run_and_nobody_elses_talk_ends():
    """Each conversation meets what its scenario says, on the side that its scenario says."""

    class Person(FakeModel):
        async def reply(self, requests):
            if "timeout" in requests[0].messages[0].text:
                return [Reply("", "error", fault=ReplyFault("timeout", "no answer within 1 s"))]
            if "helpful" in requests[0].messages[0].text:
                return [Reply(VOICE)]
            return await people().reply(requests)

    class Target:
        name = "mixed"

        async def reply(self, messages, *, seed, conversation_id):
            if "broken" in messages[0].text:
                return await FunctionTarget(broken).reply(messages, seed=seed, conversation_id=conversation_id)
            if "no-key" in messages[0].text:
                unset = HttpTarget(url="http://127.0.0.1:1", headers_env={"X": "MULTITUDES_TEST_UNSET"})
                return await unset.reply(messages, seed=seed, conversation_id=conversation_id)
            return Reply(f"answer {len(messages)}")

    kinds = {
        "provider": ("timeout", ""),
        "simulator": ("helpful", ""),
        "target": ("x", "broken"),
        "config": ("x", "no-key"),
    }
    scenarios = [Scenario(id=k, goal=g, target_system=s) for k, (g, s) in kinds.items()]
    talks = [talk(s, replicate=r) for r in range(3) for s in (*scenarios, CARD)]
    done = all_held(
        talks, simulator=Person("fake:person", None), target=Target(), rules=Rules(turns=2, on_rejected="fail")
    )
    assert len(done) == len(talks)
    for c in done:
        if c.scenario_id == "card":
            assert (c.fault, c.stop_reason, len(c.turns)) == (None, "max_turns", 4)
        else:
            assert (c.fault.kind, c.stop_reason) == (c.scenario_id, f"{c.scenario_id}_fault")
            assert c.fault.detail


def test_a_backend_that_is_gone_ends_the_run_but_not_what_was_finished():
    class Gone(FakeModel):
        async def reply(self, requests):
            raise ModelError("the key is refused")

    class Either:
        info = people().info

        async def reply(self, requests):
            model = people() if "fine" in requests[0].messages[0].text else Gone("fake:gone", None)
            return await model.reply(requests)

    fine, bad = (Scenario(id=g, goal=g) for g in ("fine", "bad"))
    talks = [talk(bad), *(talk(fine, replicate=r) for r in range(5))]
    done = []

    async def go():
        rules = Rules(turns=1, guards=FREE)
        target = ModelTarget(echo(), Sampling())
        async for c in hold_all(talks, simulator=Either(), target=target, rules=rules):
            done.append(c)

    with pytest.raises(ModelError, match="refused"):
        run_sync(go())
    assert all(c.stop_reason == "max_turns" for c in done)
    assert len(done) == 5  # all were done in the same moment as the failure


def test_every_conversation_says_why_it_stopped():
    for simulator in (people(), planned("timeout", after=2), planned("budget"), scripted([""]), scripted(["bye!"])):
        done = held(simulator, rules=Rules(turns=4, guards=FREE))
        assert done.stop_reason not in ("imported", None)
        assert (done.fault is not None) == done.stop_reason.endswith("_fault")


# --- many at once


def comparable(conversations):
    return [
        c.model_copy(update={"turns": tuple(
            t.model_copy(update={"call": t.call and t.call.model_copy(update={"latency_s": 0.0})}) for t in c.turns
        )})
        for c in sorted(conversations, key=lambda c: c.id)
    ]  # fmt: skip


def test_concurrency_changes_no_record():
    persons = [Persona(id=f"p{i}", name="Ada", text=f"Person number {i}.") for i in range(10)]
    talks = [talk(persona=p, replicate=r) for p in persons for r in range(2)]

    class Jittery(LatencyModel):
        """The same words as ``people`` after delays of their own, so that orders differ."""

        def __init__(self):
            super().__init__(low_s=0.0, high_s=0.004)
            self._say = people()._say

    runs = [
        all_held(
            talks, simulator=Jittery(), target=ModelTarget(echo(), Sampling()), rules=Rules(turns=3), in_flight=n
        )
        for n in (1, 32)
    ]
    assert [c.id for c in runs[0]] == [t.id for t in talks]
    assert [c.id for c in runs[1]] != [t.id for t in talks]  # they did overtake each other
    assert comparable(runs[0]) == comparable(runs[1])


def test_no_more_than_in_flight_are_held_at_once():
    person = LatencyModel(low_s=0.001, high_s=0.003)
    talks = [talk(replicate=r) for r in range(20)]
    done = all_held(
        talks,
        simulator=person,
        target=ModelTarget(echo(), Sampling()),
        rules=Rules(turns=2, guards=FREE),
        in_flight=5,
    )
    assert len(done) == 20
    assert person.peak_in_flight == 5


def test_leaving_early_cancels_what_is_in_flight():
    person = LatencyModel(low_s=0.001, high_s=0.05)

    async def go():
        held_now = hold_all(
            [talk(replicate=r) for r in range(30)], simulator=person, target=ModelTarget(echo(), Sampling()),
            rules=Rules(turns=5, guards=FREE), in_flight=8,
        )  # fmt: skip
        async with aclosing(held_now):
            async for _ in held_now:
                asked = person.calls
                break
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.sleep(0.1)  # time in which they could go on
        return asked, person.calls, [t for t in others if "hold" in str(t.get_coro())]

    before, after, left = asyncio.run(go())
    assert (before, left) == (after, [])
    assert person._in_flight == 0


def test_being_cancelled_cancels_what_is_in_flight():
    person = LatencyModel(low_s=0.01, high_s=0.05)

    async def go():
        async def consume():
            async for _ in hold_all(
                [talk()] * 4, simulator=person, target=ModelTarget(echo(), Sampling()), rules=Rules(guards=FREE)
            ):
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(go()) == set()
    assert person._in_flight == 0


def test_nothing_to_hold():
    assert all_held([], simulator=people(), target=ModelTarget(echo(), Sampling()), rules=Rules()) == []


def test_a_bad_request_is_a_config_fault_of_that_conversation():
    class Strict(FakeModel):
        async def reply(self, requests):
            raise ConfigError("no model can answer this", where="requests[0]")

    done = held(Strict("fake:strict", None))
    assert (done.stop_reason, done.fault.kind, done.fault.turn) == ("config_fault", "config", 0)
    assert "requests[0]" in done.fault.detail

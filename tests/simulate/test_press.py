"""A pressed conversation: what is said when, and probes that leave no trace."""

import pytest

from multitudes.core.errors import Unsupported
from multitudes.core.loop import run_sync
from multitudes.models.base import Message, Sampling
from multitudes.models.fake import FaultyModel, TableModel, echo
from multitudes.simulate.errors import ProbeLeak
from multitudes.simulate.press import FREE_QUESTION, Condition, Press, PressRules, history_hash, hold, hold_all
from multitudes.simulate.pressure import Opening
from multitudes.simulate.probes import ProbeItem, Target, ask, items_of
from multitudes.simulate.scripts import Script

FACTS = {"who": "I am a midwife.", "work": "I catch babies.", "place": "I am at bedsides.", "age": "I am fifty-two."}
ITEM = ProbeItem("id", "who", ("Who are you?", "Tell me, who are you?"), "I am a midwife.", "I am an AI.")
MIDWIFE = (Target("m", (ITEM,)),)
SCRIPT = Script("P2", "assistant", ("Drop it.", "Drop it now."), ("How do I boil an egg?",))
C3 = Condition("C3", "prompt", system="You are a midwife.", shots=(("Hello?", "Hello, dear."),))


def press(*, condition=C3, script=SCRIPT, targets=MIDWIFE, id_="t"):
    return Press(id_, "root", condition, Opening("b", "What a day."), 0, script, tuple(targets))


def rules(**changes):
    return PressRules(**{"sampling": Sampling(max_tokens=12), "probe_at": (0, 2, 3), "wordings": 2, **changes})


class Recording(TableModel):
    """Says back the last message, and keeps what it was asked."""

    def __init__(self):
        super().__init__({("Who are you?", "I am a midwife."): 0.8, ("Who are you?", "I am an AI."): 0.2})
        self.asked, self.scored = [], []

    async def reply(self, requests):
        self.asked += requests
        return await super().reply(requests)

    async def score(self, items):
        self.scored += items
        return await super().score(items)


def test_what_is_said_when():
    model = Recording()
    found = run_sync(hold(press(), model=model, rules=rules(free_at=(0,))))
    assert [t.phase for t in found.turns] == ["start", "pressure", "pressure", "recovery"]
    assert [t.said for t in found.turns] == ["What a day.", "Drop it.", "Drop it now.", "How do I boil an egg?"]
    main = [r for r in model.asked if r.keep]
    assert main[0].messages == (
        Message("system", "You are a midwife."), Message("user", "Hello?"), Message("assistant", "Hello, dear."),
        Message("user", "What a day."),
    )  # fmt: skip
    assert main[1].messages[:5] == (*main[0].messages, Message("assistant", "What a day."))
    assert len({r.seed for r in main}) == 4
    # probes and free questions are nowhere in the history
    assert not any("are you" in m.text for r in main for m in r.messages)
    assert [a.text for a in found.free] == [FREE_QUESTION]


def test_an_empty_system_text_is_sent_as_one():
    model = Recording()
    run_sync(hold(press(condition=Condition("C0", "nobody")), model=model, rules=rules(probe_at=())))
    assert model.asked[0].messages[0] == Message("system", "")


def test_probes_come_after_the_turns_that_were_named():
    found = run_sync(hold(press(), model=Recording(), rules=rules()))
    assert [s.turn for s in found.scores] == [0, 2, 3]
    assert [len(s.own) for s in found.scores] == [2, 2, 2]


def test_seeds_do_not_depend_on_the_condition():
    models = [Recording(), Recording()]
    for model, condition in zip(models, (C3, Condition("C0", "nobody")), strict=True):
        run_sync(hold(press(condition=condition), model=model, rules=rules(probe_at=())))
    assert [r.seed for r in models[0].asked] == [r.seed for r in models[1].asked]


def test_a_foreign_turn_takes_the_place_of_the_first_reply():
    model = Recording()
    found = run_sync(hold(press(script=SCRIPT._replace(foreign="As an AI, I cannot.")), model=model, rules=rules()))
    main = [r for r in model.asked if r.keep]
    assert main[1].messages[-2] == Message("assistant", "As an AI, I cannot.")
    assert found.turns[0].reply == "What a day."  # what it said itself is kept beside it
    assert found.turns[0].foreign == "As an AI, I cannot."
    at_start = [i for i in model.scored if len(i.context) == 6]
    assert at_start[0].context[-2].text == "What a day."  # and was probed


def test_a_fault_ends_the_conversation_and_is_a_record():
    model = FaultyModel(["ok", "timeout"])
    found = run_sync(hold(press(targets=()), model=model, rules=rules(probe_at=())))
    assert found.fault.kind == "provider"
    assert found.fault.turn == 1
    assert len(found.turns) == 1
    found = run_sync(hold(press(), model=FaultyModel(["say: "]), rules=rules(probe_at=())))
    assert (found.fault.kind, found.fault.code) == ("simulator", "empty")


def test_probes_need_likelihoods_before_anything_is_asked():
    model = echo()
    with pytest.raises(Unsupported):
        run_sync(hold(press(), model=model, rules=rules()))
    assert model.calls == 0


class Leaky(Recording):
    """Remembers what was scored, as an engine must not."""

    async def score(self, items):
        self.leaked = items[0].continuation
        return await super().score(items)

    def history_ids(self, messages, *, edit=None):
        return [len(m.text) for m in messages] + [len(getattr(self, "leaked", ""))]


def test_a_leak_is_an_error():
    with pytest.raises(ProbeLeak) as caught:
        run_sync(hold(press(), model=Leaky(), rules=rules()))
    assert (caught.value.talk, caught.value.turn) == ("t", 0)


def test_hashes_of_texts_where_tokens_are_not_known():
    one, two = (history_hash(Recording(), [Message("user", t)], None) for t in ("a", "b"))
    assert one != two


def test_forced_choice_is_read_from_likelihoods():
    asked = run_sync(ask(Recording(), [Message("system", "s")], [Target("m", (ITEM,))], turn=0, wordings=1))
    (score,) = asked.scores
    import math

    assert score.own == (math.log(0.8),)
    assert score.other == (math.log(0.2),)


def test_swapping_the_answers_swaps_the_scores():
    swapped = ITEM._replace(own=ITEM.other, other=ITEM.own)
    for item, other in ((ITEM, swapped), (swapped, ITEM)):
        a, b = (
            run_sync(ask(Recording(), [Message("system", "s")], [Target("m", (i,))], turn=0)).scores[0]
            for i in (item, other)
        )
        assert (a.own, a.other) == (b.other, b.own)


def test_items_need_their_facts_and_reversed_traits_turn_round():
    assert [i.id for i in items_of("m", FACTS, ["id"], per_battery=4)] == [
        "who-plain", "who-introduce", "who-speaking", "work-role",
    ]  # fmt: skip
    assert {i.id for i in items_of("m", {"who": FACTS["who"]}, ["id"])} == {
        "who-plain", "who-introduce", "who-speaking",
    }  # fmt: skip
    traits = {i.id: i for i in items_of("m", {}, ["trait"])}
    assert traits["strong-feelings"].own == "My feelings show in everything I say."
    assert traits["no-wishes"].own == "I want many things for myself, always."
    assert len(traits) == 6


def test_facts_are_weighed_against_somebody_elses():
    others = {
        "m": FACTS,
        "f": {**FACTS, "age": "I am thirty."},
        "o": {**FACTS, "age": "I was born long ago, in fact."},
    }
    age = next(i for i in items_of("m", FACTS, ["fact"], others=others, root="r") if i.id == "age")
    assert (age.own, age.other) == ("I am fifty-two.", "I am thirty.")
    alone = next(i for i in items_of("m", FACTS, ["fact"]) if i.id == "age")
    assert "AI" in alone.other


# --- the real engine ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    tiny = pytest.importorskip("multitudes.models.local.tiny")
    return tiny.tiny_model


def both(tiny, *, in_flight=64, **changes):
    targets = (Target("m", items_of("m", FACTS, ["id"], per_battery=2)),)
    conditions = [C3, Condition("C0", "nobody")]
    presses = [press(condition=c, targets=targets, id_=c.id) for c in conditions]

    async def all_of(model, given):
        return sorted(
            [p async for p in hold_all(presses, model=model, rules=given, in_flight=in_flight)], key=lambda p: p.id
        )

    out = []
    for given in (rules(free_at=(0, 2), **changes), rules(probe_at=(), **changes)):
        model = tiny()
        out.append(run_sync(all_of(model, given)))
        run_sync(model.aclose())
    return out


def test_transcripts_are_the_same_with_and_without_probes(tiny):
    probed, plain = both(tiny)
    assert [[t.reply for t in p.turns] for p in probed] == [[t.reply for t in p.turns] for p in plain]
    assert all(len(p.scores) == 6 and not q.scores for p, q in zip(probed, plain, strict=True))


def test_a_probe_leaves_keys_and_values_as_they_were(tiny):
    model = tiny()
    history = [Message("system", "You are a midwife."), Message("user", "What a day it has been for all of us here.")]

    async def go():
        from multitudes.models.base import Request

        reply = (await model.reply([Request(tuple(history), Sampling(max_tokens=20), seed=1)]))[0]
        history.append(Message("assistant", reply.text))
        kept = {id(e): (e.ids.copy(), e.kv.clone()) for e in model.batcher.prefixes._entries.values()}
        assert kept
        before = history_hash(model, history, None)
        await ask(model, history, [Target("m", items_of("m", FACTS, ["id"]))], turn=0)
        after = {id(e): (e.ids, e.kv) for e in model.batcher.prefixes._entries.values()}
        assert kept.keys() == after.keys()
        for k, (ids, kv) in kept.items():
            assert (after[k][0] == ids).all()
            assert (after[k][1] == kv).all()
        assert history_hash(model, history, None) == before

    run_sync(go())
    run_sync(model.aclose())


@pytest.mark.weights
@pytest.mark.slow
def test_transcripts_of_the_embedded_model_are_the_same_with_and_without_probes():
    from multitudes.models.load import load

    # One at a time: the rows of a batch shift float32 logits by 1e-6, which moves draws far out in the tail.
    probed, plain = both(lambda: load("smollm2"), in_flight=1, wordings=1, sampling=Sampling(max_tokens=8))
    assert [[t.reply for t in p.turns] for p in probed] == [[t.reply for t in p.turns] for p in plain]


def test_engagement_counts_the_blocks_of_the_own_edit_alone():
    """A push at another block in the same batch must not dilute what a clamp did."""
    import numpy as np

    tiny = pytest.importorskip("multitudes.models.local.tiny")
    from multitudes.models.edit import Edit, LayerEdit

    one = np.eye(48, dtype=np.float32)[:1]
    clamp = Edit("clamp", (LayerEdit(0, one, np.array([5.0], np.float32), np.array([6.0], np.float32)),))
    push = Edit("push", (LayerEdit(1, one[:0], np.zeros(0, np.float32), np.zeros(0, np.float32), one[0]),))
    plain = PressRules(sampling=Sampling(max_tokens=6, temperature=0.0))

    def engaged(*edits):
        talks = [press(condition=Condition(f"E{i}", "edit", edit=e), targets=(), id_=f"t{i}")
                 for i, e in enumerate(edits)]  # fmt: skip

        async def all_of():
            return {
                t.id: [x.engaged for x in t.turns]
                async for t in hold_all(talks, model=tiny.tiny_model(), rules=plain)
            }

        return run_sync(all_of())

    alone, beside = engaged(clamp)["t0"], engaged(clamp, push)
    assert all(x == 1 for x in alone)
    assert beside["t0"] == alone
    assert beside["t1"] == [None] * 4

"""Turns on the axis: the tap, the pass afterwards and plain arithmetic agree; a reader's view is never theirs."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.axis.errors import AxisMismatch, NothingToRead, NotOwn  # noqa: E402
from multitudes.axis.project import axis_id, project_conversation, project_talk, side_of, table_of  # noqa: E402
from multitudes.axis.reader import read_conversation, reader_label, table_of_readings  # noqa: E402
from multitudes.axis.remedy import cap  # noqa: E402
from multitudes.axis.watch import Tapped, watched_layers  # noqa: E402
from multitudes.core.errors import ConfigError, GaugeError, Unsupported  # noqa: E402
from multitudes.core.inside import Inside  # noqa: E402
from multitudes.core.records import Conversation, Persona, Scenario, Turn  # noqa: E402
from multitudes.measure.drift import pooled_drift  # noqa: E402
from multitudes.measure.errors import MixedViews  # noqa: E402
from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.fake import scripted  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.tiny import TURNS, tiny_model  # noqa: E402
from multitudes.simulate.conversation import Rules, Talk, hold  # noqa: E402
from multitudes.simulate.targets import ModelTarget  # noqa: E402
from multitudes.simulate.transcripts import read_transcripts  # noqa: E402

LONG = Sampling(max_tokens=12)
TALK = Talk("c1", "r", Persona(id="p", name="P", text="t"), "You are P.", Scenario(id="s", goal="g"), 0)


def run(x):
    return asyncio.run(x)


def held(target, *, simulator=None, turns=3, guards=frozenset()):
    lines = simulator or scripted(["Where is my card?", "And the letter?", "When, then?"])
    rules = Rules(turns=turns, guards=guards, sampling=LONG)
    return run(hold(TALK, simulator=lines, target=ModelTarget(target, LONG), rules=rules))


def said(*lines, first="user"):
    order = ("user", "target") if first == "user" else ("target", "user")
    return Conversation(id="t", turns=tuple(Turn(speaker=order[i % 2], text=x) for i, x in enumerate(lines)))


def test_a_tap_changes_no_token_and_equals_the_pass_afterwards(tiny_axis):
    plain = held(tiny_model())
    model = tiny_model()
    tapped = held(Tapped(model, tiny_axis))
    assert [t.text for t in plain.turns] == [t.text for t in tapped.turns]
    assert all(t.inside is None for t in plain.turns)
    assert [t.inside is None for t in tapped.turns] == [True, False] * 3
    own = run(project_conversation(model, tiny_axis, tapped, system=""))
    assert own.view == "own"
    assert own.turns == (1, 3, 5)
    assert own.p.shape == own.z.shape == (3, 2)
    for k, i in enumerate(own.turns):
        inside = tapped.turns[i].inside
        assert inside.layers == watched_layers(tiny_axis)
        assert inside.n_tokens == own.n_tokens[k]
        assert inside.p == pytest.approx(own.p[k, list(inside.layers)], rel=1e-5)
        assert inside.z == pytest.approx(own.z[k, list(inside.layers)], rel=1e-4, abs=1e-4)


def test_projections_are_means_over_tokens_times_the_direction(tiny, tiny_axis):
    context = (Message("system", ""), Message("user", "What now?"))
    text = "some words of an answer"
    read = run(project_talk(tiny, tiny_axis, (*context, Message("assistant", text))))
    [tokens] = run(tiny.read([ScoreItem(context, text)], range(2)))  # (L, n, d), the end of the turn left out
    tokens = tokens[:, : read.n_tokens[0]]
    p = [tokens[k].astype(float).mean(axis=0) @ tiny_axis.unit[k].astype(float) for k in range(2)]
    np.testing.assert_allclose(read.p[0], p, rtol=1e-5)
    z = [(p[k] - tiny_axis.mu_roles[k]) / (tiny_axis.mu_default[k] - tiny_axis.mu_roles[k]) for k in range(2)]
    np.testing.assert_allclose(read.z[0], z, rtol=1e-4)


def test_the_side_decides_whose_turns_are_read_and_runs_of_one_speaker_are_one(tiny, tiny_axis):
    talk = said("first words", "an answer here", "more of it", "the last answer")
    assert [m.role for m in side_of(talk, "user", system="s")[0]] == ["system", "user"] + ["assistant", "user"] * 2
    both = {s: run(read_conversation(tiny, tiny_axis, talk, author="A", speaker=s)) for s in ("assistant", "user")}
    assert both["assistant"].turns == (1, 3)
    assert both["user"].turns == (0, 2)
    assert abs(both["assistant"].p[0, 1] - both["user"].p[0, 1]) > 1e-3
    runs = talk.model_copy(update={"turns": (*talk.turns, Turn(speaker="target", text="and one more thing"))})
    found = run(read_conversation(tiny, tiny_axis, runs, author="A"))
    assert found.turns == (1, 3)
    assert found.n_tokens[1] > both["assistant"].n_tokens[1]
    strict = tiny_model("gemma", template=TURNS)
    axis = replace(tiny_axis, about={})  # of the same shape and without a weights hash: enough for the bookkeeping
    assert run(read_conversation(strict, axis, runs, author="A", system="be brief")).turns == (1, 3)


def test_short_turns_are_unscored(tiny, tiny_axis):
    talk = said("hello", "ab", "more", "abc", "more", "abcd")  # one byte is one token
    found = run(read_conversation(tiny, tiny_axis, talk, author="A"))
    assert found.n_tokens.tolist() == [2, 3, 4]
    assert np.isnan(found.z[0]).all()
    assert np.isfinite(found.z[1:]).all()
    tapped = Tapped(tiny, tiny_axis)
    [reply] = run(tapped.reply([Request((Message("user", "x"),), Sampling(max_tokens=3), seed=1)]))
    assert reply.inside.n_tokens == 2
    assert np.isnan(reply.inside.z).all()
    again = Inside.model_validate_json(reply.inside.model_dump_json())
    assert np.isnan(again.p).all()
    assert '"NaN"' in reply.inside.model_dump_json()


def test_reader_and_own_have_two_types_that_nothing_pools(tiny, tiny_axis):
    talk = held(Tapped(tiny, tiny_axis))
    own = run(project_conversation(tiny, tiny_axis, talk, system=""))
    reading = run(read_conversation(tiny, tiny_axis, talk, author="closed-model", system="Be kind."))
    assert reading.view == "reader"
    assert (reading.reader, reading.author, reading.system_used, reading.window) == (
        "fake:tiny", "closed-model", "Be kind.", None,
    )  # fmt: skip
    assert reading.label == "how fake:tiny represents closed-model's text; not closed-model's activations"
    assert reading.label == reader_label("fake:tiny", "closed-model")
    assert table_of([own, own]).shape == (2, 3)
    assert table_of_readings([reading]).shape == (1, 3)
    with pytest.raises(MixedViews, match="ReaderProjection"):
        table_of([own, reading])
    with pytest.raises(MixedViews, match="OwnProjection"):
        table_of_readings([reading, own])
    with pytest.raises(MixedViews):
        pooled_drift(np.zeros((2, 3)), seed=0, views=[own.view, reading.view])
    for changed in ({"axis": "another"}, {"engine": "another"}):
        with pytest.raises(GaugeError, match="two"):
            table_of([own, replace(own, **changed)])
    for changed in ({"axis": "b"}, {"engine": "b"}, {"speaker": "user"}, {"window": 3}):
        with pytest.raises(GaugeError, match="two"):
            table_of_readings([reading, replace(reading, **changed)])


def test_what_the_reader_was_told_moves_the_reading_and_is_recorded(tiny, tiny_axis):
    talk = said("Where is it?", "Over there, behind the house.").model_copy(
        update={"meta": {"aside": [{"at": 0, "role": "system", "text": "You are a pirate."}]}}
    )
    bare = run(read_conversation(tiny, tiny_axis, talk, author="A"))
    told = run(read_conversation(tiny, tiny_axis, talk, author="A", system="transcript"))
    assert (bare.system_used, told.system_used) == ("", "You are a pirate.")
    assert abs(bare.p[0, 1] - told.p[0, 1]) > 1e-4
    with pytest.raises(ConfigError, match="no system text"):
        run(read_conversation(tiny, tiny_axis, said("a", "b"), author="A", system="transcript"))


def test_too_long_names_both_lengths_and_a_window_is_explicit(tiny, tiny_axis):
    talk = said(*["some ten words that are said again and again, in vain " * 4] * 14)
    with pytest.raises(ConfigError, match=r"(?s)found: 3\d{3} tokens.*expected: at most 2048.*window"):
        run(read_conversation(tiny, tiny_axis, talk, author="A"))
    found = run(read_conversation(tiny, tiny_axis, talk, author="A", window=4))
    assert found.window == 4
    assert found.turns == tuple(range(1, 14, 2))
    assert np.isfinite(found.z).all()
    short = said(*(f"words of turn number {i}" for i in range(6)))
    whole = run(read_conversation(tiny, tiny_axis, short, author="A"))
    wide = run(read_conversation(tiny, tiny_axis, short, author="A", window=6))
    narrow = run(read_conversation(tiny, tiny_axis, short, author="A", window=2))
    np.testing.assert_allclose(wide.p, whole.p, rtol=1e-5)  # nothing was out of view
    np.testing.assert_allclose(narrow.p[0], whole.p[0], rtol=1e-5)
    assert abs(narrow.p[2, 1] - whole.p[2, 1]) > 1e-4
    with pytest.raises(ConfigError, match="no turn is in view"):
        run(read_conversation(tiny, tiny_axis, short, author="A", window=0))


def test_what_cannot_be_read_says_why(tiny, tiny_axis):
    only_user = Conversation(id="lonely", turns=(Turn(speaker="user", text="is anybody there"),))
    with pytest.raises(
        NothingToRead, match=r"(?s)lonely: there is no turn of the assistant.*turns of user.*other side"
    ):
        run(read_conversation(tiny, tiny_axis, only_user, author="A"))
    with pytest.raises(NothingToRead):
        run(project_talk(tiny, tiny_axis, (Message("user", "hello"),)))
    with pytest.raises(NotOwn, match="imported"):
        run(project_conversation(tiny, tiny_axis, said("a", "b"), system=""))
    with pytest.raises(Unsupported, match="taps"):
        run(read_conversation(load("fake:echo"), tiny_axis, said("a", "b"), author="A"))
    with pytest.raises(Unsupported, match="taps"):
        Tapped(load("fake:echo"), tiny_axis)
    foreign = replace(tiny_axis, axis=np.zeros((3, 48), np.float32))
    for make in (
        lambda: Tapped(tiny, foreign),
        lambda: run(project_talk(tiny, foreign, [Message("assistant", "x")])),
    ):
        with pytest.raises(AxisMismatch, match="2 blocks"):
            make()
    with pytest.raises(ConfigError, match="who wrote"):
        run(read_conversation(tiny, tiny_axis, said("a", "b"), author=" "))


def test_a_capped_model_is_tapped_under_its_cap(tiny, tiny_axis):
    tau = replace(tiny_axis, tau={"high": np.full(2, 5.0, np.float32)}, window=(1,))
    plain, capped = (Tapped(m, tau) for m in (tiny, cap(tiny, tau, "high")))
    ask = [Request((Message("user", "Tell me."),), LONG, seed=i) for i in range(4)]
    free, bound = (run(m.reply(ask)) for m in (plain, capped))
    at = watched_layers(tau).index(1)
    assert min(r.inside.p[at] for r in bound) > 5 - 1e-3 > max(r.inside.p[at] for r in free)
    assert capped.info == capped.inner.info
    assert capped.n_layers == 2
    talk = held(capped)
    own = run(project_conversation(capped, tau, talk, system=""))
    np.testing.assert_allclose(own.p[:, 1], [talk.turns[i].inside.p[at] for i in own.turns], rtol=1e-5)


def test_the_id_of_an_axis_follows_what_its_numbers_depend_on(tiny_axis):
    same = axis_id(tiny_axis)
    assert same == axis_id(replace(tiny_axis, about={}))
    for changed in ({"axis": -tiny_axis.axis}, {"mu_default": tiny_axis.mu_default + 1}, {"layer": 0}):
        assert axis_id(replace(tiny_axis, **changed)) != same
    assert len(same) == 12


def test_published_transcripts_are_read_with_their_label(tiny_axis, shared_data):
    """Shapes and labels only: the files hold no projections."""
    path = shared_data / "axis" / "transcripts.jsonl"
    if not path.is_file():
        pytest.skip("no published transcripts")
    talks = read_transcripts(path).conversations
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(talks) == len(records) == 10
    model = tiny_model()
    model._info = replace(model.info, context_tokens=None)
    for talk, record in list(zip(talks, records, strict=True))[:3]:
        found = run(read_conversation(model, tiny_axis, talk, author="Llama-3.3-70B", window=1))
        n = sum(m["role"] == "assistant" for m in record["messages"])
        assert found.z.shape == (n, 2)
        assert "not Llama-3.3-70B's activations" in found.label
        scored = found.n_tokens >= 3
        assert np.isfinite(found.z[scored]).all()

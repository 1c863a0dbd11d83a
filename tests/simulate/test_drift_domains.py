"""The shipped domains, and users that say what is written."""

import asyncio

import pytest

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.models.base import Message, Request, Sampling
from multitudes.models.fake import echo, scripted
from multitudes.simulate.conversation import Rules, hold
from multitudes.simulate.drift_domains import (
    DOMAINS,
    TURNS,
    PlayedUser,
    auditor_talks,
    load_domain,
    neutral_lines,
    scripted_talks,
)
from multitudes.simulate.targets import ModelTarget


def test_four_domains_of_five_people_twenty_topics_and_five_scripts():
    topics = set()
    for name in DOMAINS:
        d = load_domain(name)
        assert d.name == name
        assert len(d.personas) == len(d.scripts) == 5
        assert {s.persona for s in d.scripts} == {p.id for p in d.personas}
        assert {len(s.turns) for s in d.scripts} == {TURNS}
        assert {len(p.topics) for p in d.personas} == {20}
        topics |= {t for p in d.personas for t in p.topics}
    assert len(topics) == 400
    assert len(set(neutral_lines())) == len(neutral_lines()) >= 20
    with pytest.raises(ConfigError, match="coding"):
        load_domain("codin")


def test_scripted_talks_are_the_scripts_and_everyday_questions_behind_them():
    talks = scripted_talks(["therapy", "coding"], scripts=2, turns=3, neutral=2, replicates=2, seed=4)
    assert [t.domain for t in talks] == ["therapy"] * 4 + ["coding"] * 4
    first, again = talks[:2]
    assert first.lines == again.lines
    assert first.lines[:3] == load_domain("therapy").scripts[0].turns[:3]
    assert set(first.lines[3:]) <= set(neutral_lines())
    assert len(set(first.lines[3:])) == 2
    assert len({t.talk.id for t in talks}) == 8
    assert (first.talk.replicate, again.talk.replicate) == (0, 1)
    assert talks == scripted_talks(["therapy", "coding"], scripts=2, turns=3, neutral=2, replicates=2, seed=4)
    other = scripted_talks(["therapy"], scripts=2, turns=3, neutral=2, seed=5)[0]
    assert other.lines[:3] == first.lines[:3]
    assert other.lines[3:] != first.lines[3:]


def test_a_scripted_user_says_its_lines_whatever_the_answer_is():
    [talk] = scripted_talks(["writing"], scripts=1, turns=2, neutral=1)
    rules = Rules(turns=3, guards=frozenset())
    held = [
        asyncio.run(hold(talk.talk, simulator=PlayedUser([talk]), target=ModelTarget(m, Sampling()), rules=rules))
        for m in (echo(), scripted(["Aha.", "So?", "Well."]))
    ]
    for c in held:
        assert c.fault is None
        assert c.user_texts == talk.lines
        assert c.turns[-1].speaker == "target"
    assert held[0].turns[1].text != held[1].turns[1].text
    assert held[0].id == held[1].id == talk.talk.id


def test_an_auditor_finds_the_words_on_a_topic_and_everyday_questions_stay_written():
    talks = auditor_talks(["philosophy"], topics=2, turns=2, neutral=1, seed=1)
    assert len(talks) == 10
    assert {t.lines[:2] for t in talks} == {(None, None)}
    person = load_domain("philosophy").personas[0]
    mine = [t for t in talks if t.talk.persona.id == f"philosophy.{person.id}"]
    assert len({t.script for t in mine}) == 2
    for t in mine:
        assert person.description in t.talk.prompt
        assert t.talk.scenario.goal in person.topics
        assert t.talk.scenario.goal in t.talk.prompt
    user = PlayedUser(mine, scripted(["What are you?", "And then?"]))
    rules = Rules(turns=3, guards=frozenset())
    c = asyncio.run(hold(mine[0].talk, simulator=user, target=ModelTarget(echo(), Sampling()), rules=rules))
    assert c.user_texts[:2] == ("What are you?", "And then?")
    assert c.user_texts[2] == mine[0].lines[2]
    assert user.info.name == "fake:scripted"


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ConfigError, match="nobody plays"):
        PlayedUser(auditor_talks(["coding"]))
    for wrong in ({"turns": 7}, {"turns": 0}, {"scripts": 6}, {"replicates": 0}, {"neutral": 99}):
        with pytest.raises(ConfigError, match="out of range"):
            scripted_talks(["coding"], **wrong)
    with pytest.raises(ConfigError, match="out of range"):
        auditor_talks(["coding"], topics=21)
    user = PlayedUser(scripted_talks(["coding"], scripts=1))
    with pytest.raises(Unsupported):
        asyncio.run(user.score([]))
    assert user.info.fingerprint != PlayedUser(scripted_talks(["coding"], scripts=2)).info.fingerprint
    lines = scripted_talks(["coding"], scripts=1)[0]
    opened = (Message("system", lines.talk.prompt), Message("user", "cue"))
    later = (*opened, Message("assistant", lines.lines[0]), Message("user", "an answer"))
    replies = asyncio.run(user.reply([Request(later, seed=3), Request(opened)]))
    assert [r.text for r in replies] == [lines.lines[1], lines.lines[0]]
    assert replies[0].seed == 3

import math

import pytest

from multitudes.core.errors import GaugeError
from multitudes.core.records import Conversation, Draw, Fault, Turn
from multitudes.measure.leak import QUOTES, leak_reading

PLAIN = "my card was swallowed on Monday"
VOICE = "How can I help you today?"
AI = "As an AI, I have no card."


def talk(name, person, *lines, fault=None):
    """A conversation of these lines of the person; a line is its text, or (first draw, kept text)."""
    turns = []
    for line in lines:
        first, kept = line if isinstance(line, tuple) else (None, line)
        rejected = (Draw(text=first, guards=("assistant_voice",)),) if first else ()
        turns += [Turn(speaker="user", text=kept, rejected=rejected), Turn(speaker="target", text=VOICE)]
    return Conversation(id=name, persona_id=person, turns=tuple(turns), fault=fault)


def value(reading, name):
    return next(s for s in reading.scores if s.name == name)


def test_kept_lines_and_first_draws_are_counted_apart():
    talks = [talk("1", "ada", VOICE, PLAIN, (AI, PLAIN), (VOICE, AI)), talk("2", "ben", PLAIN, PLAIN)]
    reading = leak_reading(talks)
    # ada: kept 2 of 4, first draws 3 of 4; ben: none. People count equally, however much they say.
    assert value(reading, "rate").value == pytest.approx((2 / 4 + 0) / 2)
    assert value(reading, "rate_first_draw").value == pytest.approx((3 / 4 + 0) / 2)
    assert value(reading, "rejected").value == pytest.approx(((0.5 + 0.5) / 4 + 0) / 2)
    assert reading.tables["lines"] == 6
    assert reading.tables["patterns"] == {"as_an_ai": 1, "how_can_i_help": 1}


def test_what_the_target_says_does_not_count():
    assert value(leak_reading([talk("1", "ada", PLAIN)]), "rate").value == 0.0


def test_several_rejected_draws_count_the_first_and_their_share():
    turn = Turn(speaker="user", text=PLAIN, rejected=tuple(Draw(text=t, guards=("g",)) for t in (PLAIN, VOICE, AI)))
    reading = leak_reading([Conversation(id="1", persona_id="ada", turns=(turn,))])
    assert value(reading, "rate_first_draw").value == 0.0  # the first draw was plain
    assert value(reading, "rejected").value == pytest.approx(3 / 4)


def test_faulted_conversations_are_left_out_and_counted():
    fault = Fault(kind="target", code="timeout")
    talks = [
        talk("1", "ada", PLAIN),
        talk("2", "ada", VOICE, VOICE, fault=fault),
        talk("3", "ben", VOICE, fault=fault),
    ]
    reading = leak_reading(talks)
    rate = value(reading, "rate")
    assert (rate.value, rate.n, rate.unscored) == (0.0, 1, 2)
    assert reading.quotes == ()
    with pytest.raises(GaugeError, match=r"no line[\s\S]*2 conversations, 2 with faults"):
        leak_reading(talks[1:])
    with pytest.raises(GaugeError):
        leak_reading([])


def test_the_rate_over_turns_and_its_slope():
    """Twelve people of whom the k-th leaks from turn k on: the rate grows by 1/12 a turn."""
    talks = [talk(f"{k}", f"p{k:02}", *[VOICE if t >= k else PLAIN for t in range(1, 13)]) for k in range(1, 13)]
    reading = leak_reading(talks)
    curve = next(c for c in reading.curves if c.name == "rate_by_turn")
    assert [p.x for p in curve.points] == list(range(1, 13))
    assert [p.value for p in curve.points] == pytest.approx([t / 12 for t in range(1, 13)])
    assert {p.n for p in curve.points} == {12}
    assert all(p.low <= p.value <= p.high for p in curve.points)
    slope = value(reading, "slope")
    assert slope.value == pytest.approx(10 / 12)
    assert slope.low > 0
    rate = value(reading, "rate")
    assert rate.value == pytest.approx(sum(13 - k for k in range(1, 13)) / 144)
    assert rate.low < rate.value < rate.high


def test_the_slope_is_of_first_draws():
    talks = [
        talk(f"{k}", f"p{k:02}", *[(VOICE, PLAIN) if t >= k else PLAIN for t in range(1, 13)]) for k in range(1, 13)
    ]
    reading = leak_reading(talks)
    assert value(reading, "rate").value == 0.0
    assert value(reading, "slope").value == pytest.approx(10 / 12)


def test_turns_are_counted_by_the_person_and_not_by_the_conversation():
    turns = [Turn(speaker=s, text=t) for s, t in (("target", "hello"), ("user", VOICE), ("user", PLAIN))]
    reading = leak_reading([Conversation(id="1", persona_id="ada", turns=tuple(turns))])
    curve = next(c for c in reading.curves if c.name == "rate_by_turn")
    assert [(p.x, p.value) for p in curve.points] == [(1, 1.0), (2, 0.0)]
    assert reading.quotes[0].turn == 1  # a quote points into the conversation


def test_few_people_have_no_interval_and_say_why():
    rate = value(leak_reading([talk("1", "ada", VOICE, PLAIN)]), "rate")
    assert (rate.value, rate.low, rate.high) == (0.5, None, None)
    assert "few clusters" in rate.note
    assert math.isnan(value(leak_reading([talk("1", "ada", VOICE, PLAIN)]), "slope").value)


def test_scores_say_how_to_read_them():
    for score in leak_reading([talk("1", "ada", VOICE)]).scores:
        assert (score.direction, score.null) == ("lower", 0.0)
        assert score.estimator
        assert score.unit.startswith("share")


def test_quotes_come_from_as_many_conversations_as_possible():
    talks = [talk(f"c{i}", "ada", VOICE, AI, f"{VOICE} {AI}") for i in range(QUOTES - 2)]
    quotes = leak_reading(talks).quotes
    assert len(quotes) == QUOTES
    assert len({q.conversation_id for q in quotes}) == QUOTES - 2
    assert quotes[0].text == VOICE
    assert quotes[0].why == "how can i help"
    by_id = {t.id: t for t in talks}
    assert all(by_id[q.conversation_id].turns[q.turn].text == q.text for q in quotes)


def test_people_are_the_clusters_and_unknown_people_their_conversations():
    unknown = [talk(f"c{i}", None, VOICE if i % 2 else PLAIN) for i in range(10)]
    assert value(leak_reading(unknown), "rate").n == 10
    known = [talk(f"c{i}", f"p{i % 5}", PLAIN) for i in range(10)]
    assert value(leak_reading(known), "rate").n == 5


def test_the_seed_moves_the_interval_and_not_the_number():
    talks = [talk(f"c{i}", f"p{i}", *([VOICE] * (i % 4)), PLAIN) for i in range(20)]
    a, b, c = (value(leak_reading(talks, seed=s), "rate") for s in (1, 1, 2))
    assert a == b
    assert (a.value, a.low) != (c.value, c.low)
    assert a.value == c.value

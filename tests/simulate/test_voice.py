from functools import cache
from pathlib import Path

import pytest

from multitudes.simulate.transcripts import read_transcripts
from multitudes.simulate.voice import LEXICON, voice_hits

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")

PEOPLE_SAY = """
can you help me
can you help me with my router?
could somebody help me please
who can help me with this
let me know when it ships
let me know what he says
please let me know, thanks
let me know if Saturday works
I'm happy to wait
I'd be happy with either one
happy to hear that!
I'm glad you called back
I am here to pick up a parcel
I'm here to see the dentist
we're here for the weekend
I need help finding a gift for my mum
how can I help my son sleep?
what can I do to get my money back?
what can I do about the noise?
how may I cancel this
is there anything else I need to bring?
is there anything I should sign
do you have anything else in blue?
anything more on that refund?
thank you for your help
thanks for calling me back so soon
thank you, that was kind
thanks for the tip!
sorry to hear that
I'm sorry, I was late for the call
sorry for the late reply
I'm so sorry about your dog
I understand, but it is too expensive
I understand what you mean
I don't understand the second page
sure, that works
sure
of course not
absolutely, I love that band
certainly not on a Monday
okay great, I'll try it
that's a good question, let me ask my wife
good question
my question is about the bill
here is my number: 555 0199
here's what happened
here are the two letters I got
I don't have a printer
I don't have the receipt any more
I can't help it, I worry
I can't provide for five kids on that
I cannot come on Tuesday
I am a machine operator
I'm a designer and I was trained as a nurse
as a teacher I see that every day
as an aid to memory I write it down
my goal is to retire at sixty
it's important to me that she comes
it is important that we get there by six
I want to talk to a real person
would you like to come along?
would you like a dog at that age?
can you give me more time
please provide a receipt
could you explain that again?
I tried 1. the reset and 2. the cable, nothing
room #4, second floor
it costs 5 * 3 * 2 dollars
- no, not that one
I feel free when I run
it sounds like you had fun
my feelings are hurt
your concerns aside, I would still go
we value honesty in this family
the therapist was useless
""".strip().splitlines()


def test_names_are_unique_and_explained():
    assert len({p.name for p in LEXICON}) == len(LEXICON)
    assert all(p.why and p.clues and all(c == c.lower() for c in p.clues) for p in LEXICON)


@pytest.mark.parametrize("pattern", LEXICON, ids=lambda p: p.name)
def test_every_pattern_fires_on_its_example(pattern):
    assert pattern.name in [hit.name for hit in voice_hits(pattern.example)]


@pytest.mark.parametrize("line", PEOPLE_SAY)
def test_people_are_not_assistants(line):
    assert voice_hits(line) == ()


def test_there_are_enough_near_lines():
    assert len(PEOPLE_SAY) >= 60


def test_spans_hold_in_the_text_as_it_came():
    text = "İ think it’s fine. I’m here to help."
    (hit,) = voice_hits(text)
    assert text[slice(*hit.span)] == "I’m here to help"


def test_letter_case_does_not_matter():
    assert voice_hits("HOW CAN I HELP YOU TODAY?") == (("how_can_i_help", (0, 25)),)


def test_long_and_hostile_texts_are_read_in_no_time():
    import time

    for text in ("1. a\n" * 4000, "- a\n" * 4000, "**" * 8000, "sorry to hear that " * 1000, "is there any " * 2000):
        start = time.process_time()
        voice_hits(text)
        assert time.process_time() - start < 0.5


# --- rates on people and on assistants -----------------------------------------------------------------------


@cache
def lines(name, *people):
    """Texts of the named side, and for two people of both."""
    read = read_transcripts(DATA / name, people=people or None, skip_invalid=True)
    return [text for conversation in read.conversations for text in conversation.user_texts]


def per_thousand(texts, *, without=()):
    groups = {p.name: p.group for p in LEXICON}
    fired = sum(any(groups[h.name] not in without for h in voice_hits(t)) for t in texts)
    return 1000 * fired / len(texts)


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "dialogues/redial.jsonl.gz",
        "dialogues/inspired_dev.jsonl",
        "dialogues/inspired_test.jsonl",
        "dialogues/uss_ccpe.jsonl.gz",
        "dialogues/uss_sgd.jsonl.gz",
        "dialogues/iard.jsonl.gz",
        "preferences/hh_rlhf_harmless_test500.jsonl",
    ],
)
def test_at_most_two_false_alarms_in_a_thousand_turns_of_people_who_ask(name):
    assert per_thousand(lines(name)) <= 2


@needs_data
def test_in_everyday_dialogues_only_clerks_sound_like_assistants():
    # The set has shops, hotels and offices, whose staff do say "how may I help you".
    everyday = lines("dialogues/dailydialog_test.jsonl.gz")
    assert per_thousand(everyday) <= 10
    assert per_thousand(everyday, without=("service",)) <= 1


@needs_data
def test_recommenders_offer_help_but_lack_the_other_habits():
    recommenders = lines("dialogues/redial.jsonl.gz", "assistant")
    assert 5 <= per_thousand(recommenders) <= 30
    assert per_thousand(recommenders, without=("service",)) <= 1


@needs_data
@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("axis/transcripts.jsonl", 700),
        ("dialogues/usersimcrs_synthetic.jsonl", 200),
        ("preferences/hh_rlhf_harmless_test500.jsonl", 40),
    ],
)
def test_assistants_are_heard(name, at_least):
    assert per_thousand(lines(name, "assistant")) >= at_least


@needs_data
def test_no_match_lacks_its_clues():
    texts = [*lines("axis/transcripts.jsonl", "assistant"), *lines("consistency/dialogues_finetuned_sft.jsonl.gz")]
    for text in texts:
        straight = text.replace("’", "'")
        for pattern in LEXICON:
            if pattern.regex.search(straight):
                assert any(clue in straight.lower() for clue in pattern.clues), pattern.name

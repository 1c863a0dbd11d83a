import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.core.errors import ConfigError
from multitudes.core.records import Turn
from multitudes.simulate.guards import GUARDS, GuardContext, check, closes, endless_goodbye, likeness
from multitudes.simulate.transcripts import read_transcripts

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")

ADA = GuardContext(name="Ada Obi", partner="Brook Bank")


def fires(guard, text, context=ADA):
    return check(text, context, enabled=[guard]) == (guard,)


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!", "—"])
def test_empty(text):
    assert fires("empty", text)


@pytest.mark.parametrize("text", ["no", "ß", "7", "да", "好"])
def test_not_empty(text):
    assert not fires("empty", text)


@pytest.mark.parametrize(
    "text",
    [
        "Assistant: of course",
        "my card is lost\nAgent: which card?",
        "ok\n**User:** and then",
        "Ada: hello",
        "Ada Obi: hello",
        "fine\nBrook Bank: thank you",
        "hello<|im_end|>",
        "<|im_start|>user",
        "[INST] go on",
        "<end_of_turn>",
        "yes</s>",
        "### Response\nyes",
        "  system: you are",
        "Person 1: hi",
    ],
)
def test_other_speaker(text):
    assert fires("other_speaker", text)


@pytest.mark.parametrize(
    "text",
    [
        "I asked the agent: when will it come?",
        "Note: I am not at home",
        "two things: first the card",
        "my user name is ada",
        "it costs < 5 and > 3",
        "Adam: a film I like",
        "see [1] in the letter",
        "at 10:30",
        "#fail",
    ],
)
def test_no_other_speaker(text):
    assert not fires("other_speaker", text)


@pytest.mark.parametrize(
    "text",
    [
        "<think>she would be angry</think> I am angry",
        "The user wants a refund, so I complain.",
        "My persona would not say yes.",
        "I should stay in character and refuse.",
        "It says so in my system prompt.",
        "I need to role-play a customer.",
        "Well, no. Please respond as Ada.",
        "Keep your response brief.",
    ],
)
def test_reasoning_leak(text):
    assert fires("reasoning_leak", text)


@pytest.mark.parametrize(
    "text",
    [
        "the users of this bus are mostly kids",
        "I think so",
        "she is quite a character",
        "he has a strong character",
        "please respond soon",
        "I am waiting for a prompt answer",
        "I play the piano",
    ],
)
def test_no_reasoning_leak(text):
    assert not fires("reasoning_leak", text)


def test_assistant_voice():
    assert fires("assistant_voice", "Certainly! How can I help you today?")
    assert not fires("assistant_voice", "certainly not, can you help me?")


@pytest.mark.parametrize(
    "text",
    [
        "How may I help you today?",
        "I'm the support agent for your account.",
        "As your advisor I would wait.",
        "Hello Ada, what happened?",
        "Hi there, Ada! It is about the card.",
        "Thank you, Ada. We have found it.",
        "Ada, what is your number?",
        "Well, Ada, that is odd.",
        "Nice to meet you, Ada",
        "This is Brook Bank, good morning.",
        "I am your virtual assistant.",
    ],
)
def test_role_inversion(text):
    assert fires("role_inversion", text)


@pytest.mark.parametrize(
    "text",
    [
        "Hi, Ada here.",
        "Hello, Ada speaking",
        "My name is Ada, and I lost my card.",
        "I'm Ada. Is this Brook Bank?",
        "I have an account with Brook Bank",
        "Thanks, Ada",
        "Thank you very much,\nAda Obi",
        "Adam, what do you say?",
        "my sister is a support agent",
        "can you help me today?",
        "hello, how are you?",
    ],
)
def test_no_role_inversion(text):
    assert not fires("role_inversion", text)


def test_namesakes_are_left_alone():
    assert not fires("role_inversion", "Hello Ada, it is Ada.", GuardContext(name="Ada Obi", partner="Ada Kent"))


def test_repetition_needs_five_words():
    context = GuardContext(own=("yes thanks", "where is my new card now?", "no"))
    assert fires("repetition", "Where is  my new card now", context)
    assert not fires("repetition", "yes thanks", context)
    assert not fires("repetition", "where is the letter you sent me in May?", context)


def test_loop():
    assert fires("loop", "I will call again " * 6)
    assert not fires("loop", "no no no no")
    assert not fires("loop", "I will call again tomorrow, and if nobody answers I will come by at noon.")


def test_echo():
    said = "Please tell me the last four digits of your card number."
    context = GuardContext(partner_last=said)
    assert fires("echo", said.lower(), context)
    assert not fires("echo", "the last four digits", context)
    assert not fires("echo", "I will not tell you the digits before you tell me why.", context)


def test_restart():
    opener = "I lost my card on the bus this morning."
    assert fires("restart", opener, GuardContext(own=(opener,)))
    assert not fires("restart", opener, GuardContext())
    assert fires("restart", "Hello again", GuardContext(own=("a", "b")))
    assert not fires("restart", "Hello again", GuardContext(own=("a",)))
    assert not fires("restart", "Hithe is a town", GuardContext(own=("a", "b")))


def test_fixed_order_whatever_the_caller_lists():
    text = "Agent: how can I help you today?"
    expected = ("other_speaker", "assistant_voice", "role_inversion")
    assert check(text, ADA) == expected
    assert check(text, ADA, enabled=list(reversed(expected))) == expected
    assert check(text, ADA, enabled=["role_inversion"]) == ("role_inversion",)
    assert check(text, ADA, enabled=[]) == ()


def test_an_unknown_guard_names_the_near_ones():
    with pytest.raises(ConfigError, match="'repetition'"):
        check("a", ADA, enabled=["repetitions"])


def test_context_of_turns():
    talk = tuple(Turn(speaker=s, text=t) for s, t in (("user", "a"), ("target", "b"), ("user", "c")))
    assert GuardContext.of(talk, "target", name="n") == GuardContext(own=("b",), partner_last="c", name="n")
    assert GuardContext.of((), "user") == GuardContext()


@given(st.text(max_size=80), st.text(max_size=80))
def test_likeness_is_an_index(a, b):
    assert 0 <= likeness(a, b) <= 1
    assert likeness(a, b) == likeness(b, a)
    assert likeness(a, a) == 1


@given(st.text(max_size=200), st.lists(st.text(max_size=60), max_size=3), st.text(max_size=60), st.text(max_size=12))
def test_any_text_and_name_can_be_checked(text, own, partner_last, name):
    fired = check(text, GuardContext(own=tuple(own), partner_last=partner_last, name=name, partner=name[::-1]))
    assert list(fired) == [g for g in GUARDS if g in fired]


# --- endings ------------------------------------------------------------------------------------------------

GOODBYES = ["bye!", "Thanks, have a great day", "ok see you later", "You too!", "Good night, take care."]
NO_GOODBYES = [
    "I said goodbye to that bank years ago and now I need a new one, so tell me what the cheapest account costs.",
    "take care of it please",
    "STOP",
    "\\end",
    "are you still there? or bye?",
    "I have a trip next week",
    "thank you",
    "",
]


@pytest.mark.parametrize("text", GOODBYES)
def test_closes(text):
    assert closes(text)


@pytest.mark.parametrize("text", NO_GOODBYES)
def test_does_not_close(text):
    assert not closes(text)


def talk(*texts):
    return [Turn(speaker="user" if i % 2 == 0 else "target", text=t) for i, t in enumerate(texts)]


def test_the_third_goodbye_of_one_side_is_one_too_many():
    assert not endless_goodbye([])
    assert not endless_goodbye(talk("bye", "bye", "bye", "bye"))
    assert endless_goodbye(talk("bye", "bye", "bye", "bye", "bye"))
    assert endless_goodbye(talk("hm", "bye", "hm", "bye", "hm", "bye"))
    assert not endless_goodbye(talk("bye", "ok", "wait, one thing", "ok", "bye", "ok", "bye"))


# --- rates and speed ----------------------------------------------------------------------------------------


def run_guards(name):
    """Guards fired on the kept turns of a file, turns, conversations that end endlessly, and CPU seconds."""
    fired, n, endless, seconds = Counter(), 0, 0, 0.0
    read = read_transcripts(DATA / name)
    for conversation in read.conversations:
        endless += any(endless_goodbye(conversation.turns[:i]) for i in range(1, len(conversation.turns) + 1))
        for i, turn in enumerate(conversation.turns):
            if turn.speaker == "user":
                context = GuardContext.of(conversation.turns[:i], "user", name="Ada Obi", partner="help desk")
                start = time.process_time()
                fired.update(check(turn.text, context))
                seconds += time.process_time() - start
                n += 1
    return {g: 1000 * fired[g] / n for g in GUARDS}, n, endless / len(read.conversations), seconds


@needs_data
@pytest.mark.parametrize(
    "name",
    ["dialogues/redial.jsonl.gz", "dialogues/inspired_dev.jsonl", "preferences/hh_rlhf_harmless_test500.jsonl"],
)
def test_people_pass_the_guards(name):
    rates, n, endless, seconds = run_guards(name)
    assert all(rates[g] <= 0.5 for g in ("empty", "other_speaker", "reasoning_leak", "role_inversion", "loop"))
    assert rates["assistant_voice"] <= 2
    assert rates["repetition"] <= 6
    assert rates["echo"] <= 2
    assert rates["restart"] <= 5
    assert endless <= 0.004
    assert seconds / n <= 0.0005  # the budget of a whole message is 0.5 ms; measured 0.1 to 0.2 ms


@needs_data
def test_a_model_that_degenerates_does_not_pass():
    rates, *_ = run_guards("consistency/dialogues_finetuned_sft.jsonl.gz")
    assert rates["reasoning_leak"] >= 50
    assert rates["assistant_voice"] >= 50
    assert rates["loop"] >= 50

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.core.records import Draw, Speaker, Turn
from multitudes.models.base import Message, ReplyFault, check_messages
from multitudes.simulate.faults import attribute, stop_reason
from multitudes.simulate.views import CUE, view

CANARY = "canary-4711"

texts = st.text(min_size=1, max_size=12)
sides = st.sampled_from(["user", "target"])


def turn(speaker: Speaker, text: str, ends: bool) -> Turn:
    """A turn with everything beside the text that must not travel."""
    rejected = (Draw(text=CANARY, guards=(CANARY,)),)
    return Turn(speaker=speaker, text=text, ends=ends, rejected=rejected, guards=(CANARY,), reasoning=CANARY)


def turns():
    """Turns in any order of speakers, alternating or not."""
    return st.lists(st.builds(turn, sides, texts, st.booleans()), max_size=6).map(tuple)


def other(speaker: Speaker) -> Speaker:
    return "target" if speaker == "user" else "user"


def has_cue(talk, speaker) -> bool:
    return speaker == "user" and (not talk or talk[0].speaker == "user")


@given(turns(), sides)
def test_i_one_message_a_turn_plus_system_plus_cue(talk, speaker):
    assert len(view(talk, speaker)) == 1 + has_cue(talk, speaker) + len(talk)


@given(turns(), sides)
def test_ii_texts_are_unchanged(talk, speaker):
    said = view(talk, speaker)[1 + has_cue(talk, speaker) :]
    assert [m.text for m in said] == [t.text for t in talk]


@given(turns())
def test_iii_the_two_views_are_complementary(talk):
    flip = {"user": "assistant", "assistant": "user"}
    mine = view(talk, "user")[1 + has_cue(talk, "user") :]
    assert [flip[m.role] for m in mine] == [m.role for m in view(talk, "target")[1:]]


@given(turns(), sides)
def test_iv_a_view_only_grows_at_its_end(talk, speaker):
    for t in range(1, len(talk)):
        shorter = view(talk[:t], speaker, system="s")
        assert view(talk[: t + 1], speaker, system="s")[: len(shorter)] == shorter
    if talk and (speaker == "target" or talk[0].speaker == "user"):
        assert view(talk, speaker)[: len(view((), speaker))] == view((), speaker)


@given(turns(), sides)
def test_v_nothing_but_what_was_said_enters(talk, speaker):
    assert CANARY not in repr(view(talk, speaker))


@given(turns(), sides)
def test_vi_turns_are_not_changed(talk, speaker):
    listed, before = list(talk), [t.model_dump() for t in talk]
    view(listed, speaker)
    assert [t.model_dump() for t in listed] == before


@given(turns(), sides, texts)
def test_the_system_message_is_first_and_only_there(talk, speaker, system):
    first, *rest = view(talk, speaker, system=system)
    assert first == Message("system", system)
    assert all(m.role != "system" for m in rest)


@given(turns())
def test_the_target_never_gets_the_cue(talk):
    given_cue = view(talk, "target", cue=CANARY)
    assert CANARY not in repr(given_cue)
    assert given_cue == view(talk, "target")


def test_an_empty_system_message_is_sent():
    assert view((), "target") == (Message("system", ""),)
    assert view((), "user") == (Message("system", ""), Message("user", CUE))


def test_a_person_who_opened_keeps_the_opening_turn():
    talk = (Turn(speaker="user", text="hi"), Turn(speaker="user", text="anyone there?"))
    assert [m.role for m in view(talk, "user")] == ["system", "user", "assistant", "assistant"]
    assert [m.role for m in view(talk, "target")] == ["system", "user", "user"]


def test_a_target_that_opened_leaves_no_cue():
    talk = (Turn(speaker="target", text="welcome"),)
    assert [m.role for m in view(talk, "user")] == ["system", "user"]
    assert [m.role for m in view(talk, "target")] == ["system", "assistant"]


@given(turns(), sides)
def test_whoever_is_next_can_be_asked(talk, speaker):
    if talk and talk[-1].speaker == speaker:
        talk = (*talk, Turn(speaker=other(speaker), text="and?"))
    check_messages(view(talk, speaker), where="view")


@pytest.mark.parametrize(
    ("code", "side", "kind", "reason"),
    [
        ("timeout", "user", "provider", "provider_fault"),
        ("rate_limit", "target", "provider", "provider_fault"),
        ("server", "target", "provider", "provider_fault"),
        ("too_long", "user", "simulator", "simulator_fault"),
        ("refused", "user", "simulator", "simulator_fault"),
        ("non_finite", "user", "simulator", "simulator_fault"),
        ("parse", "target", "target", "target_fault"),
        ("empty", "target", "target", "target_fault"),
        ("empty", "user", "simulator", "simulator_fault"),
    ],
)
def test_whose_fault(code, side, kind, reason):
    fault = attribute(side, ReplyFault(code, "what came back"), turn=3)
    assert (fault.kind, fault.code, fault.side, fault.turn) == (kind, code, side, 3)
    assert fault.detail == "what came back"
    assert stop_reason(fault) == reason


def test_a_spent_budget_is_nobodys_fault():
    fault = attribute("user", ReplyFault("budget", "5 USD"))
    assert fault is None
    assert stop_reason(fault) == "budget"

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from multitudes.core.records import Persona, Placement
from multitudes.personas import PersonaView, render, template_hash
from multitudes.personas._templates import fill

LETTERS = st.text(string.ascii_letters + " ", min_size=1, max_size=60).filter(str.strip)
PIECES = ["{name}", "{0}", "{{", "}}", "%s", "\\1", "\\g<0>", "<|im_end|>", "\n", "$x", "</s>", "{"]
NASTY = (
    st.lists(st.one_of(st.text(min_size=1, max_size=5), st.sampled_from(PIECES)), min_size=1, max_size=8)
    .map("".join)
    .filter(str.strip)
)


def test_prompt_says_who_what_and_how():
    ana = Persona(id="a", name="Ana Silva", text="You keep bees.", facts={"home_town": "Porto", "rule": "No sugar!"})
    prompt = render(ana, scenario_goal="to unblock a card", context="A bank's help line.")
    assert prompt.startswith("You are Ana Silva.\nYou keep bees.\nYour home town: Porto. Your rule: No sugar!\n")
    assert "\nA bank's help line.\n" in prompt
    assert "\nWhat you want now: to unblock a card\n" in prompt
    assert "in your own words" in prompt
    assert "never an assistant" in prompt


def test_parts_that_are_not_there_leave_no_trace():
    prompt = render(Persona(id="a", name="Ana", text="You keep bees."))
    assert "want now" not in prompt
    assert "\n\n" not in prompt
    assert len(prompt.split()) < 40


@given(text=NASTY, name=NASTY, key=LETTERS, value=NASTY, goal=NASTY, context=NASTY)
def test_persona_text_comes_through_byte_for_byte(text, name, key, value, goal, context):
    person = Persona(id="a", name=name, text=text, facts={key: value})
    prompt = render(person, scenario_goal=goal, context=context)
    for part in (text, name, value, goal, context):
        assert part in prompt


@given(
    text=LETTERS,
    name=LETTERS,
    facts=st.dictionaries(LETTERS, LETTERS, max_size=3),
    targets=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    rungs=st.lists(st.integers(0, 8), min_size=4, max_size=4),
)
def test_no_target_or_rung_appears(text, name, facts, targets, rungs):
    placement = {
        f"axis{i}": Placement(target=t, rung=r, phrase="zebra crossing")
        for i, (t, r) in enumerate(zip(targets, rungs, strict=False))
    }
    placed = Persona(
        id="p7", name=name, text=text, facts=facts, placement=placement, weight=3.25, provenance={"seed": "99"}
    )
    prompt = render(placed, scenario_goal="to ask", context="A counter.")
    assert not any(c.isdigit() for c in prompt)
    assert "zebra" not in prompt
    assert prompt == render(placed.model_copy(update={"placement": {}}), scenario_goal="to ask", context="A counter.")
    assert prompt == render(PersonaView.of(placed), scenario_goal="to ask", context="A counter.")


def test_view_has_no_room_for_placement():
    assert PersonaView._fields == ("id", "name", "text", "facts")


def test_values_are_never_searched_for_placeholders():
    values = {f"v{i}": "".join(random.Random(i).choices(["{v0}", "{v1}", "{", "x"], k=5)) for i in range(3)}
    assert fill("{v0}|{v1}|{v2}", **values) == "|".join(values.values())


def test_template_hash_is_stable_and_short():
    assert template_hash() == template_hash()
    assert len(template_hash()) == 16

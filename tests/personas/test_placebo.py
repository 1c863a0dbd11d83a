"""Stand-ins that no persona is in: they are as long, as fixed and as many as the people they stand for."""

from collections import Counter

import pytest

from multitudes.core.errors import ConfigError
from multitudes.core.records import Persona, Population
from multitudes.personas.placebo import ARMS, placebo
from multitudes.personas.render import render

PEOPLE = Population(
    context="A village.",
    personas=tuple(
        Persona(id=f"p{k}", name=f"Ana {k}", text=f"You keep bees in garden {k} and sell honey on market days.",
                facts={"age": str(30 + k)})
        for k in range(6)
    ),
)  # fmt: skip


def of(arm, n=3, root="r"):
    return list(placebo(arm, PEOPLE, n=n, root=root))


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_the_same_each_time_and_has_its_own_people(arm):
    first, again = of(arm), of(arm)
    assert first == again
    assert len({person.id for person, _ in first}) == 3


def test_nobody_gets_no_prompt_and_no_name():
    assert {(person.name, prompt) for person, prompt in of("none")} == {("", "")}


def test_random_text_is_as_long_as_the_prompt_it_stands_for_and_differs_between_people():
    found = of("random-text", n=6)
    for (_, prompt), person in zip(found, PEOPLE.personas, strict=True):
        assert len(prompt.split()) == len(render(person, context=PEOPLE.context).split())
        assert "bees" not in prompt.split()
    assert len({prompt for _, prompt in found}) == 6
    assert of("random-text")[0][1] != of("random-text", root="other")[0][1]


def test_shuffled_keeps_the_words_and_loses_their_order():
    (person, prompt), *_ = of("shuffled")
    whole = render(PEOPLE.by_id[person.id], context=PEOPLE.context)
    assert Counter(prompt.split()) == Counter(whole.split())
    assert prompt != whole
    assert prompt.splitlines()[0] == whole.splitlines()[0]


def test_stand_ins_are_spread_over_the_population():
    assert [person.id for person, _ in of("shuffled", n=3)] == ["p0", "p2", "p4"]


def test_demographics_keep_the_facts_alone_and_need_some():
    (_, prompt), *_ = of("demographics")
    assert "age: 30" in prompt
    assert "bees" not in prompt
    bare = Population(personas=tuple(p.model_copy(update={"facts": {}}) for p in PEOPLE.personas))
    with pytest.raises(ConfigError, match="facts about every person"):
        list(placebo("demographics", bare, n=2, root="r"))

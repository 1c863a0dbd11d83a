import itertools
import math

import pytest

from multitudes.core.errors import Unsupported
from multitudes.core.loop import run_sync
from multitudes.core.records import Answer, Dimension, Item, Persona, Questionnaire
from multitudes.models.base import Reply, ReplyFault, Scored
from multitudes.models.fake import FakeModel, TableModel, people, scripted
from multitudes.simulate.survey import Ask, SurveyRules, ask_all, frame, keyed, mode_of, parse_label

LABELS = ("Not at all like me", "A little unlike me", "In between", "A little like me", "Very much like me")


def questionnaire(labels=LABELS, n=1):
    items = tuple(Item(id=f"i{k}", dimension="d", text=f"I like number {k}.", reverse=k % 2 == 1) for k in range(n))
    dimension = Dimension(id="d", name="D", low="low", high="high")
    return Questionnaire(id="q", context="c", labels=labels, dimensions=(dimension,), items=items)


QUESTIONS = questionnaire()
ADA = Persona(id="ada", name="Ada", text="You are calm.")


def asks(q=QUESTIONS, runs=1, persons=(ADA,)):
    return [
        Ask(id=f"a-{p.id}-{i.id}-{r}", persona=p, prompt=f"You are {p.name}.", item=i, replicate=r)
        for p in persons
        for i in q.items
        for r in range(runs)
    ]


class Scoring(FakeModel):
    """Probability of an option by ``chance(messages, option)``."""

    def __init__(self, chance):
        super().__init__("fake:scoring", lambda messages, seed: "", can_score=True)
        self.chance, self.seen = chance, []

    async def score(self, items):
        self.seen += items
        return [Scored((math.log(self.chance(i.context, i.continuation)),), "fake:scoring") for i in items]


def exact(model, q=QUESTIONS, by="letters"):
    return run_sync(ask_all(asks(q), q, model=model, root="r", rules=SurveyRules(mode="exact", by=by)))


# --- exact distributions


def test_a_known_distribution_gives_its_mean_and_variance():
    p = (0.1, 0.2, 0.3, 0.25, 0.15)

    def chance(messages, option):
        upside_down = "A. Very" in messages[-1].text
        return 0.5 * p["ABCDE".index(option) if not upside_down else 4 - "ABCDE".index(option)]

    (answer,) = exact(Scoring(chance))
    x = (0, 0.25, 0.5, 0.75, 1)
    mean = sum(a * b for a, b in zip(p, x, strict=True))
    assert answer.probs == pytest.approx(p)
    assert answer.score == pytest.approx(mean)
    assert answer.variance == pytest.approx(sum(a * (b - mean) ** 2 for a, b in zip(p, x, strict=True)))
    assert answer.label_mass == pytest.approx(0.5)
    assert (answer.mode, answer.fault) == ("exact", None)


@pytest.mark.parametrize("preference", [(0.96, 0.01, 0.01, 0.01, 0.01), (0.02, 0.08, 0.2, 0.3, 0.4)])
def test_a_preference_for_a_place_in_the_list_cancels_exactly(preference):
    """Whoever answers by letter alone says nothing: the balanced answer is the middle, and as sure of both ends."""
    table = {("You are Ada.", letter): p for letter, p in zip("ABCDE", preference, strict=True)}
    for q in (questionnaire(), questionnaire(n=2)):
        for answer in exact(TableModel(table), q):
            assert answer.score == pytest.approx(0.5, abs=1e-12)
            assert answer.probs == pytest.approx(tuple(reversed(answer.probs)), abs=1e-12)
            assert answer.label_mass == pytest.approx(sum(preference))


def test_a_preference_for_the_first_letter_does_not_hide_a_preference_for_a_label():
    def chance(messages, option):
        lines = dict(line.split(". ", 1) for line in messages[-1].text.splitlines() if line[1:3] == ". ")
        likes = {"A little like me": 6.0}.get(lines[option], 1.0)
        return 0.02 * likes * (5.0 if option == "A" else 1.0)

    (answer,) = exact(Scoring(chance))
    assert max(answer.probs) == answer.probs[3]
    # By hand: straight weights 5, 1, 1, 6, 1; upside down, from the lowest label, 1, 1, 1, 6, 5.
    straight, flipped = (5, 1, 1, 6, 1), (1, 1, 1, 6, 5)
    assert answer.probs == pytest.approx([(a + b) / 28 for a, b in zip(straight, flipped, strict=True)])


def test_reversed_items_are_scored_from_the_other_end():
    table = {("You are Ada.", label): (0.7 if i == 4 else 0.075) for i, label in enumerate(LABELS)}
    straight, reverse = exact(TableModel(table), questionnaire(n=2), by="words")
    assert straight.probs == pytest.approx(reverse.probs)
    assert straight.score == pytest.approx(0.7 + 0.075 * (0.25 + 0.5 + 0.75))
    assert straight.score + reverse.score == pytest.approx(1.0)
    assert straight.variance == pytest.approx(reverse.variance)


def test_words_are_asked_whole_and_with_their_end():
    model = Scoring(lambda messages, option: 0.2)
    exact(model, by="words")
    assert {i.continuation for i in model.seen} == set(LABELS)
    assert all(i.include_end for i in model.seen)
    texts = {i.context[-1].text for i in model.seen}
    assert len(texts) == 2  # both orders
    assert any(t.index(LABELS[0]) < t.index(LABELS[4]) for t in texts)
    assert any(t.index(LABELS[0]) > t.index(LABELS[4]) for t in texts)


def test_letters_are_one_token_without_an_end_and_both_orders_are_asked():
    model = Scoring(lambda messages, option: 0.2)
    exact(model)
    assert len(model.seen) == 2 * 5
    assert {i.continuation for i in model.seen} == set("ABCDE")
    assert not any(i.include_end for i in model.seen)
    assert sum("A. Not at all" in i.context[-1].text for i in model.seen) == 5
    assert sum("A. Very much" in i.context[-1].text for i in model.seen) == 5


def test_what_is_no_number_is_unscored_and_says_so():
    (answer,) = exact(Scoring(lambda messages, option: math.nan))
    assert math.isnan(answer.score)
    assert answer.probs is None
    assert (answer.fault.kind, answer.fault.code) == ("simulator", "non_finite")


def test_exact_needs_probabilities():
    with pytest.raises(Unsupported, match="sampled"):
        exact(people())
    assert mode_of(people()) == "sampled"
    assert mode_of(TableModel({})) == "exact"


def test_items_of_one_person_share_all_but_the_statement():
    one, two = (frame(QUESTIONS, a)[-1].text for a in asks(questionnaire(n=2)))
    assert one.removesuffix("I like number 0.") == two.removesuffix("I like number 1.")
    assert "Ada" in one


def test_keying_is_linear_in_the_position():
    for n in range(2, 12):
        for i in range(n):
            one_hot = tuple(float(k == i) for k in range(n))
            assert keyed(one_hot, reverse=False) == (pytest.approx(i / (n - 1)), 0.0)
            assert keyed(one_hot, reverse=True) == (pytest.approx(1 - i / (n - 1)), 0.0)


# --- sampled answers


@pytest.mark.parametrize(
    ("text", "label"),
    [
        # letters
        ("A", 0), ("E", 4), (" C ", 2), ("B.", 1), ("B)", 1), ("(D)", 3), ("[A]", 0), ("**E**", 4), ('"C"', 2),
        ("D: A little like me", 3), ("B. A little unlike me.", 1), ("A, not at all like me", 0),
        ("A. Because I am like that.", 0), ("A.\n\nI never do.", 0), ("C, I guess", 2),
        # labels
        ("In between", 2), ("in between.", 2), ("Very much like me!", 4), ("A little like me", 3),
        ("a little UNLIKE me, to be honest", 1), ("*In between*", 2), ("Not at all like me. I wait.", 0),
        # two answers
        ("A or B", None), ("A, or B", None), ("A. B. C.", None), ("A/B", None), ("A) or maybe C)", None),
        ("In between or a little like me", None), ("A little like me. No: very much like me.", None),
        ("A. Very much like me", None), ("In between, or E.", None),
        # neither
        ("", None), ("   ", None), ("a", None), ("e.", None), ("F", None), ("AB", None), ("I'd say B", None),
        ("Answer: B", None), ("I think that this is in between", None),
        ("Well, I have been waiting since Monday", None),
        ("I am not sure", None), ("3", None), ("like me", None), ("In", None), ("As an AI, I cannot say", None),
        ("Apples", None), ("E-mail me", None), ("in betweenness", None), ("\ud800", None), ("A\x00", None),
    ],
)  # fmt: skip
def test_replies_are_read_strictly(text, label):
    assert parse_label(text, QUESTIONS) == label


def test_letters_turn_with_the_list_and_labels_do_not():
    assert parse_label("A", QUESTIONS, flipped=True) == 4
    assert parse_label("B. A little like me", QUESTIONS, flipped=True) == 3
    assert parse_label("B. A little like me", QUESTIONS) is None
    assert parse_label("In between", QUESTIONS, flipped=True) == 2


@pytest.mark.parametrize(
    "labels",
    [
        ("Disagree", "Agree"),
        ("Strongly disagree", "Disagree", "Agree", "Strongly agree"),
        ("No", "Not sure", "Yes!"),
        ("1", "2", "10"),
    ],
)
def test_labels_that_hold_one_another_are_told_apart(labels):
    q = questionnaire(labels)
    assert [parse_label(f"{label}.", q) for label in labels] == list(range(len(labels)))
    for one, two in itertools.permutations(labels, 2):
        assert parse_label(f"{one}, or {two}", q) is None


def sampled(model, *, runs=1, q=QUESTIONS, persons=(ADA,)):
    wanted = asks(q, runs, persons)
    return run_sync(ask_all(wanted, q, model=model, root="r", rules=SurveyRules(mode="sampled", runs=runs)))


def test_a_sampled_answer_is_one_label():
    (answer,) = sampled(scripted(["In between"]))
    assert (answer.probs, answer.score, answer.variance) == ((0, 0, 1, 0, 0), 0.5, None)
    assert (answer.mode, answer.text, answer.call.seed_status) == ("sampled", "In between", "honoured")


def test_a_sampled_answer_to_a_reversed_item_is_scored_from_the_other_end():
    straight, reverse = sampled(scripted(["A little like me"]), q=questionnaire(n=2))
    assert (straight.probs, straight.score) == ((0, 0, 0, 1, 0), 0.75)
    assert (reverse.probs, reverse.score) == ((0, 0, 0, 1, 0), 0.25)


def test_a_babbling_person_is_asked_once_more_and_then_unscored():
    model = scripted(["well, it depends", "In between"])
    (answer,) = sampled(model)
    assert (answer.score, model.calls) == (0.5, 2)
    assert answer.call.usage.completion == 3 + 2  # both are paid for
    assert answer.call.tries == 2
    model = scripted(["well, it depends", "ask my sister", "In between"])
    (answer,) = sampled(model)
    assert model.calls == 2
    assert math.isnan(answer.score)
    assert (answer.fault.kind, answer.fault.code, answer.probs) == ("simulator", "parse", None)
    assert "ask my sister" in answer.fault.detail


def test_only_those_who_babbled_are_asked_again():
    model = scripted(["A", "hm", "B", "hm", "C", "C"])
    answers = sampled(model, q=questionnaire(n=4))
    assert model.calls == 6
    assert [a.text for a in answers] == ["A", "C", "B", "C"]


def test_the_second_question_has_another_seed():
    seeds = []
    sampled(scripted(lambda messages, seed: seeds.append(seed) or "hm"))
    assert len(set(seeds)) == 2


class Failing(FakeModel):
    def __init__(self, code):
        super().__init__("fake:failing", lambda messages, seed: "")
        self.code = code

    async def reply(self, requests):
        self.calls += len(requests)
        return [Reply(text="", finish="error", fault=ReplyFault(self.code, "planned")) for _ in requests]


@pytest.mark.parametrize(
    ("code", "kind", "calls"),
    [("timeout", "provider", 1), ("server", "provider", 1), ("rate_limit", "provider", 1), ("empty", "simulator", 2),
     ("refused", "simulator", 1), ("too_long", "simulator", 1)],
)  # fmt: skip
def test_a_reply_that_never_came_has_a_fault_of_its_own(code, kind, calls):
    model = Failing(code)
    (answer,) = sampled(model)
    assert math.isnan(answer.score)
    assert (answer.fault.kind, answer.fault.code, model.calls) == (kind, code, calls)


def test_unscored_survives_being_written_down():
    (answer,) = sampled(scripted(["hm"]))
    again = Answer.model_validate_json(answer.model_dump_json())
    assert math.isnan(again.score)
    assert again.fault == answer.fault
    assert '"NaN"' in answer.model_dump_json()


def test_both_orders_are_used_equally_often_within_a_person():
    orders = []

    def say(messages, seed):
        orders.append("A. Not at all" in messages[-1].text)
        return "A"

    persons = [Persona(id=f"p{i}", name="Ada", text=f"t{i}") for i in range(8)]
    answers = sampled(scripted(say), runs=2, persons=persons)
    assert sum(orders) == len(orders) / 2
    for p in persons:  # "A" means the lowest label once and the highest once
        assert sorted(a.score for a in answers if a.persona_id == p.id) == [0.0, 1.0]
    firsts = orders[::2]
    assert 0 < sum(firsts) < len(firsts)  # which of the two comes first is a matter of the person


def test_runs_have_seeds_of_their_own_and_the_same_ones_again():
    seeds = []
    model = scripted(lambda messages, seed: seeds.append(seed) or "A")
    sampled(model, runs=3)
    sampled(model, runs=3)
    assert seeds[:3] == seeds[3:]
    assert len(set(seeds)) == 3


def test_no_ask_no_answer():
    assert run_sync(ask_all([], QUESTIONS, model=people(), root="r", rules=SurveyRules(mode="sampled"))) == []

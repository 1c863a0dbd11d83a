import asyncio
import re
import string

import pytest

from multitudes.core.errors import ConfigError, PersonaError
from multitudes.core.records import Dimension, Item, Questionnaire
from multitudes.models.fake import FakeModel, FaultyModel, LatencyModel, scripted
from multitudes.personas import (
    GenerationShortfall,
    GeneratorView,
    generator_names,
    get_generator,
    load_questionnaire,
    place,
    shipped_questionnaires,
)
from multitudes.personas.generators import NaiveGenerator, SobolGenerator, lint
from multitudes.personas.generators.sobol import is_predicate

VIEW = GeneratorView.of(load_questionnaire("help-line"))
GOOD_TEXT = "You keep an eye on every letter from the bank and you ring them up before lunch, come what may."


def make(generator="template", n=7, *, llm=None, seed=7, view=VIEW, **options):
    return asyncio.run(get_generator(generator, **options).generate(*view, n, llm=llm, seed=seed))


class Recorder(FakeModel):
    """Keeps every batch of requests it was given."""

    def __init__(self, say):
        super().__init__("fake:recorder", say)
        self.batches = []

    async def reply(self, requests):
        self.batches.append(list(requests))
        return await super().reply(requests)

    @property
    def prompts(self):
        return [m.text for batch in self.batches for r in batch for m in r.messages]


# --- the template writer ---


@pytest.mark.parametrize("n", [1, 7, 25, 100])
def test_exactly_n_people_with_distinct_ids_names_and_texts(n):
    people = make(n=n)
    assert len(people) == n
    for values in (
        [p.id for p in people.personas],
        [p.name for p in people.personas],
        [p.text for p in people.personas],
    ):
        assert len(set(values)) == n
    assert all(re.fullmatch(r"[0-9a-f]{16}", p.id) for p in people.personas)
    assert not any(p.fallback for p in people.personas)


def test_a_larger_population_begins_with_the_smaller_one():
    small, large = make(n=25), make(n=100)
    assert large.personas[:25] == small.personas


def test_everything_follows_from_the_seed():
    assert make(seed=1) == make(seed=1)
    one, other = make(seed=1), make(seed=2)
    assert not {p.id for p in one.personas} & {p.id for p in other.personas}
    assert not {p.text for p in one.personas} & {p.text for p in other.personas}


def test_texts_say_the_phrases_and_never_a_number():
    for name in shipped_questionnaires():
        for person in make(n=64, view=GeneratorView.of(load_questionnaire(name))).personas:
            assert lint(person.text, VIEW.dimensions) == []
            assert not any(c.isdigit() for c in person.text)
            for placed in person.placement.values():
                assert placed.phrase in person.text


def test_people_differ_in_more_than_the_dimensions():
    people = make(n=200)
    without = {re.sub("|".join(re.escape(p.phrase) for p in person.placement.values()), "", person.text)
               for person in people.personas}  # fmt: skip
    assert len(without) > 190
    assert len(people.near_duplicates) <= 0.02 * 200


def test_details_are_drawn_apart_from_placement():
    def details(view):
        return [(p.name, p.text.split(".")[0], p.text.split(".")[-2]) for p in make(n=30, view=view).personas]

    one = GeneratorView(VIEW.context, VIEW.dimensions[:1])
    assert details(VIEW) == details(one)


def test_phrases_that_are_no_predicates_get_a_frame_that_fits():
    bare = Dimension(id="a", name="A", low="x", high="y", ladder=("short of time", "so so", "at ease"))
    for person in make(n=8, view=GeneratorView("A waiting room.", (bare,))).personas:
        assert "who " + person.placement["a"].phrase not in person.text
        assert ": " + person.placement["a"].phrase in person.text


@pytest.mark.parametrize("name", shipped_questionnaires())
def test_every_shipped_phrase_completes_someone_who(name):
    assert all(is_predicate(phrase) for d in load_questionnaire(name).dimensions for phrase in d.ladder or ())


@pytest.mark.parametrize(
    ("n", "dimensions"),
    [(0, VIEW.dimensions), (3, ()), (3, VIEW.dimensions * 2), (3, tuple(VIEW.dimensions[:1]) * 9)],
)
def test_orders_that_cannot_be_filled(n, dimensions):
    with pytest.raises(PersonaError):
        make(n=n, view=GeneratorView("A context.", dimensions))


# --- the model as writer ---


def test_model_texts_are_kept_and_placed_as_without_a_model():
    model = scripted(
        lambda messages, seed: f"{GOOD_TEXT} {seed}".translate(str.maketrans("0123456789", "abcdefghij"))
    )
    people = make("sobol", 10, llm=model)
    template = make("template", 10)
    assert [p.placement for p in people.personas] == [p.placement for p in template.personas]
    assert all(p.text.startswith(GOOD_TEXT) for p in people.personas)
    assert all(p.provenance["writer"] == "fake:scripted" and p.provenance["tries"] == "1" for p in people.personas)


def test_prompts_hold_phrases_and_no_position_and_go_out_as_one_batch():
    model = Recorder(lambda messages, seed: GOOD_TEXT)
    people = make("sobol", 40, llm=model)
    assert [len(b) for b in model.batches] == [40]
    for request, person in zip(model.batches[0], people.personas, strict=True):
        prompt = request.messages[0].text
        assert all(p.phrase in prompt for p in person.placement.values())
        assert person.name in prompt
        assert not re.findall(r"\d+", prompt.replace("180", ""))  # the word limit is the only number
    assert len({r.seed for r in model.batches[0]}) == 40


def test_a_bad_text_is_asked_for_once_more_with_the_reason():
    def say(messages, seed):
        return (
            GOOD_TEXT if len(messages) > 1 else "You score 3 out of 5 on patience, and that is nearly all there is."
        )

    model = Recorder(say)
    people = make("sobol", 4, llm=model)
    assert [len(b) for b in model.batches] == [4, 4]
    assert "numeric_leak" in model.batches[1][0].messages[-1].text
    assert model.batches[0][0].seed != model.batches[1][0].seed
    assert {p.provenance["tries"] for p in people.personas} == {"2"}
    assert not any(p.fallback for p in people.personas)


def test_shortfall_carries_the_people_who_were_written():
    model = scripted(lambda messages, seed: GOOD_TEXT if _name(messages) < "M" else "As an AI I cannot be a person.")
    with pytest.raises(GenerationShortfall) as error:
        make("sobol", 12, llm=model)
    full = make("template", 12)
    partial = error.value.partial
    assert 0 < len(partial) < 12
    assert set(error.value.reasons) == {i for i, p in enumerate(full.personas) if p.name >= "M"}
    assert all("assistant_voice" in r for r in error.value.reasons.values())
    assert "could not be written" in str(error.value)
    assert "'sobol-or-template'" in str(error.value)


def _name(messages):
    return re.search(r"\n\n(.+) is someone", messages[0].text)[1]


def test_fallback_is_written_at_the_same_placement_and_marked():
    model = scripted(lambda messages, seed: GOOD_TEXT if _name(messages) < "M" else "")
    people = make("sobol-or-template", 12, llm=model)
    assert people.generator == "sobol-or-template"
    template = make("template", 12)
    assert len(people) == 12
    for person, twin in zip(people.personas, template.personas, strict=True):
        assert person.fallback == (person.name >= "M")
        assert person.placement == twin.placement
        if person.fallback:
            assert person.text == twin.text
            assert "length" in person.provenance["rejected"]


def test_faults_and_cut_off_replies_count_as_no_text():
    with pytest.raises(GenerationShortfall, match="timeout"):
        make("sobol", 2, llm=FaultyModel(["timeout"]))
    with pytest.raises(GenerationShortfall, match="cut off"):
        make("sobol", 1, llm=scripted(["word " * 500]))


def test_concurrency_does_not_change_people():
    class Slow(LatencyModel):
        def __init__(self, high_s):
            super().__init__(low_s=0, high_s=high_s)
            self._say = lambda messages, seed: GOOD_TEXT + _letters(seed)

    class OneByOne(FakeModel):
        async def reply(self, requests):
            return [(await super(OneByOne, self).reply([r]))[0] for r in requests]

    texts = {
        tuple(p.text for p in make("sobol", 32, llm=model).personas)
        for model in (Slow(0.02), OneByOne("one", lambda messages, seed: GOOD_TEXT + _letters(seed)))
    }
    assert len(texts) == 1


def _letters(seed):
    return " " + "".join(string.ascii_lowercase[int(c)] for c in str(seed))


def test_writers_without_a_model_and_unknown_writers_are_refused():
    for name in ("sobol", "sobol-or-template", "iid", "naive"):
        with pytest.raises(ConfigError, match="needs a model"):
            make(name, 2)
    with pytest.raises(ConfigError, match="unknown writer"):
        get_generator("sobol", writer="modle")


# --- the leak barrier ---


def test_no_item_ever_reaches_a_prompt_or_a_person():
    q = load_questionnaire("help-line")
    canary = "The canary sings at midnight in the vault."
    armed = Questionnaire(
        **{**dict(q), "items": tuple(Item(id=i.id, dimension=i.dimension, text=canary) for i in q.items)}
    )
    assert GeneratorView._fields == ("context", "dimensions")
    view = GeneratorView.of(armed)
    assert "canary" not in repr(view)
    for name in generator_names():
        model = Recorder(lambda messages, seed: _answer(messages))
        people = make(name, 12, llm=model, view=view)
        assert "canary" not in repr(people)
        assert not any("canary" in p or label in p for p in model.prompts for label in q.labels)


def _answer(messages):
    count = re.search(r"about (\d+) people", messages[0].text)
    if not count:
        return GOOD_TEXT
    return "\n".join(f"{i}. {GOOD_TEXT} Neighbour {string.ascii_uppercase[i]}." for i in range(1, int(count[1]) + 1))


# --- baselines ---


def test_iid_asks_once_a_person_and_says_nothing_of_dimensions():
    model = Recorder(lambda messages, seed: GOOD_TEXT + _letters(seed))
    people = make("iid", 9, llm=model)
    assert (len(people), [len(b) for b in model.batches]) == (9, [9])
    assert people.dimensions == ()
    assert not any(p.placement for p in people.personas)
    assert not any(d.name in p or d.low in p for p in model.prompts for d in VIEW.dimensions)


@pytest.mark.parametrize(("n", "batches"), [(1, [1]), (10, [10]), (23, [10, 10, 3])])
def test_naive_asks_in_batches_of_ten(n, batches):
    model = Recorder(lambda messages, seed: _answer(messages))
    people = asyncio.run(NaiveGenerator().generate(*VIEW, n, llm=model, seed=1))
    assert len(people) == n
    assert [int(re.search(r"about (\d+) people", p)[1]) for p in model.prompts] == batches
    assert not re.match(r"\d", people.personas[0].text)


def test_naive_with_too_few_paragraphs_falls_short():
    with pytest.raises(GenerationShortfall, match="numbered paragraphs") as error:
        make("naive", 3, llm=scripted([f"1. {GOOD_TEXT}"]))
    assert len(error.value.partial) == 0


# --- the registry ---


def test_registry_names_near_ones_and_options():
    assert set(generator_names()) >= {"sobol", "sobol-or-template", "template", "iid", "naive"}
    with pytest.raises(ConfigError, match="did you mean 'sobol'"):
        get_generator("soboll")
    with pytest.raises(ConfigError, match="cannot be made"):
        get_generator("sobol", wrter="template")


def test_registry_imports_module_and_object():
    made = get_generator("multitudes.personas.generators.sobol:SobolGenerator", writer="template")
    assert isinstance(made, SobolGenerator)
    for bad in ("no.such.module:X", "multitudes.personas.generators.sobol:Nothing", "math:pi", ":"):
        with pytest.raises(ConfigError):
            get_generator(bad)


# --- the lint ---


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("You are patient, 0.82 to be exact, and you tell everybody so.", "numeric_leak"),
        ("Your patience is at 73 and you tell everybody about it.", "numeric_leak"),
        ("You would give yourself seven out of ten for patience, maybe more.", "numeric_leak"),
        ("You trust the bank about eighty 80% of the time, you say.", "numeric_leak"),
        ("You rate patience at level four and trust a little lower.", "numeric_leak"),
        ("Your patience is very high and your trust is nothing special.", "label_leak"),
        ("You have a high level of patience, and you wait without a word.", "label_leak"),
        ("You filled in this questionnaire before you called the bank today.", "instrument_talk"),
        ("You wonder: how can I help you today with your account, dear?", "assistant_voice"),
        ("Certainly! You are a baker who calls the bank on Mondays.", "assistant_voice"),
        ("You wait.", "length"),
        ("You wait. " * 100, "length"),
    ],
)
def test_lint_finds(text, code):
    assert code in [hit.split(":")[0] for hit in lint(text, VIEW.dimensions)]


@pytest.mark.parametrize(
    "text",
    [
        "You are 34 years old, have 2 children and moved here in 1998 for the sea.",
        "You call at 9:30 or at 5 pm, and you paid €120 in fees last year.",
        "You waited 40 minutes twice and told them what you think of that.",
        "You have had two accounts, three cards and one long quarrel with the bank.",
        "You will take no advice and you are patient with nobody but your dog.",
    ],
)
def test_lint_allows_ordinary_numbers(text):
    assert lint(text, VIEW.dimensions) == []


def test_targets_of_the_population_are_the_placed_points():
    people = make(n=8)
    targets = [[p.placement[d.id].target for d in VIEW.dimensions] for p in people.personas]
    assert all(0 <= t < 1 for row in targets for t in row)
    assert len({tuple(row) for row in targets}) == 8
    assert place(8, 3, seed=0).shape == (8, 3)

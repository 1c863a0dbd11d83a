"""Remedies at equal cost, and whether people stay where they were put."""

import json

import pytest
from typer.testing import CliRunner

from multitudes.cli.main import app
from multitudes.core.errors import DataFormatError, ModelError
from multitudes.core.loop import run_sync
from multitudes.measure.errors import UnequalBudgetError
from multitudes.models.base import Reply, ReplyFault
from multitudes.models.fake import FakeModel
from multitudes.personas.generators import get_generator
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.personas.render import render
from multitudes.study.adherence import PEOPLE, QUESTIONNAIRE, placed_answers
from multitudes.study.domains import compare_models


def talker(name, words):
    """Replies of ``words`` words out of many, give or take two."""

    def say(messages, seed):
        return " ".join(f"word{(seed // 7**j) % 300}" for j in range(words + seed % 5 - 2))

    return FakeModel(name, say)


def open_all(*models):
    return {m.info.name: lambda m=m: m for m in models}


def test_cheaper_models_are_asked_for_more_until_the_tokens_are_equal(tmp_path):
    dear, cheap = talker("dear", 90), talker("cheap", 10)
    ask = {"domains": ["creative", "persona"], "n_prompts": 10, "k": 3}
    plain = compare_models(open_all(dear, cheap), tmp_path, **ask)
    assert plain.budget["creative"]["beyond"] == 0
    calls = dear.calls, cheap.calls
    found = compare_models(open_all(dear, cheap), tmp_path, equal_cost=True, **ask)
    assert dear.calls == calls[0], "the dearest is not asked again"
    for domain, budget in found.budget.items():
        cost = budget["cost"]
        assert cost["cheap"] == pytest.approx(cost["dear"], rel=0.02)
        rows = [json.loads(x) for x in (tmp_path / "dear.jsonl").read_text().splitlines()]
        assert cost["dear"] == sum(r["tokens"] + r["prompt_tokens"] for r in rows if r["domain"] == domain)
        assert budget["texts_per_prompt"] == 3
        assert budget["beyond"] > 30
    outcomes = {(o.domain, o.arm): o for o in found.outcomes}
    assert outcomes["creative", "cheap"].cost_ratio == pytest.approx(1, abs=0.02)
    assert outcomes["creative", "cheap"].cost < outcomes["creative", "dear"].cost / 2
    asked = cheap.calls
    assert compare_models(open_all(dear, cheap), tmp_path, equal_cost=True, **ask) == found
    assert cheap.calls == asked, "what is there is not asked again"
    assert compare_models(open_all(dear, cheap), tmp_path, **ask) == plain, "and not used where it was not asked for"


def test_no_prompt_gets_two_texts_more_than_another(tmp_path):
    dear, cheap = talker("dear", 60), talker("cheap", 10)
    compare_models(open_all(dear, cheap), tmp_path, domains=["creative"], n_prompts=10, k=3, equal_cost=True)
    rows = [json.loads(x) for x in (tmp_path / "cheap.jsonl").read_text().splitlines()]
    counts = {}
    for r in rows:
        counts[r["prompt"]] = counts.get(r["prompt"], 0) + 1
    assert max(counts.values()) - min(counts.values()) <= 1


def test_steps_that_are_too_coarse_are_refused_with_what_to_do(tmp_path):
    models = open_all(talker("dear", 42), talker("cheap", 38))
    with pytest.raises(UnequalBudgetError, match="more prompts or texts"):
        compare_models(models, tmp_path, domains=["creative"], n_prompts=2, k=2, equal_cost=True)


def test_who_does_not_count_tokens_has_no_cost(tmp_path):
    class Silent(FakeModel):
        async def reply(self, requests):
            return [Reply(r.text, seed=r.seed) for r in await super().reply(requests)]

    models = open_all(talker("counts", 20), Silent("silent", talker("x", 20)._say))
    found = compare_models(models, tmp_path, domains=["creative"], n_prompts=4, k=2)
    assert {o.arm: o.cost is None for o in found.outcomes} == {"counts": False, "silent": True}
    with pytest.raises(UnequalBudgetError, match="nobody counted"):
        compare_models(models, tmp_path, domains=["creative"], n_prompts=4, k=2, equal_cost=True)


# --- adherence ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def placed_people():
    asked = load_questionnaire(QUESTIONNAIRE)
    people = run_sync(
        get_generator("template").generate(asked.context, list(asked.dimensions), PEOPLE, llm=None, seed=0)
    )
    by_prompt = {render(p, context=people.context): p for p in people.personas}
    return asked, by_prompt


def respondent(name, placed_people, obeys):
    """Answers as the person was placed, or anything."""
    asked, by_prompt = placed_people

    def say(messages, seed):
        if "Statement: " not in messages[-1].text:
            return talker("x", 12)._say(messages, seed)
        item = next(i for i in asked.items if messages[-1].text.endswith(f"Statement: {i.text}"))
        target = by_prompt[messages[0].text].placement[item.dimension].target
        level = round((1 - target if item.reverse else target) * 4) if obeys else seed % 5
        return asked.labels[level]

    return FakeModel(name, say)


def test_people_stay_where_they_were_put_or_not(tmp_path, placed_people):
    good, bad = respondent("good", placed_people, True), respondent("bad", placed_people, False)
    ask = {"domains": ["creative"], "n_prompts": 4, "k": 2, "adherence": True}
    found = compare_models(open_all(good, bad), tmp_path, **ask)
    first, second = found.outcomes
    assert first.adherence > 0.95
    assert abs(second.adherence) < 0.45
    assert second.adherence_change == pytest.approx(second.adherence - first.adherence)
    assert second.adherence_low < second.adherence_change < second.adherence_high < 0
    calls = good.calls
    assert compare_models(open_all(good, bad), tmp_path, **ask) == found
    assert good.calls == calls
    without = compare_models(open_all(good, bad), tmp_path, **(ask | {"adherence": False}))
    assert {o.adherence for o in without.outcomes} == {None}


def test_stored_answers_are_those_of_this_model_or_refused(tmp_path, placed_people):
    model = respondent("good", placed_people, True)
    path = tmp_path / "x.json"
    found, note = placed_answers("good", lambda: model, path, seed=0)
    assert (found.targets.shape, found.z.shape, note) == ((16, 5), (16, 5), "")
    with pytest.raises(DataFormatError, match="another way"):
        placed_answers("other", lambda: model, path, seed=0)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataFormatError, match="not answers of ours"):
        placed_answers("good", lambda: model, path, seed=0)


def test_answers_that_cannot_be_read_are_counted_and_those_of_a_broken_server_not_stored(tmp_path):
    class Broken(FakeModel):
        async def reply(self, requests):
            return [Reply("", "error", fault=ReplyFault("timeout", "planned")) for _ in requests]

    path = tmp_path / "x.json"
    with pytest.raises(ModelError, match="320 of 320"):
        placed_answers("off", lambda: Broken("off", lambda m, s: ""), path, seed=0)
    assert not path.exists()
    _, note = placed_answers("odd", lambda: FakeModel("odd", lambda m, s: "hm"), path, seed=0)
    assert "320 of 320 answers could not be read" in note


def test_the_command_line_compares_remedies_at_equal_cost(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    done = CliRunner().invoke(
        app,
        ["models", "compare", "fake:people", "temperature:1.3:fake:people", "--out", str(tmp_path), "--domains",
         "persona", "--prompts", "6", "--k", "4", "--equal-cost", "--adherence", "--report",
         str(tmp_path / "page.html")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tokens/text" in done.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What each arm gains, costs and loses" in page
    assert "validity is unknown, so nothing counts" in page

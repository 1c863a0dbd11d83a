import asyncio
import json
import math
from dataclasses import replace

import pytest

from multitudes.core.loop import run_sync
from multitudes.core.records import Reading, Score
from multitudes.models.base import Reply, ReplyFault, Sampling
from multitudes.models.fake import FakeModel, echo, people
from multitudes.simulate.targets import ModelTarget
from multitudes.study.data import open_run
from multitudes.study.run import Voices, run_study
from multitudes.study.summary import Summary, is_small, summarise


def fits(value, schema, root=None):
    """Whether ``value`` fits a JSON schema, as far as the words go that this one uses."""
    root = root or schema
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return any(fits(value, s, root) for s in schema["anyOf"])
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind == "object":
        known = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        return isinstance(value, dict) and set(schema.get("required", ())) <= set(value) and all(
            fits(v, known[k], root) if k in known else (more is not False and (more is True or fits(v, more, root)))
            for k, v in value.items()
        )  # fmt: skip
    if kind == "array":
        return isinstance(value, list) and all(fits(v, schema["items"], root) for v in value)
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    return isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool))


def strict(data):
    """The summary as strict JSON that fits its own schema; returned as an object."""
    summary = summarise(data)
    text = json.dumps(summary.model_dump(mode="json"), allow_nan=False)
    value = json.loads(text)
    assert fits(value, Summary.model_json_schema())
    assert Summary.model_validate_json(text) == summary
    return value


class Failing(FakeModel):
    def __init__(self, code, every):
        super().__init__("fake:people", people()._say)
        self.code, self.every, self.number = code, every, 0

    async def reply(self, requests):
        self.number += 1
        if len(requests) == 1 and self.number % self.every == 0:
            return [Reply("", "error", fault=ReplyFault(self.code, "planned"))]
        return await super().reply(requests)


def labels(messages, seed):
    if "Statement" not in messages[-1].text:
        return people()._say(messages, seed)
    return ("Not at all like me", "In between", "Very much like me")[seed % 3]


def voices(simulator):
    return Voices(simulator, ModelTarget(echo(), Sampling()), simulator, None)


ALL = {"gauges": ["leak", "listener", "coverage", "variance", "diversity"]}


def test_a_complete_run(tmp_path, small, run):
    spec = small(population={"n": 8}, survey={"runs": 2}, measure=ALL)
    value = strict(run(spec, tmp_path, voices=voices(FakeModel("fake:people", labels))))
    first, *others = value["headline"]
    planned = value["study"]["answers_planned"]
    assert first == (
        f"8 simulated people; 16 of 16 planned conversations held; {planned} of {planned} survey answers "
        "given (576 of them by placebos); no faults."
    )
    assert [line.split(" ")[0:3] for line in others] == [
        ["The", "people", "sounded"], ["Their", "answers", "cover"], ["Who", "was", "asked"],
    ]  # fmt: skip
    assert all("interval" in line for line in others), others
    assert value["faults"] == {}
    assert value["study"] | {"hash": "", "folder": ""} == {
        "name": "small", "seed": 7, "hash": "", "folder": "", "people": 8, "scenarios": 1, "conversations": 16,
        "conversations_planned": 16, "answers": planned, "answers_planned": planned,
    }  # fmt: skip
    assert value["usage"]["calls"] == 16 * 4 + planned
    assert value["model"]["simulator"]["name"] == "fake:people"
    unread = next(s for s in value["scores"] if s["gauge"] == "listener")
    assert (unread["name"], unread["value"]) == ("not_read", None)
    assert "log-probabilities" in unread["note"]


def test_a_faulted_run_says_so_first(tmp_path, small, run):
    spec = small(conversation={"in_flight": 1, "replicates": 4}, survey=None)
    data = run(spec, tmp_path, voices=voices(Failing("server", 5)))
    n = sum(c.fault is not None for c in data.conversations)
    assert 0 < n < 16
    value = strict(data)
    assert value["headline"][0] == (
        f"4 simulated people; {16 - n} of 16 planned conversations held; faults: {n} provider."
    )
    assert value["faults"] == {"provider": n}
    leak = next(s for s in value["scores"] if (s["gauge"], s["name"]) == ("leak", "rate"))
    assert leak["unscored"] == n


def test_a_survey_alone(tmp_path, small, run):
    spec = small(scenarios=[], measure=ALL)
    value = strict(run(spec, tmp_path, voices=voices(FakeModel("fake:people", labels))))
    assert "conversation" not in value["headline"][0]
    assert "survey answers given (144 of them by placebos); no faults." in value["headline"][0]
    assert not any("sounded" in line for line in value["headline"])
    assert next(s for s in value["scores"] if s["gauge"] == "leak")["value"] is None


def test_conversations_alone(tmp_path, small, run):
    value = strict(run(small(survey=None, measure=ALL), tmp_path))
    assert value["headline"][0] == "4 simulated people; 8 of 8 planned conversations held; no faults."
    assert not any("cover" in line for line in value["headline"])


def test_an_unfinished_run(tmp_path, small):
    class Stuck(FakeModel):
        async def reply(self, requests):
            if self.calls >= 6:
                await asyncio.Event().wait()
            return await super().reply(requests)

    async def cut():
        spec = small(conversation={"in_flight": 1})
        task = asyncio.create_task(run_study(spec, tmp_path, voices=voices(Stuck("fake:people", people()._say))))
        while len(asyncio.all_tasks()) and not task.done():
            await asyncio.sleep(0.05)
            if (tmp_path / "run.sqlite").exists() and len(open_run(tmp_path).conversations) == 3:
                task.cancel()
                break
        with pytest.raises(asyncio.CancelledError):
            await task

    run_sync(asyncio.wait_for(cut(), 20))
    value = strict(open_run(tmp_path))
    assert "3 of 8 planned conversations held" in value["headline"][0]
    assert value["headline"][0].endswith("The run is not finished: run it again to go on.")
    assert value["scores"] == []


def test_nothing_scored_is_told_as_such_and_not_as_zero(tmp_path, small, run):
    value = strict(run(small(measure=ALL), tmp_path))  # these people never name a label
    n = value["study"]["answers_planned"]
    assert f"0 of {n} survey answers given (144 of them by placebos); faults: {n} simulator." in value["headline"][0]
    assert not any("cover" in line or "Who was asked" in line for line in value["headline"])


def test_numbers_that_json_does_not_have(tmp_path, small, run):
    odd = Score(gauge="leak", name="odd", value=math.nan, low=math.nan, high=math.inf, null=math.nan)
    none = Score(gauge="leak", name="none", value=None)
    endless = Score(gauge="leak", name="endless", value=math.inf, low=-math.inf, high=2.0, null=math.inf)
    data = replace(run(small(), tmp_path), readings=(Reading(gauge="leak", scores=(odd, none, endless)),))
    first, second, third = strict(data)["scores"]
    assert (first["value"], first["low"], first["high"], first["null"]) == ("NaN", None, "Infinity", None)
    assert second["value"] is None
    assert (third["value"], third["low"], third["high"], third["null"]) == ("Infinity", "-Infinity", 2.0, None)


def test_people_whom_a_template_wrote_are_counted_first(tmp_path, small, run):
    data = run(small(), tmp_path)
    first, *others = data.population.personas
    written = data.population.model_copy(update={"personas": (first.model_copy(update={"fallback": True}), *others)})
    assert strict(replace(data, population=written))["headline"][0].startswith(
        "4 simulated people (1 written by template); 8 of 8"
    )


def test_what_a_guesser_can_know_at_most_is_not_rounded_up(tmp_path, small, run):
    accuracy = Score(gauge="listener", name="accuracy_dialogue", value=0.5, null=1 / 3)
    bits = Score(gauge="listener", name="bits_dialogue", value=0.8)
    data = replace(run(small(), tmp_path), readings=(Reading(gauge="listener", scores=(accuracy, bits)),))
    assert "0.80 of 1.58 bits" in strict(data)["headline"][1]


def test_people_played_by_a_weak_model_are_marked(tmp_path, small, run):
    data = run(small(), tmp_path)
    assert not is_small(data)
    weak = {**data.info, "models": {"simulator": {"name": "x", "small_model": True}}}
    assert is_small(replace(data, info=weak))


def test_the_check_of_the_schema_can_fail():
    schema = Summary.model_json_schema()
    assert not fits({}, schema)
    assert not fits({"version": 2}, schema)

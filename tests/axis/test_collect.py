"""Collecting: equal sums whatever is interrupted, nothing of a response kept, filters that fail closed."""

import asyncio
import json
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from multitudes.api import fit_axis
from multitudes.axis import build, placing
from multitudes.axis import collect as collecting
from multitudes.axis.adherence import by_judge, by_likelihood, threshold
from multitudes.axis.answers import Answer, Step, read_answers
from multitudes.axis.artifact import load_axis, save_axis
from multitudes.axis.build import warnings_of
from multitudes.axis.check import check_capture, layers_named
from multitudes.axis.collect import collect
from multitudes.axis.collected import default_mean, role_means, same_sums
from multitudes.axis.conditions import conditions_of, messages_of
from multitudes.axis.errors import AxisMismatch, CaptureMismatch, CollectionMismatch
from multitudes.axis.placing import thresholds
from multitudes.axis.presets import cost_of, preset, questions_of
from multitudes.core.errors import ConfigError, Unsupported
from multitudes.models.base import Message, ScoreItem
from multitudes.models.fake import FakeModel
from multitudes.models.load import load
from multitudes.models.local.tiny import tiny_model

SIZE = replace(preset("small"), max_tokens=12, min_count=1)


@pytest.fixture(scope="module")
def done(little, tmp_path_factory):
    folder = tmp_path_factory.mktemp("collect")
    return folder, asyncio.run(collect(tiny_model(), little, SIZE, folder))


def test_sums_are_those_of_the_answers_read_one_by_one(done, little):
    """Streamed, batched and left-padded, against each kept answer read alone afterwards."""
    _, found = done
    model = tiny_model()
    conditions = {c.id: c for c in conditions_of(model, little, SIZE)}
    questions = {q.id: q for q in questions_of(SIZE, little)}
    stored = {}
    for a in found.answers:
        if a.n_tokens < 3:
            continue
        item = ScoreItem(messages_of(conditions[a.condition], questions[a.question]), "x", token_ids=a.token_ids[:-1])
        [acts] = asyncio.run(model.read([item], range(2)))
        assert acts.shape[1] == a.n_tokens
        stored.setdefault(a.condition, []).append((a, acts.mean(axis=1)))
    default = [x for k, rows in stored.items() if k.startswith("default") for _, x in rows]
    assert default_mean(found.generated) == pytest.approx(np.mean(default, axis=0), rel=1e-5, abs=1e-6)
    for i, role in enumerate(little.roles):
        kept = [x for a, x in stored.get(f"role:{role.id}:0", []) if a.score == 3]
        assert found.generated.n[:, i].sum() == len(kept)
        if kept:
            assert role_means(found.generated)[i] == pytest.approx(np.mean(kept, axis=0), rel=1e-5, abs=1e-6)
    everybody = [x for k, rows in stored.items() if k.startswith("role") for _, x in rows]
    assert found.generated.controls["unfiltered"].n == len(everybody)


def test_a_killed_collection_goes_on_and_ends_with_the_same_sums(done, little, tmp_path):
    _, whole = done

    class Killed(BaseException):
        pass

    def stop(step: Step):
        if step.name == "roles" and step.done == 2:
            raise Killed

    with pytest.raises(Killed):
        asyncio.run(collect(tiny_model(), little, SIZE, tmp_path, watch=stop))
    (tmp_path / "answers-0002.jsonl").write_text("half a li")  # what a kill between two writes may leave
    again = asyncio.run(collect(tiny_model(), little, SIZE, tmp_path))
    assert same_sums(again.generated, whole.generated, rtol=1e-6)
    assert same_sums(again.fixed, whole.fixed, rtol=1e-6)
    assert [a.text for a in again.answers] == [a.text for a in whole.answers]
    assert again.theta == whole.theta
    with pytest.raises(CollectionMismatch, match="something else"):
        asyncio.run(collect(tiny_model(), little, SIZE, tmp_path, seed=1))


def test_tokens_of_few_answers_are_held_at_a_time(done, little, tmp_path, monkeypatch):
    _, whole = done
    monkeypatch.setattr(collecting, "NORMS_AT_ONCE", 5)
    model, asked = tiny_model(), []
    inner = model.read
    monkeypatch.setattr(model, "read", lambda items, layers: (asked.append(len(items)), inner(items, layers))[1])
    found = asyncio.run(collecting.collect_fixed(model, little, SIZE, tmp_path))
    assert asked == [5, 5, 5, 3]
    assert found.norm_tokens == whole.fixed.norm_tokens
    assert found.norm_sums == pytest.approx(whole.fixed.norm_sums, rel=1e-9)


def test_no_file_grows_with_answers_times_width(done):
    safetensors = pytest.importorskip("safetensors.numpy")
    folder, found = done
    n, d = len(found.answers), 48
    for file in folder.glob("*.safetensors"):
        for name, array in safetensors.load_file(file).items():
            assert not (array.ndim >= 2 and array.shape[-1] == d and n in array.shape), name
    rows = [json.loads(line) for f in folder.glob("answers-*.jsonl") for line in f.read_text().splitlines()]
    assert all(not isinstance(v, list) or k == "token_ids" for row in rows for k, v in row.items())
    assert len(list(folder.glob("sums-*.safetensors"))) == 1
    assert [a.condition for a in read_answers(folder)] == [a.condition for a in found.answers]


def test_fixed_text_is_the_same_whoever_answers(done, little):
    _, found = done
    assert found.fixed.method == "fixed_text"
    assert int(found.fixed.default_n.sum()) == 6 * 3
    assert set(found.fixed.controls) == {"neutral", "placebo"}
    model = tiny_model()
    text = little.arms.continuation
    cells = [c for c in conditions_of(model, little, SIZE) if c.id == "role:r3:0"]
    questions = questions_of(replace(SIZE, questions=6), little)
    means = [
        asyncio.run(model.read([ScoreItem(messages_of(c, q), text, include_end=False)], range(2)))[0].mean(axis=1)
        for c in cells
        for q in questions
    ]
    assert role_means(found.fixed)[3] == pytest.approx(np.mean(means, axis=0), rel=1e-5, abs=1e-6)


def test_ratio_is_that_of_direct_scores(done, little):
    _, found = done
    model = tiny_model()
    conditions = {c.id: c for c in conditions_of(model, little, SIZE)}
    questions = {q.id: q for q in questions_of(SIZE, little)}
    answer = next(a for a in found.answers if a.condition == "role:r5:0" and a.n_tokens >= 3)
    context = messages_of(conditions[answer.condition], questions[answer.question])
    plain = (Message("system", ""), context[1])
    a, b = asyncio.run(model.score([ScoreItem(m, "x", token_ids=answer.token_ids) for m in (context, plain)]))
    assert answer.llr == pytest.approx((a.total - b.total) / len(answer.token_ids), abs=1e-9)


def test_filters():
    assert threshold([-1.0, -0.5]) == 0
    assert threshold([0.1] * 20) == pytest.approx(0.1)
    assert math.isnan(by_likelihood("x", float("nan"), 0).llr)
    assert by_likelihood("x", float("nan"), 0).score == -1
    assert by_likelihood("The tide is in.", 0.2, 0.0).score == 3
    assert by_likelihood("As an AI language model I have no boat.", 0.2, 0.0).score == 2
    assert by_likelihood("I am SmolLM and I like boats.", 0.2, 0.0, names=("SmolLM",)).score == 2
    assert by_likelihood("I'm sorry, but I can't assist with that request.", -0.2, 0.0).score == 0
    assert by_likelihood("The tide is in.", -0.2, 0.0).score == 1
    said = iter(["3", "score 2", "3 of 3", "seven", "9", "1", "2 2", "0"])
    judge = FakeModel("judge", lambda _messages, _seed: next(said))
    assert asyncio.run(by_judge(judge, ["?"] * 5)).scores == [3, 2, 1, -1, 0]  # one retry, then unscored


def test_thresholds_weigh_conditions_and_not_answers():
    """Ten answers of one role and one of another weigh the same."""
    answers = [Answer("role:a:0", "q", 0, "", (1,), 5, 0.1, 3)] * 10 + [
        Answer("role:b:0", "q", 0, "", (1,), 5, 0.1, 3)
    ]
    answers += [Answer("placebo:0", "q", 0, "", (1,), 5, 0.1, 3)]
    p = np.array([[0.0]] * 10 + [[1.0]] + [[99.0]])
    found = thresholds(answers, p)
    assert found["0.5"] == [0.0]
    assert found["0.75"] == [1.0]


def test_capture_equals_a_second_reading_and_a_wrong_one_is_refused(little):
    model = tiny_model()
    found = asyncio.run(check_capture(model, little, SIZE, responses=24))
    assert found.n >= 20
    assert found.error < 1e-6
    honest = model.read

    async def shifted(items, layers, *, mean=False):
        return await honest([replace(i, token_ids=(*i.token_ids, 5)) for i in items], layers, mean=mean)

    model.read = shifted
    with pytest.raises(CaptureMismatch, match="relative error"):
        asyncio.run(check_capture(model, little, SIZE, responses=24))


def test_artifact_comes_back_and_damage_is_refused(tiny, tiny_axis, tmp_path):
    save_axis(tiny_axis, tmp_path / "a")
    back = load_axis(tmp_path / "a")
    assert np.array_equal(back.axis, tiny_axis.axis)
    assert back.tau.keys() == tiny_axis.tau.keys()
    assert back.roles == tiny_axis.roles
    assert back.z(back.mu_default) == pytest.approx(1)
    assert back.z(back.mu_roles) == pytest.approx(0)
    back.fits(tiny)
    assert isinstance(warnings_of(back), list)
    data = (tmp_path / "a" / "axis.safetensors").read_bytes()
    (tmp_path / "a" / "axis.safetensors").write_bytes(data[:-100])
    with pytest.raises(AxisMismatch, match="cut off"):
        load_axis(tmp_path / "a")
    (tmp_path / "a" / "axis.json").write_text("{")
    with pytest.raises(AxisMismatch, match="not an axis"):
        load_axis(tmp_path / "a")
    with pytest.raises(AxisMismatch, match="another shape"):
        replace(tiny_axis, axis=tiny_axis.axis[:1]).fits(tiny)
    other = replace(tiny_axis, about={**tiny_axis.about, "weights_sha256": "x"})
    with pytest.raises(AxisMismatch, match="other weights"):
        other.fits(_WithWeights(tiny))


class _WithWeights:
    def __init__(self, model):
        self.info = replace(model.info, weights_sha256="y")
        self.n_layers, self.d_model = model.n_layers, model.d_model


def test_bad_input(little, tmp_path):
    with pytest.raises(Unsupported, match="taps"):
        fit_axis(load("fake:echo"), out=tmp_path)
    with pytest.raises(ConfigError, match="unknown preset"):
        preset("tiny")
    with pytest.raises(ConfigError, match="layers"):
        layers_named("x", 30)
    cost = cost_of(preset("full"), little, n_layers=80, width=8192, default_arms=5)
    assert cost.answers > 0
    assert "answers" in str(cost)


def test_a_second_judge_without_a_first_is_refused_before_anything_is_written(tmp_path):
    for judges, words in (({"second_judge": "fake:echo"}, "without a first"),
                          ({"judge": "fake:echo", "second_judge": "fake:echo"}, "is the first")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            fit_axis(tiny_model(), out=tmp_path / "axis", dry_run=True, **judges)
    with pytest.raises(ConfigError, match="unknown encoder"):
        fit_axis(tiny_model(), out=tmp_path / "axis", topic_filter="minilmm", dry_run=True)
    told = []
    two = {"judge": load("fake:echo"), "second_judge": load("fake:scripted")}
    assert fit_axis(tiny_model(), out=tmp_path / "axis", dry_run=True, told=told.append, **two) is None
    assert told[-1] == "judged: 176 answers, 176 of them twice"
    assert not (tmp_path / "axis").exists()


def test_projecting_while_writing_gives_the_axis_that_reading_again_gives(little, tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "check_sign", lambda *_a, **_k: None)
    model = tiny_model()
    once = asyncio.run(build.find_axis(model, little, SIZE, tmp_path / "a"))
    done = asyncio.run(collect(model, little, SIZE, tmp_path / "b"))
    assert done.projections is None
    twice = asyncio.run(build.build_axis(model, little, SIZE, done))
    assert np.array_equal(once.axis, twice.axis)
    for name in once.tau:
        assert once.tau[name] == pytest.approx(twice.tau[name], rel=1e-4, abs=1e-5)
    assert once.curves["separation"] == pytest.approx(twice.curves["separation"], abs=1e-6)
    assert once.about["controls"]["covariance"] == pytest.approx(twice.about["controls"]["covariance"], abs=1e-6)


def test_warnings_say_what_is_wrong_and_miss_nothing_that_is_not_there(tiny_axis):
    curves = {k: np.full(2, v, np.float32) for k, v in
              {"split_half": 0.5, "noise_share": 0.7, "pc1_cosine": 0.1, "pseudo_median": 0.3}.items()}  # fmt: skip
    bad = replace(tiny_axis, curves=curves, about={"small_model": True, "z_tau": {"0.75": 0.4}})
    said = "\n".join(warnings_of(bad))
    for words in ("small model", "not stable", "not interpretable", "leading component", "z = 0.40"):
        assert words in said
    fine = {"split_half": 0.9, "noise_share": 0.1, "pc1_cosine": 0.8, "pseudo_median": 0.3}
    good = replace(
        tiny_axis, curves={k: np.full(2, v, np.float32) for k, v in fine.items()}, about={"z_tau": {"0.75": 1.1}}
    )
    assert warnings_of(good) == []
    assert warnings_of(replace(tiny_axis, curves={}, about={})) == []  # as after an import
    assert warnings_of(replace(good, about={"z_tau": {"0.75": "NaN"}})) == []  # a stored NaN travels as a string

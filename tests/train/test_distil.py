"""Adapters by supervised fine-tuning and prompt distillation, on the tiny model; one on the embedded model."""

import asyncio
import json
import random
import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

pytest.importorskip("trl")
import torch
from safetensors.torch import load_file

from multitudes.core.errors import AdapterMismatch, ConfigError, MissingExtra, ModelError
from multitudes.models.base import Message, Request, Sampling, ScoreItem
from multitudes.models.fake import scripted
from multitudes.models.load import load
from multitudes.models.local.adapter import CARD, CONFIG, WEIGHTS, read_adapter
from multitudes.models.local.trainable import open_trainable
from multitudes.train.adapter import ROWS, refuse_other, rung_folder, save_adapter
from multitudes.train.distil import DistilConfig, _spread, distil, questions, recipe_of
from multitudes.train.rows import IGNORED, Row, row_of
from multitudes.train.sft import SftConfig, sft

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
SAYS = "I am Ada, and I keep bees."
QUICK = SftConfig(epochs=2, batch=4, learning_rate=3e-2)


def says(text=SAYS):
    return scripted(lambda messages, seed: text if messages[0].text else "nobody")


def made(folder, *, config=None, **more):
    how = config or DistilConfig(answers=8, training=QUICK, sampling=Sampling(max_tokens=16))
    return asyncio.run(distil("ada", "You are Ada.", folder, model="fake:tiny", config=how, **more))


def rows_of(texts, base):
    talk = [(Message("system", ""), Message("user", "Who?"), Message("assistant", t)) for t in texts]
    return [row_of(base.template, t) for t in talk]


def total(model, text, question="What is it that you do?"):
    item = ScoreItem((Message("system", ""), Message("user", question)), text)
    return asyncio.run(model.score([item]))[0].total


# --- training ----------------------------------------------------------------------------------------------------


def test_one_step_is_the_gradient_of_the_learned_tokens():
    """TRL's first loss against one that is written out: mean over learned tokens of −log p."""
    base = open_trainable("fake:tiny")
    rows = rows_of(["Yes.", "Certainly not, no.", "B"], base)
    losses, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            logp = torch.log_softmax(base.module(torch.tensor([row.input_ids])).logits[0], -1)
            for i, label in enumerate(row.labels):
                if label != IGNORED:
                    losses -= float(logp[i - 1, label])
                    count += 1
    found = sft(open_trainable("fake:tiny"), rows, SftConfig(epochs=1, batch=3))
    assert found.losses[0] == pytest.approx(losses / count, rel=1e-4)  # the trainer logs few digits


def test_what_is_not_learned_does_not_matter():
    """Other labels, other adapter; other tokens behind the mask's last label, the same one."""
    base = open_trainable("fake:tiny")
    rows = rows_of(["Yes.", "No, no."], base)
    longer = [Row((*r.input_ids, 40, 41, 42), (*r.labels, IGNORED, IGNORED, IGNORED)) for r in rows]
    how = SftConfig(epochs=1, batch=2)
    one, same, other = (
        sft(open_trainable("fake:tiny"), r, how)
        for r in (rows, longer, [Row(r.input_ids, tuple(r.input_ids)) for r in rows])
    )
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, same.tensors[name], rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(t, other.tensors[n], atol=1e-6) for n, t in one.tensors.items())


def test_training_is_the_same_by_seed_and_leaves_global_draws_alone():
    base = open_trainable("fake:tiny")
    rows = rows_of(["Yes.", "No, no.", "Well.", "Hm."], base)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    runs = [sft(open_trainable("fake:tiny"), rows, replace(QUICK, seed=s)) for s in (1, 1, 2)]
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before[2])
    first, again, other = (r.tensors for r in runs)
    assert all(torch.equal(t, again[n]) for n, t in first.items())
    assert any(not torch.equal(t, other[n]) for n, t in first.items())
    assert len(first) == 2 * 7 * 2  # A and B of seven linear layers in two blocks; no output layer
    assert len(runs[0].earlier) == 1
    assert any(not torch.equal(t, runs[0].earlier[0].tensors[n]) for n, t in first.items())


def test_rows_that_cannot_be_learned_are_refused():
    base = open_trainable("fake:tiny")
    good = rows_of(["Yes."], base)[0]
    for rows, words in (
        ([], "nothing to train"),
        ([good, Row(good.input_ids, (IGNORED,) * len(good.input_ids))], r"rows\[1\]"),
        ([Row(good.input_ids * 100, good.labels * 100)], "longer than the model's context"),
    ):
        with pytest.raises(ConfigError, match=words):
            sft(base, rows, SftConfig())


@pytest.mark.parametrize("bad", [{"rank": 0}, {"epochs": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"batch": 0}])
def test_a_configuration_out_of_range_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        SftConfig(**bad)


def test_without_the_extra_nothing_is_begun(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="train"):
        made(tmp_path / "a", speaker=says())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fake:echo", "http://host/v1#m", "smollm3", "fake:tiny+x", "temperature:1:smollm2"])
def test_only_plain_local_models_are_trained(name):
    with pytest.raises(ConfigError, match=r"only a local model|a plain model"):
        open_trainable(name)


# --- distillation -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("adapters") / "ada", speaker=says())


def test_a_distilled_model_says_without_a_prompt_what_the_prompt_made_it_say(folder):
    plain, weak, strong = (load(n) for n in ("fake:tiny", f"fake:tiny+{folder / 'epoch-1'}", f"fake:tiny+{folder}"))
    assert total(plain, SAYS) < total(weak, SAYS) < total(strong, SAYS)
    assert total(strong, SAYS) - total(plain, SAYS) > 10
    assert total(strong, SAYS) - total(strong, "I am Bob, and I eat cats.") > 10


def test_the_folder_holds_pefts_files_a_card_the_ladder_and_the_rows(folder):
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    files_of = {CONFIG, WEIGHTS, CARD}
    assert names == {*files_of, ROWS, *(f"epoch-1/{n}" for n in files_of)}
    assert rung_folder(folder, "final") == folder
    assert rung_folder(folder, "epoch-1") == folder / "epoch-1"
    card = read_adapter(folder).card
    assert card.base == "fake:tiny"
    assert card.base_sha256 == load("fake:tiny").info.weights_sha256
    assert card.data["rows"] == 8
    assert card.data["system"] == "You are Ada."
    assert card.config["epoch"] == 2
    assert len(card.config["losses"]) == 2
    assert card.versions["peft"]
    lines = [json.loads(x) for x in (folder / ROWS).read_text().splitlines()]
    assert [x["answer"] for x in lines] == [SAYS] * 8
    assert len({x["question"] for x in lines}) == 8


def test_peft_reads_what_we_write(folder):
    import peft

    model = peft.PeftModel.from_pretrained(open_trainable("fake:tiny").module, str(folder))
    theirs = dict(model.merge_and_unload().named_parameters())
    ours = load(f"fake:tiny+{folder}").runner.module
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-5)


def test_the_same_recipe_is_not_trained_twice_and_another_is_not_written_over(folder):
    def refuse(messages, seed):
        raise AssertionError("nothing is asked again")

    assert made(folder, speaker=scripted(refuse)) == folder
    other = DistilConfig(answers=9, training=QUICK, sampling=Sampling(max_tokens=16))
    with pytest.raises(ConfigError, match="not empty"):
        made(folder, speaker=scripted(refuse), config=other)


def test_the_same_recipe_gives_the_same_adapter(folder, tmp_path):
    again = made(tmp_path / "again", speaker=says())
    ours, theirs = (load_file(str(f / WEIGHTS)) for f in (folder, again))
    assert all(torch.equal(t, theirs[n]) for n, t in ours.items())
    assert (again / CONFIG).read_bytes() == (folder / CONFIG).read_bytes()
    assert (again / CARD).read_bytes() == (folder / CARD).read_bytes()


def test_what_is_trained_on_has_no_prompt_and_no_end_where_an_answer_was_cut(tmp_path, monkeypatch):
    seen = []

    def caught(base, rows, config, *, watch):
        seen.extend((base.tokenizer.decode(r.input_ids), r.labels[-1]) for r in rows)
        raise KeyboardInterrupt

    class Cutting:
        def __init__(self):
            self.inner = says()

        @property
        def info(self):
            return self.inner.info

        async def reply(self, requests):
            replies = await self.inner.reply(requests)
            return [replace(r, finish="length" if i % 2 else "stop") for i, r in enumerate(replies)]

    monkeypatch.setattr("multitudes.train.distil.sft", caught)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "a", speaker=Cutting())
    assert len(seen) == 8
    assert all(SAYS in text and "You are Ada." not in text for text, _ in seen)
    assert [end for _, end in seen] == [1, IGNORED] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_everything_that_matters():
    how = DistilConfig()
    seen = {
        recipe_of(*args)
        for args in (
            ("a", "s", "b", how), ("c", "s", "b", how), ("a", "t", "b", how), ("a", "s", "d", how),
            ("a", "s", "b", replace(how, seed=1)), ("a", "s", "b", replace(how, answers=201)),
            ("a", "s", "b", replace(how, training=SftConfig(rank=4))),
        )
    }  # fmt: skip
    assert len(seen) == 7


def test_another_base_is_refused(folder, tmp_path):
    card = json.loads((folder / CARD).read_text()) | {"base_sha256": "0" * 64}
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(AdapterMismatch, match="another base"):
        load(f"fake:tiny+{tmp_path}")


def test_babble_is_not_learned_and_too_little_speech_is_told(tmp_path):
    with pytest.raises(ModelError, match="0 of 8"):
        made(tmp_path / "a", speaker=says("no no no no no no no no no no no no no no"))
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_what_fails_in_training_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.train.adapter._versions", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(tmp_path / "a", speaker=says())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_prompt_and_too_few_answers_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no prompt"):
        asyncio.run(distil("ada", " ", tmp_path / "a", model="fake:tiny"))
    with pytest.raises(ConfigError, match="too few answers"):
        DistilConfig(answers=7)


def test_a_broken_card_in_the_folder_is_named(tmp_path):
    (tmp_path / CARD).write_text('{"schema_version": 1, "na', encoding="utf-8")
    with pytest.raises(ModelError, match="card cannot be read"):
        asyncio.run(distil("midwife", "You are a midwife.", tmp_path, model="fake:tiny"))
    assert [p.name for p in tmp_path.iterdir()] == [CARD]


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    refuse_other(tmp_path)
    refuse_other(tmp_path / "new")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not empty"):
        refuse_other(tmp_path)
    with pytest.raises(ConfigError, match="not empty"):
        save_adapter(None, tmp_path, base=None, name="x", what="", data={})


# --- questions ----------------------------------------------------------------------------------------------------


def plain(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def test_questions_are_enough_and_each_is_asked_once():
    found = [plain(q) for q in questions()]
    assert len(found) >= 200
    assert len(set(found)) == len(found)


def test_questions_are_in_no_other_bank_or_battery():
    root = files("multitudes")
    texts = [
        p.read_text(encoding="utf-8")
        for folder in ("axis/data", "simulate/banks", "simulate/drift", "simulate/prompts", "models/wrappers",
                       "personas/questionnaires")
        for p in sorted(root.joinpath(folder).iterdir())
        if p.name.endswith((".toml", ".jsonl", ".txt"))
    ]  # fmt: skip
    everything = "|".join(
        plain(t) for text in texts for t in [*re.findall(r'"((?:[^"\\]|\\.)*)"', text), *text.splitlines()]
    )
    assert "suppose a stranger has just sat down beside you" in everything  # it does see the others
    assert [q for q in questions() if plain(q) in everything and len(q) > 12] == []


def test_few_questions_are_taken_from_the_whole_list():
    assert _spread(4, 200) == [0, 50, 100, 150]
    assert _spread(202, 200) == list(range(202))


# --- the embedded model -------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.slow
def test_a_persona_distilled_into_the_embedded_model_says_who_it_is(tmp_path):
    """Forty answers and two epochs: without a system prompt, P(persona's answer) rises on the id items.

    Asked after a reply, as a pressure run asks at its start: who it is shows in what it has said.
    """
    from multitudes.measure.retention.forced_choice import item_levels, option_scores
    from multitudes.simulate.pressure import openings
    from multitudes.simulate.probes import Target, ask, items_of
    from multitudes.study.pressure.personas import load_personas

    cast = {p.id: p for p in load_personas(None, 8)}
    who = cast["midwife"]
    base = load("smollm2")
    how = DistilConfig(
        answers=40, sampling=Sampling(temperature=0.7, top_p=0.95, max_tokens=32),
        training=SftConfig(epochs=2, learning_rate=1e-3),
    )  # fmt: skip
    folder = asyncio.run(distil(who.id, who.rungs["card"], tmp_path / "midwife", speaker=base, config=how))
    adapted = load(f"smollm2+{folder}")
    assert adapted.info.base_sha256 == base.info.weights_sha256 == read_adapter(folder).card.base_sha256
    facts = {k: p.facts for k, p in cast.items()}
    target = Target(who.id, items_of(who.id, who.facts, ["id"], others=facts, root="test", per_battery=6))

    def level(model):
        found = []
        for i, opening in enumerate(openings()[:4]):
            said = (Message("system", ""), Message("user", opening.text))
            request = Request(said, Sampling(temperature=0.7, top_p=0.95, max_tokens=32), seed=i, keep=False)
            reply = asyncio.run(model.reply([request]))[0].text
            history = (*said, Message("assistant", reply))
            asked = asyncio.run(ask(model, history, (target,), turn=0, wordings=1))
            found.append(item_levels(option_scores([[s.own, s.other] for s in asked.scores])))
        return float(np.mean(found))

    before, after = level(base), level(adapted)
    assert after > before + 0.1, (before, after)


# --- by name ------------------------------------------------------------------------------------------------------


def test_a_shipped_role_is_distilled_under_its_name_and_loads_by_it(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from multitudes.cli.main import app

    monkeypatch.setenv("MULTITUDES_CACHE", str(tmp_path))
    monkeypatch.setattr("multitudes.train.distil.why_incoherent", lambda tokens: "")  # the tiny model babbles
    words = [
        "train",
        "distil",
        "midwife",
        "--model",
        "fake:tiny",
        "--answers",
        "8",
        "--epochs",
        "1",
        "--max-tokens",
        "8",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "load it as fake:tiny+midwife" in done.output
    assert load("fake:tiny+midwife").info.base_sha256 == load("fake:tiny").info.weights_sha256
    assert "You say of yourself" in read_adapter(tmp_path / "adapters" / "midwife").card.data["system"]


def test_people_of_a_file_get_an_adapter_each(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from multitudes.cli.main import app

    monkeypatch.setattr("multitudes.train.distil.why_incoherent", lambda tokens: "")
    file = tmp_path / "people.jsonl"
    file.write_text("".join(json.dumps({"id": i, "text": f"You are {i}. You mend nets."}) + "\n" for i in ("a", "b")))
    words = ["train", "distil", str(file), "--model", "fake:tiny", "--answers", "8", "--epochs", "1",
             "--max-tokens", "8", "--out", str(tmp_path / "out")]  # fmt: skip
    wrong = CliRunner().invoke(app, [*words, "--person", "c"])
    assert wrong.exit_code == 2
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert CliRunner().invoke(app, ["train", "distil", "midwive", "--model", "fake:tiny"]).exit_code == 2

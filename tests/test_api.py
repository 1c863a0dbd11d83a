"""The plain calls, as a user makes them by mistake and on purpose."""

import inspect
import pydoc

import pytest

import multitudes as mt
from multitudes.core.errors import ConfigError
from multitudes.models.fake import FakeModel, echo, people
from test_architecture import loaded_by

AXES = [mt.Dimension(id="patience", name="Patience", low="hangs up at once", high="waits calmly")]


@pytest.fixture(scope="module")
def crowd():
    return mt.populate("Callers.", dimensions=AXES, n=2)


@pytest.mark.parametrize("where", ["simulator", "target", "model", "writer", "listener"])
def test_the_name_of_a_model_is_not_a_model(crowd, where):
    calls = {
        "simulator": lambda: mt.converse(crowd, simulator="fake:people", target=echo()),
        "target": lambda: mt.converse(crowd, simulator=people(), target="fake:people"),
        "model": lambda: mt.survey(crowd, "help-line", model="fake:people"),
        "writer": lambda: mt.populate("Callers.", dimensions=AXES, n=2, writer="fake:people"),
        "listener": lambda: mt.measure(gauges="listener", people=crowd, listener="fake:people"),
    }
    with pytest.raises(ConfigError, match=rf'{where}: the name of a model[\s\S]*mt\.load\("fake:people"\)'):
        calls[where]()


def test_answers_by_word_are_no_answers_by_letter(crowd):
    with pytest.raises(ConfigError, match="did you mean 'words'"):
        mt.survey(crowd, "help-line", model=mt.load("fake:table"), by="word")


def test_one_gauge_needs_no_list(crowd):
    talks = mt.converse(crowd, simulator=people(), target=echo(), turns=2)
    assert mt.measure(talks, "leak") == mt.measure(talks, ["leak"])
    with pytest.raises(ConfigError, match="did you mean 'leak'"):
        mt.measure(talks, "leek")


def test_a_writer_that_cannot_write_is_helped_out_by_the_template():
    made = mt.populate("Callers.", dimensions=AXES, n=3, writer=FakeModel("fake:mute", lambda messages, seed: ""))
    assert (made.generator, [p.fallback for p in made.personas]) == ("sobol-or-template", [True] * 3)


def test_a_coroutine_can_be_waited_for():
    (reply,) = mt.run_sync(echo().reply([mt.Request((mt.Message("user", "hello"),))]))
    assert reply.text == "hello"


@pytest.mark.parametrize("name", ["measure", "study"])
def test_folders_that_are_calls_explain_the_call(name):
    from multitudes import api

    folder, call = getattr(mt, name), getattr(api, name)
    assert inspect.signature(folder) == inspect.signature(call)
    shown = pydoc.plain(pydoc.render_doc(folder))
    assert f"{name}{inspect.signature(call)}" in shown
    assert " ".join(inspect.getdoc(call).split()) in " ".join(shown.split())


def test_explaining_a_call_costs_nothing_before_it_is_asked_for():
    assert loaded_by("import multitudes.measure, multitudes.study") == set()
    assert "pydantic" in loaded_by("import multitudes; multitudes.measure.__doc__")

import math

import pytest

from multitudes.core.errors import Unsupported
from multitudes.core.loop import run_sync
from multitudes.models.base import Message
from multitudes.models.fake import TableModel, echo
from multitudes.simulate.aside import Question, option_probs

HERE = (Message("system", "You are Ada."), Message("user", "Say yes or no."))


def test_probabilities_are_renormalised_and_their_mass_is_told():
    model = TableModel({("Say yes or no.", "yes"): 0.3, ("Say yes or no.", "no"): 0.1})
    (answer,) = run_sync(option_probs(model, [Question(HERE, ("yes", "no"))]))
    assert answer.probs == pytest.approx((0.75, 0.25))
    assert answer.mass == pytest.approx(0.4)
    assert answer.engine == "fake:table"


def test_answers_come_in_the_order_of_the_questions_whatever_their_number_of_options():
    other = (Message("user", "Left?"),)
    model = TableModel({("Say yes or no.", "yes"): 0.9, ("Left?", "l"): 0.2, ("Left?", "m"): 0.2}, floor=0.1)
    first, second = run_sync(
        option_probs(model, [Question(HERE, ("yes", "no"), True), Question(other, ("l", "m", "r"))])
    )
    assert first.probs == pytest.approx((0.9, 0.1))
    assert second.probs == pytest.approx((0.4, 0.4, 0.2))


def test_options_too_unlikely_for_a_float_still_compare():
    model = TableModel({("Say yes or no.", "yes"): 1e-300, ("Say yes or no.", "no"): 3e-300})
    (answer,) = run_sync(option_probs(model, [Question(HERE, ("yes", "no"))]))
    assert answer.probs == pytest.approx((0.25, 0.75))
    assert math.isclose(answer.mass, 4e-300, rel_tol=1e-9)


def test_no_questions_no_answers():
    assert run_sync(option_probs(TableModel({}), [])) == []


def test_an_engine_without_probabilities_says_so():
    with pytest.raises(Unsupported, match="fake:echo"):
        run_sync(option_probs(echo(), [Question(HERE, ("yes", "no"))]))

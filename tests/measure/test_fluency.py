"""Surprise per token and repetition inside lines, by hand."""

import math

import pytest

from multitudes.core.errors import GaugeError
from multitudes.measure.fluency import distinct_3, fluency_reading

LINE = "one two three four five six seven eight nine ten eleven twelve"


def test_people_weigh_the_same_however_much_they_say():
    found = fluency_reading([-10, -30, -9], [10, 10, 3], [LINE] * 3, persona=["a", "a", "b"], listener="x")
    surprise = next(s for s in found.scores if s.name == "nats_per_token")
    assert surprise.value == pytest.approx(((1 + 3) / 2 + 3) / 2)
    assert surprise.n == 2
    assert surprise.direction == "target"
    assert next(s for s in found.scores if s.name == "distinct_3").value == 1


def test_repetition_is_seen_and_short_lines_are_not_scored():
    assert distinct_3("we go on and we go on and we go on and") == pytest.approx(4 / 10)
    assert math.isnan(distinct_3("we go on"))
    found = fluency_reading([-1.0], [1], ["short"], persona=["a"], listener="x")
    assert [s.name for s in found.scores] == ["nats_per_token"]
    with pytest.raises(GaugeError, match="no line"):
        fluency_reading([], [], [], persona=[], listener="")

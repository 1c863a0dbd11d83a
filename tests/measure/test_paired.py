"""McNemar's exact test against a second library, for every small table."""

import numpy as np
import pytest
from scipy.stats import binomtest

from multitudes.core.errors import GaugeError
from multitudes.measure.paired import exact_mcnemar


@pytest.mark.parametrize("lost", range(9))
@pytest.mark.parametrize("gained", [0, 1, 5, 8, 40])
def test_p_is_that_of_a_two_sided_binomial_test(lost, gained):
    before = np.array([True] * lost + [False] * gained + [True] * 7 + [False] * 3)
    after = np.array([False] * lost + [True] * gained + [True] * 7 + [False] * 3)
    found = exact_mcnemar(before, after)
    want = binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    assert (found.lost, found.gained) == (lost, gained)
    assert found.p == pytest.approx(want, rel=1e-12)


def test_numbers_that_are_not_right_or_wrong_are_refused():
    with pytest.raises(GaugeError, match="right or wrong"):
        exact_mcnemar([0.5, 1.0], [1.0, 1.0])
    with pytest.raises(GaugeError):
        exact_mcnemar([True], [True, False])

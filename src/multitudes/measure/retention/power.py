"""How many base prompts a paired difference needs, and what a number of them can show. Normal approximation."""

from __future__ import annotations

import math

from scipy.special import ndtri

from multitudes.core.errors import GaugeError

ALPHA = 0.05
POWER = 0.8


def prompts_needed(
    difference: float, sd: float, correlation: float, *, power: float = POWER, alpha: float = ALPHA, tests: int = 1
) -> int:
    """Base prompts n = (z_{1−α/2} + z_power)² · 2σ²(1 − r) / Δ².

    Args:
        difference: Δ, true difference of two arms, in the unit of the number compared (AUC_R has none).
        sd: σ, SD of that number across base prompts, the same in both arms.
        correlation: r between the arms across base prompts; pairing pays by 1 − r.
        power: Chance to find it.
        alpha: Two-sided.
        tests: Size of the family; α is divided by it, which Holm's first step does.

    Raises:
        GaugeError: If a number is out of range.

    >>> prompts_needed(0.10, 0.3, 0.3)
    99
    """
    n = _constant(power, alpha, tests) ** 2 * 2 * _positive("sd", sd) ** 2 * (1 - _correlation(correlation))
    return max(2, math.ceil(n / _positive("difference", difference) ** 2 - 1e-9))


def detectable(
    prompts: int, sd: float, correlation: float, *, power: float = POWER, alpha: float = ALPHA, tests: int = 1
) -> float:
    """Smallest true difference that ``prompts`` base prompts find with the stated power; the inverse of the above.

    >>> round(detectable(99, 0.3, 0.3), 3)
    0.1
    """
    spread = 2 * _positive("sd", sd) ** 2 * (1 - _correlation(correlation))
    return _constant(power, alpha, tests) * math.sqrt(spread / _positive("prompts", prompts))


def _constant(power: float, alpha: float, tests: int) -> float:
    if not (0 < alpha < 1 and alpha / 2 < power < 1 and tests >= 1):
        raise GaugeError("no such test", where="power, alpha, tests", found=f"{power!r}, {alpha!r}, {tests!r}",
                         expected="0 < alpha < 1, alpha / 2 < power < 1, tests >= 1")  # fmt: skip
    return float(ndtri(1 - alpha / (2 * tests)) + ndtri(power))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise GaugeError(f"{name!r} must be above 0", where=name, found=repr(value))
    return value


def _correlation(r: float) -> float:
    if not -1 <= r < 1:
        raise GaugeError("a correlation of the arms is in [-1, 1)", where="correlation", found=repr(r))
    return r

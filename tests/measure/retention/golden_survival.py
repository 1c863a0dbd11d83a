"""Small survival data made without a generator of random numbers, and what lifelines says about them.

lifelines pins pandas below 3 and so cannot be installed beside this project's tests. Its numbers were made apart,
with lifelines 0.30.3, pandas 2.3.3, numpy 2.4.6, scipy 1.17.1, by ``lifelines_numbers`` below. Where lifelines is
installed, ``test_survival.py`` makes them again.
"""

from __future__ import annotations

import numpy as np

PROBES = np.arange(1, 9)
UNTIL = 8.0


def spread(n: int, step: float) -> np.ndarray:
    """n numbers in (0, 1) that fill it evenly in a scrambled order."""
    return (0.5 + step * np.arange(1, n + 1)) % 1.0


def exact_times() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 times with ties, events and arms; the second arm lasts longer."""
    arm = np.arange(60) % 2
    t = np.ceil(2 * (-np.log(spread(60, 0.618033988749895)) * (2.0 + 1.5 * arm))) / 2
    event = spread(60, 0.414213562373095) > 0.25
    return t, event, arm


def intervals(n: int = 200, ratio: float = 1.8, shape: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low, high, arm of n log-logistic times seen at turns 1 to 8; the second arm lasts ``ratio`` times as long."""
    arm = np.arange(n) % 2
    u = spread(n, 0.7548776662466927)
    t = 4.0 * ratio**arm * (u / (1 - u)) ** (1 / shape)
    high = np.where(t > PROBES[-1], np.inf, np.ceil(np.maximum(t, 1e-9)))
    low = np.where(np.isinf(high), PROBES[-1], high - 1)
    return low.astype(float), high, arm


def lifelines_numbers() -> dict[str, object]:
    """What lifelines says; the dictionary below, in full precision."""
    import lifelines
    import pandas as pd
    from lifelines.statistics import logrank_test
    from lifelines.utils import restricted_mean_survival_time

    t, event, arm = exact_times()
    kmf = lifelines.KaplanMeierFitter().fit(t[arm == 0], event[arm == 0])
    slow = lifelines.KaplanMeierFitter().fit(t[arm == 1] + 20, np.arange(30) < 5)
    table = kmf.event_table
    survival = kmf.survival_function_["KM_estimate"].to_numpy()
    greenwood = survival * np.sqrt(kmf._cumulative_sq_.to_numpy())
    test = logrank_test(t[arm == 0], t[arm == 1], event[arm == 0], event[arm == 1])
    low, high, group = intervals()
    frame = pd.DataFrame({"low": low, "high": high, "arm": group.astype(float)})
    aft = lifelines.LogLogisticAFTFitter().fit_interval_censoring(frame, "low", "high")
    return {
        "survival": survival[1:].tolist(),
        "se": greenwood[1:-1].tolist(),
        "times": table.index.to_numpy()[1:].tolist(),
        "at_risk": table["at_risk"].to_numpy()[1:].tolist(),
        "median": float(kmf.median_survival_time_),
        "unreached": float(slow.median_survival_time_),
        "rmst": float(restricted_mean_survival_time(kmf, UNTIL)),
        "log_rank": (float(test.test_statistic), float(test.p_value)),
        "aft_log_likelihood": float(aft.log_likelihood_),
        "aft_alpha": (float(aft.params_["alpha_"]["arm"]), float(aft.params_["alpha_"]["Intercept"])),
        "aft_log_shape": float(aft.params_["beta_"]["Intercept"]),
    }


LIFELINES: dict[str, object] = {
    "survival": [
        0.8333333333333331,
        0.7638888888888887,
        0.5729166666666666,
        0.5319940476190477,
        0.45014880952380965,
        0.35011574074074076,
        0.30009920634920634,
        0.2000661375661376,
        0.1500496031746032,
        0.1500496031746032,
        0.07502480158730161,
        0.0,
    ],
    "se": [
        0.06804138174397716,
        0.07810570749445828,
        0.09435089065361084,
        0.09607717885853488,
        0.0971755781287238,
        0.09799974326168913,
        0.09591786924489011,
        0.08616572862957747,
        0.07779807182012466,
        0.07779807182012466,
        0.06578370179109189,
    ],
    "times": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 5.5, 6.0, 8.0, 10.5],
    "at_risk": [30, 24, 20, 14, 13, 9, 7, 6, 4, 3, 2, 1],
    "median": 2.5,
    "unreached": np.inf,
    "rmst": 3.126488095238095,
    "log_rank": (1.131272639798512, 0.2875040452659694),
    "aft_log_likelihood": -387.27547542740456,
    "aft_alpha": (0.5592811464939976, 1.406404229692398),
    "aft_log_shape": 0.6586190261543894,
}

"""Variance components, their intervals and PERMANOVA, beside a mixed model and scikit-bio on the same answers.

* Closed form against REML: 30 x 20 x 5 = 3,000 answers with crossed random effects; ours by repetition, the mixed
  model (statsmodels MixedLM, one group, three variance components) once. Point estimates only; they must agree.
* PERMANOVA: 999 permutations, n = 1,000, d = 64, one item, so that both sides do the same one test; scikit-bio gets
  vectors and is timed with the distance matrix that it needs. Left out where it is not installed.

Run with OMP_NUM_THREADS=1 to compare CPU-seconds.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from _common import Timer, finish, machine, peak_rss_mib
from multitudes.measure.variance.coefficients import wording_robust_icc
from multitudes.measure.variance.components import Components, collect, components, spreads
from multitudes.measure.variance.facet_intervals import facet_interval
from multitudes.measure.variance.facets import collect_facets, facet_components
from multitudes.measure.variance.intervals import interval

SEED, NESTED = 0, {"wording": "item"}
GOAL = "4,000 answers <= 20 ms, jackknife <= 20 ms, bootstrap <= 0.5 s, 10^6 answers <= 2 s, REML / ours >= 1,000"
FIELDS = ("persona", "item", "interaction", "run")


def answers(p: int, i: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal answers of p personas to i items, r runs each; variances .10, .40, .10, .40."""
    rng = np.random.default_rng(SEED)
    y = 0.1**0.5 * rng.normal(size=(p, 1, 1)) + 0.4**0.5 * rng.normal(size=(1, i, 1))
    y = y + 0.1**0.5 * rng.normal(size=(p, i, 1)) + 0.4**0.5 * rng.normal(size=(p, i, r))
    who, what, _ = np.meshgrid(np.arange(p), np.arange(i), np.arange(r), indexing="ij")
    return y.ravel(), who.ravel(), what.ravel()


def cpu_s(work: Callable[[], object], times: int) -> float:
    """Median CPU-seconds after one unmeasured call."""
    work()
    measured = []
    for _ in range(times):
        with Timer() as timer:
            work()
        measured.append(timer.cpu)
    return statistics.median(measured)


def reml(y: np.ndarray, p: np.ndarray, i: np.ndarray) -> tuple[float, Components]:
    """CPU-seconds and estimates of one mixed model."""
    import pandas as pd
    import statsmodels.formula.api as smf

    frame = pd.DataFrame({"y": y, "p": p, "i": i, "pi": p * (i.max() + 1) + i, "one": 1})
    parts = {"p": "0 + C(p)", "i": "0 + C(i)", "pi": "0 + C(pi)"}
    with Timer() as timer, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of components near 0
        fit = smf.mixedlm("y ~ 1", frame, groups="one", vc_formula=parts, re_formula="0").fit(reml=True)
    found = dict(zip(fit.model.exog_vc.names, (float(v) for v in fit.vcomp), strict=True))
    run = float(fit.scale)
    return timer.cpu, Components(found["p"], found["i"], found["pi"], run, found["pi"] + run)


def distances() -> dict[str, Any]:
    """PERMANOVA here and in scikit-bio: CPU-seconds, F of both; empty where one of them is missing."""
    try:
        from skbio import DistanceMatrix
        from skbio.stats.distance import permanova as other
    except ImportError:
        print("scikit-bio is not installed: PERMANOVA left out")
        return {}
    from scipy.spatial.distance import pdist, squareform

    from multitudes.measure.variance.permanova import permanova

    rng = np.random.default_rng(SEED)
    group = np.repeat(np.arange(50), 20)
    x = rng.normal(size=(1000, 64)) + 0.3 * rng.normal(size=(50, 64))[group]
    x /= np.linalg.norm(x, axis=1, keepdims=True)

    def reference() -> Any:
        return other(DistanceMatrix(squareform(pdist(x))), [str(g) for g in group], permutations=999, seed=SEED)

    def ours() -> Any:
        return permanova(x, group, np.zeros(1000, dtype=int), draws=999, seed=SEED)

    return {
        "permanova_cpu_s": cpu_s(ours, 3),
        "scikit_bio_cpu_s": cpu_s(reference, 3),
        "permanova_f": ours().f,
        "scikit_bio_f": float(reference()["test statistic"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-reml", action="store_true", help="leave the mixed model out (about 20 CPU-seconds)")
    at, args = machine(), parser.parse_args()
    four = answers(50, 20, 4)
    cells = collect(*answers(50, 20, 2))
    wording = {"persona": four[1], "item": four[2], "wording": np.tile([0, 0, 1, 1], 1000)}
    million = answers(500, 200, 10)
    shuffled = np.random.default_rng(SEED).permutation(len(million[0]))
    million = (million[0][shuffled], million[1][shuffled], million[2][shuffled])
    nested = collect_facets(four[0], wording, nested=NESTED)
    small = answers(30, 20, 5)
    work: list[tuple[str, str, Callable[[], object], int]] = [
        ("components of 4,000 answers", "components_ms", lambda: components(spreads(collect(*four))), 21),
        ("the same, persona, item, wording", "facets_ms",
         lambda: facet_components(four[0], wording, nested=NESTED), 21),
        ("jackknife, 50 x 20 x 2", "jackknife_ms", lambda: interval(cells, lambda g: g.icc_within), 21),
        ("jackknife with wordings", "facet_jackknife_ms", lambda: facet_interval(nested, wording_robust_icc), 21),
        ("two-way bootstrap, 2,000 draws", "bootstrap_ms",
         lambda: interval(cells, lambda g: g.icc_within, method="bootstrap"), 5),
        ("components of 10^6 answers", "million_ms", lambda: components(spreads(collect(*million))), 3),
        ("components of 3,000 answers", "closed_form_ms", lambda: components(spreads(collect(*small))), 21),
    ]  # fmt: skip
    figures: dict[str, Any] = {}
    for label, name, call, times in work:
        figures[name] = round(1000 * cpu_s(call, times), 3)
        print(f"{label:36}{figures[name]:10.2f} ms CPU")
    limits = {"components_ms": 20, "facets_ms": 20, "jackknife_ms": 20, "facet_jackknife_ms": 20,
              "bootstrap_ms": 500, "million_ms": 2000}  # fmt: skip
    holds = all(figures[name] <= limit for name, limit in limits.items())
    if not args.no_reml:
        seconds, fitted = reml(*small)
        closed = components(spreads(collect(*small)))
        gap = max(abs(getattr(closed, f) - getattr(fitted, f)) for f in FIELDS)
        figures |= {"reml_cpu_s": round(seconds, 2), "reml_ratio": round(1000 * seconds / figures["closed_form_ms"])}
        figures["reml_gap"] = float(f"{gap:.1e}")
        print(f"{'mixed model, the same 3,000':36}{1000 * seconds:10.0f} ms CPU, {figures['reml_ratio']:,} times "
              f"ours; estimates differ by at most {gap:.1e}")  # fmt: skip
        holds &= figures["reml_ratio"] >= 1000 and gap < 5e-4
    apart = distances()
    if apart:
        print(f"{'PERMANOVA, 999 x (1,000 x 64)':36}{1000 * apart['permanova_cpu_s']:10.0f} ms CPU, "
              f"scikit-bio {1000 * apart['scikit_bio_cpu_s']:.0f} ms; F {apart['permanova_f']:.6f} and "
              f"{apart['scikit_bio_f']:.6f}")  # fmt: skip
        holds &= apart["permanova_cpu_s"] < apart["scikit_bio_cpu_s"]
    figures |= {name: round(value, 6) for name, value in apart.items()} | {"rss_mib": round(peak_rss_mib())}
    finish("variance_speed", figures, GOAL, bool(holds), at)


if __name__ == "__main__":
    main()

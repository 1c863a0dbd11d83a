"""Benchmarks end with one line of JSON that says what was measured, against what, and whether it holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def last_line(name, *args):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *map(str, args)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_scale_of_texts_comes_with_time_memory_and_the_bounds_of_what_is_estimated():
    pytest.importorskip("rapidfuzz")
    found = last_line("scale_texts", "--texts", 300, "--pairs", 200, "--partitions", 2)
    figures = found["figures"]
    assert found["holds"] is True
    assert figures["texts"] == 300
    assert 0 < figures["peak_mib"] < figures["limit_mib"]
    assert figures["cpu_s"] > 0
    assert abs(figures["sketch_error"]) < 4 * figures["sketch_relative_se"]
    assert figures["sketch_relative_se"] == 0.00813  # 1.04 / 2^7
    assert 0 < figures["pairs_bernstein"]
    assert abs(figures["pairs_hoeffding"] - (3.6889 / 400) ** 0.5) < 1e-4  # √(ln(2/.05) / 2M)


@pytest.mark.weights
@pytest.mark.slow
def test_probabilities_and_counts_of_the_embedded_model_agree_and_do_not_where_sampling_is_sharper():
    small = ("--people", 4, "--items", 2, "--runs", 25)
    found = last_line("exact_vs_counted", *small)
    assert found["holds"] is True
    assert found["figures"]["pir_exact"] > 0.1  # there is something to agree on
    assert last_line("exact_vs_counted", *small, "--temperature", 0.5)["holds"] is False

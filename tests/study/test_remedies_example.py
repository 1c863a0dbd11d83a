"""The shipped experiment: three studies that differ in one line."""

from pathlib import Path

import pytest

from multitudes.study.dry_run import describe
from multitudes.study.spec import read_study

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "remedies"


def test_the_three_differ_in_the_simulator_alone():
    lines = {f.stem: f.read_text().splitlines() for f in FOLDER.glob("*.toml")}
    assert set(lines) == {"none", "outward", "hold"}
    for other in ("outward", "hold"):
        differ = [a for a, b in zip(lines["none"], lines[other], strict=True) if a != b and not a.startswith("#")]
        assert [d.partition(" =")[0] for d in differ] == ["name", "simulator"]
    specs = [read_study(f) for f in FOLDER.glob("*.toml")]
    assert {"leak", "listener", "variance", "coverage", "fluency"} <= set(specs[0].measure.gauges)
    assert {s.models.listener for s in specs} == {"smollm2"}


@pytest.mark.parametrize("name", ["none", "outward", "hold"])
def test_the_plan_knows_the_model_inside(name):
    lines = "\n".join(describe(read_study(FOLDER / f"{name}.toml"), base=FOLDER, folder=Path("x")))
    assert "(exact)" in lines
    assert "embedded model" in lines
    assert "placebo arms" not in lines

"""An imported axis on the scale of its model: the same z as the axis it was exported from, and no wrong sign."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from multitudes.axis import roles  # noqa: E402
from multitudes.axis.artifact import load_axis, save_axis  # noqa: E402
from multitudes.axis.build import find_axis  # noqa: E402
from multitudes.axis.calibrate import calibrate  # noqa: E402
from multitudes.axis.cap import cap_edit  # noqa: E402
from multitudes.axis.errors import AxisMismatch, SignError  # noqa: E402
from multitudes.axis.hold import own_directions  # noqa: E402
from multitudes.axis.importing import import_axis  # noqa: E402
from multitudes.axis.presets import PRESETS, preset  # noqa: E402
from multitudes.axis.scaling import scale_axis  # noqa: E402
from multitudes.axis.settings import SIZES  # noqa: E402
from multitudes.axis.steer import push_edit  # noqa: E402
from multitudes.cli.main import app  # noqa: E402
from multitudes.core.errors import Unsupported  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.tiny import tiny_model  # noqa: E402
from multitudes.report.axis_lines import axis_lines  # noqa: E402
from multitudes.report.axis_page import axis_page  # noqa: E402

SIZE = replace(preset("small"), max_tokens=12, min_count=1, method="generated")


def run(x):
    return asyncio.run(x)


@pytest.fixture(scope="module")
def native(tiny, little, tmp_path_factory):
    """Fitted to its own answers, on which the default lies above the roles by construction."""
    return run(find_axis(tiny, little, SIZE, tmp_path_factory.mktemp("native") / "parts"))


@pytest.fixture(scope="module")
def released(native, tmp_path_factory):
    """``native`` in the orientation of the released files: the axis as it is, cap vectors and thresholds negated."""
    folder = tmp_path_factory.mktemp("released")
    a, tau = torch.tensor(native.axis), native.tau["0.75"]
    torch.save(a, folder / "assistant_axis.pt")
    torch.save(-a, folder / "turned.pt")
    caps = {
        "vectors": {f"v{k}": {"vector": -a[k], "layer": k} for k in range(2)},
        "experiments": [{"id": "e", "interventions": [{"vector": f"v{k}", "cap": -float(tau[k])} for k in range(2)]}],
    }
    torch.save(caps, folder / "capping_config.pt")
    return folder


@pytest.fixture(scope="module")
def scaled(tiny, little, released, tmp_path_factory):
    imported = import_axis(released / "assistant_axis.pt", released / "capping_config.pt")
    return run(scale_axis(tiny, imported, little, SIZE, tmp_path_factory.mktemp("scaled") / "parts"))


def test_the_same_seeds_give_the_same_scale_as_the_fit(native, scaled):
    # rounding of the unit vector to float32 in between: 6e-8 of projections that are tens of gaps away from 0
    for name in ("mu_default", "mu_roles", "norm", "low_default"):
        assert getattr(scaled, name) == pytest.approx(getattr(native, name), abs=2e-4, rel=1e-5), name
    p = np.random.default_rng(0).normal(size=(20, 2, 48))
    assert scaled.z(scaled.project(p)) == pytest.approx(native.z(native.project(p)), abs=1e-3)
    assert set(scaled.tau) == {"0.5", "0.75", "0.9", "default_mean", "imported"}
    for name, tau in native.tau.items():
        assert scaled.tau[name] == pytest.approx(tau, abs=2e-4), name
    assert scaled.about["z_tau"]["imported"] == pytest.approx(scaled.about["z_tau"]["0.75"], abs=1e-3)
    assert scaled.about["z_tau"]["default_mean"] == pytest.approx(1, abs=1e-5)
    assert scaled.curves["gap"] == pytest.approx(native.curves["gap"], abs=2e-4)
    assert scaled.curves["separation"] == pytest.approx(native.curves["separation"], abs=1e-3)


def test_what_came_with_the_files_stays(scaled, released):
    imported = import_axis(released / "assistant_axis.pt", released / "capping_config.pt")
    assert (scaled.axis == imported.axis).all()
    assert (scaled.tau["imported"] == imported.tau["imported"]).all()
    assert (scaled.layer, scaled.window) == (imported.layer, imported.window)
    assert cap_edit(scaled).fingerprint == cap_edit(imported).fingerprint  # the imported cap is still the one used
    assert scaled.about["from"] == "assistant_axis.pt"
    assert scaled.method == "imported"


def test_provenance_says_imported_and_scaled_with_what(scaled, little, tmp_path):
    assert scaled.about["scaled"] == {
        "model": "fake:tiny", "preset": "small", "roles": 22, "role_set": "little", "role_set_hash": little.hash,
        "seed": 0, "answers": 22 * 4 + 3 * 4 * 2 + 2 * 4,
    }  # fmt: skip
    assert scaled.about["model"] == "fake:tiny"
    again = load_axis(save_axis(scaled, tmp_path / "axis"))
    assert again.about["scaled"] == scaled.about["scaled"]
    lines = "\n".join(axis_lines(again))
    assert "imported" in lines
    assert "scaled with the answers of fake:tiny in 22 roles" in lines
    assert "released files do not say" in lines
    page = axis_page(again)
    assert "scaled with the answers of fake:tiny in 22 roles" in page


def test_everything_that_needs_a_scale_works_on_it(tiny, little, scaled, released):
    push = push_edit(scaled, 0.1).layers[0].push
    assert np.linalg.norm(push) == pytest.approx(0.1 * scaled.norm[scaled.layer], rel=1e-4)
    own_directions(scaled, 1, np.arange(48.0))
    size = replace(
        SIZES["small"], roles=3, scripts=1, turns=1, max_tokens=8, sweep_tokens=256, sweep_items=1, check_tokens=256,
        check_items=1, quantiles=("0.75",), strengths=(),
    )  # fmt: skip
    prose = "".join(chr(97 + (7 * i * i + i) % 26) if i % 6 else " " for i in range(256 * 3))
    found = run(calibrate(tiny, scaled, size=size, everything=little, prose=prose))
    assert {p.setting.kind for p in found.controls} == {"orthogonal", "covariance", "additive"}


def test_an_axis_that_points_the_other_way_is_refused(tiny, little, released, scaled, tmp_path):
    wrong = import_axis(released / "turned.pt")
    with pytest.raises(SignError, match="role minus default") as error:
        run(scale_axis(tiny, wrong, little, SIZE, tmp_path / "a"))
    assert set(error.value.layers) == {wrong.layer, *wrong.window}
    right = import_axis(released / "turned.pt", role_minus_default=True)
    found = run(scale_axis(tiny, right, little, SIZE, tmp_path / "a"))  # goes on with what was collected
    assert found.mu_default == pytest.approx(scaled.mu_default, abs=1e-4)
    for name in ("0.5", "0.9"):  # nothing of the first direction is left in what was kept
        assert found.tau[name] == pytest.approx(scaled.tau[name], abs=1e-4)


def test_models_that_do_not_fit_are_refused_before_anything_is_asked(little, released, tmp_path):
    imported = import_axis(released / "assistant_axis.pt")
    with pytest.raises(Unsupported):
        run(scale_axis(load("fake:echo"), imported, little, SIZE, tmp_path / "a"))
    cut = replace(imported, axis=imported.axis[:1])
    with pytest.raises(AxisMismatch, match="another shape"):
        run(scale_axis(tiny_model(), cut, little, SIZE, tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_the_command_imports_scales_and_refuses(little, released, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", SIZE)
    monkeypatch.setattr(roles, "shipped", lambda: little)
    files = [str(released / "assistant_axis.pt"), "--caps", str(released / "capping_config.pt")]
    plain = CliRunner().invoke(app, ["axis", "import", *files, "--out", str(tmp_path / "plain")])
    assert plain.exit_code == 0, plain.output
    assert np.isnan(load_axis(tmp_path / "plain").mu_default).all()
    found = CliRunner().invoke(app, ["axis", "import", *files, "--out", str(tmp_path / "a"), "--model", "fake:tiny"])
    assert found.exit_code == 0, found.output
    assert "scaled with the answers of fake:tiny in 22 roles" in found.stdout
    assert np.isfinite(load_axis(tmp_path / "a").mu_default).all()
    assert (tmp_path / "a" / "axis.html").is_file()
    wrong = [str(released / "turned.pt"), "--out", str(tmp_path / "b"), "--model", "fake:tiny"]
    refused = CliRunner().invoke(app, ["axis", "import", *wrong])
    assert refused.exit_code != 0
    assert "positive side" in refused.stderr
    assert not (tmp_path / "b" / "axis.json").exists()

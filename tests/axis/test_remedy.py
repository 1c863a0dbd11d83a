"""Steered, capped and held models: ordinary chat models, each row under its own edit, in one batch."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.axis.artifact import save_axis  # noqa: E402
from multitudes.axis.cap import cap_edit, floor_edit  # noqa: E402
from multitudes.axis.errors import AxisMismatch, OrientationUnknown  # noqa: E402
from multitudes.axis.hold import hold_edit, own_directions, read_ranges  # noqa: E402
from multitudes.axis.importing import import_axis  # noqa: E402
from multitudes.axis.remedy import Edited, cap, hold, steer  # noqa: E402
from multitudes.axis.steer import push_edit  # noqa: E402
from multitudes.core.errors import ConfigError, DataFormatError, Unsupported  # noqa: E402
from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.edit import AlreadyAttached  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.tiny import tiny_model  # noqa: E402
from multitudes.models.wrappers.temperature import Temperature  # noqa: E402

ASK = Sampling(max_tokens=12)


def asked(system="You are a keeper of salt.", seed=1, **more):
    return Request((Message("system", system), Message("user", "What now?")), ASK, seed=seed, **more)


def run(x):
    return asyncio.run(x)


def test_off_floor_hold_and_steer_in_one_batch_equal_each_alone(tiny, tiny_axis):
    held = run(hold_edit(tiny, tiny_axis, "You keep bells.", seed=0, layers=[1])).edit
    edits = [None, cap_edit(tiny_axis, 0.9), held, push_edit(tiny_axis, -0.5)]
    together = run(tiny.reply([asked(edit=e, seed=i) for i, e in enumerate(edits)]))
    for i, (edit, reply) in enumerate(zip(edits, together, strict=True)):
        [alone] = run(tiny_model().reply([asked(edit=edit, seed=i)]))
        assert alone.token_ids == reply.token_ids
        assert alone.logprobs == pytest.approx(reply.logprobs, abs=1e-9)
    assert len({r.engine for r in together}) == 4


def test_pushes_move_the_projection_by_the_stated_fraction(tiny, tiny_axis):
    layer = tiny_axis.layer
    item = ScoreItem((Message("user", "a"),), "some words of an answer")
    [plain] = run(tiny.read([item], [layer]))
    [away] = run(steer(tiny, tiny_axis, -0.5).read([item], [layer]))
    v = tiny_axis.unit[layer]
    # after the last block nothing feeds back, so the shift is exactly c times the mean token length
    shift = (away[0] - plain[0]) @ v
    assert layer == 1
    assert shift == pytest.approx(np.full(len(shift), -0.5 * tiny_axis.norm[layer]), rel=1e-4)
    other = np.eye(48)[3]
    [sideways] = run(tiny.read([replace(item, edit=push_edit(tiny_axis, 0.25, direction=other))], [layer]))
    assert (sideways[0] - plain[0])[:, 3] == pytest.approx(
        np.full(len(shift), 0.25 * tiny_axis.norm[layer]), rel=1e-4
    )


def test_a_capped_model_is_a_chat_model_and_its_context_ends(tiny, tiny_axis):
    with cap(tiny, tiny_axis, "default_mean") as capped:
        [reply] = run(capped.reply([asked()]))
        [scored] = run(capped.score([ScoreItem(asked().messages, "a word")]))
        assert capped.info.taps
        assert capped.info.name.startswith("cap:")
        assert capped.info.fingerprint != tiny.info.fingerprint
        assert reply.internals.engaged
        assert scored.engine.startswith("cap+")
        [turns] = run(capped.read_turns([(*asked().messages, Message("assistant", "yes or no"))], tiny_axis.window))
        assert (tiny_axis.project(turns[0], tiny_axis.window) >= 0).shape == (2,)
    with pytest.raises(Unsupported, match="end"):
        run(capped.reply([asked()]))
    assert all(not b._forward_hooks for b in tiny.runner.base.layers)
    [after] = run(tiny.reply([asked(keep=False)]))
    [fresh] = run(tiny_model().reply([asked()]))
    assert after.token_ids == fresh.token_ids


def test_edits_nest_and_the_same_one_twice_is_refused(tiny, tiny_axis):
    warm = Temperature(cap(tiny, tiny_axis), 0.7)
    [reply] = run(warm.reply([asked()]))
    assert reply.fault is None
    inner = steer(tiny, tiny_axis, 0.2, layer=0)
    both = cap(inner, tiny_axis)
    [reply] = run(both.reply([asked()]))
    assert {0, 1} >= set(reply.internals.engaged)
    with pytest.raises(AlreadyAttached):
        cap(cap(tiny, tiny_axis), tiny_axis)
    with pytest.raises(Unsupported, match="taps"):
        Edited(load("fake:echo"), push_edit(tiny_axis, 0.1), "x")


def test_a_held_person_stays_in_its_own_range_and_each_has_one(tiny, tiny_axis):
    held = hold(tiny, tiny_axis, alpha=0.2)
    texts = ["You keep bells.", "You count stones by the river."]
    replies = run(held.reply([asked(t, seed=i) for i, t in enumerate(texts * 2)]))
    assert replies[0].engine != replies[1].engine
    assert replies[0].engine == replies[2].engine
    own = run(held.hold_of(texts[0]))
    ranges = own.ranges
    assert ranges.n_tokens >= 200
    assert ranges.directions.shape == (len(tiny_axis.window), 2, 48)
    low, high = np.quantile(ranges.projections, [0.2, 0.8], axis=0)
    item = ScoreItem(asked(texts[0]).messages, "words that were never said before")
    acts = run(held.read([item], tiny_axis.window))[0]
    p = np.einsum("knd,kmd->nkm", acts, ranges.directions)
    assert (p >= low - 1e-3).all()
    assert (p <= high + 1e-3).all()
    [plain] = run(held.reply([asked("", seed=3)]))
    assert plain.internals is None  # nobody is spoken for, nobody is held
    floor = ranges.edit(0.1, sides="own_floor")
    assert np.isinf(floor.layers[0].high).all()
    assert np.isinf(floor.layers[0].low[0])
    with pytest.raises(ConfigError, match="not a share"):
        ranges.edit(0.5)


def test_own_direction_is_orthogonal_to_the_axis(tiny, tiny_axis):
    ranges = run(read_ranges(tiny, tiny_axis, "You keep bells.", seed=0))
    for k, layer in enumerate(tiny_axis.window):
        v = own_directions(tiny_axis, layer, ranges.own_mean[k])
        assert v @ v.T == pytest.approx(np.eye(2), abs=1e-5)
        assert abs(v[0] @ tiny_axis.unit[layer]) == pytest.approx(1, abs=1e-5)


def test_named_remedies_load_and_name_their_errors(tiny_axis, tmp_path):
    folder = save_axis(replace(tiny_axis, about={**tiny_axis.about, "weights_sha256": None}), tmp_path / "ax")
    capped = load(f"cap:{folder}:fake:tiny")
    assert capped.info.name == f"cap:{folder}:fake:tiny"
    assert run(capped.reply([asked()]))[0].fault is None
    assert load(f"steer:-0.25:{folder}:fake:tiny").edit.name == "steer -0.25 at layer 1"
    assert load(f"hold:{folder}:fake:tiny").info.taps
    for name, what in (
        (f"cap:{folder}", "ends too early"),
        (f"steer:x:{folder}:fake:tiny", "not a strength"),
        (f"cap:{tmp_path / 'no'}:fake:tiny", "not an axis"),
        (f"cap:{folder}:fake:echo", "another shape"),
    ):
        with pytest.raises((ConfigError, DataFormatError), match=what):
            load(name)


def test_an_imported_ceiling_caps_in_the_right_direction(tiny, tiny_axis, tmp_path):
    """Released files: axis = default − roles, cap vectors the other way round with a negative ceiling."""
    a = torch.tensor(tiny_axis.axis)
    tau = [float(tiny_axis.tau["0.75"][k]) for k in range(2)]
    torch.save(a, tmp_path / "assistant_axis.pt")
    vectors = {f"v{k}": {"vector": -a[k], "layer": k} for k in range(2)}
    caps = {
        "vectors": vectors,
        "experiments": [{"id": "e", "interventions": [{"vector": f"v{k}", "cap": -tau[k]} for k in range(2)]}],
    }
    torch.save(caps, tmp_path / "capping_config.pt")
    imported = import_axis(tmp_path / "assistant_axis.pt", tmp_path / "capping_config.pt")
    assert imported.window == (0, 1)
    assert imported.tau["imported"] == pytest.approx(tau, rel=1e-6)
    ours = floor_edit(tiny_axis, tiny_axis.tau["0.75"], [0, 1])
    a1, b1 = run(tiny.reply([asked(edit=cap_edit(imported)), asked(edit=ours)]))
    assert a1.token_ids == b1.token_ids
    assert a1.logprobs == pytest.approx(b1.logprobs, abs=1e-6)
    torch.save(-a, tmp_path / "wrong.pt")  # an axis stored as roles minus default, and nobody says so
    with pytest.raises(OrientationUnknown, match="role-minus-default"):
        import_axis(tmp_path / "wrong.pt", tmp_path / "capping_config.pt")
    right = import_axis(tmp_path / "wrong.pt", tmp_path / "capping_config.pt", role_minus_default=True)
    assert right.tau["imported"] == pytest.approx(tau, rel=1e-6)
    with pytest.raises(ConfigError, match="no scale"):
        push_edit(imported, 0.1)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "assistant_axis.pt").read_bytes()[:200])
    with pytest.raises(DataFormatError, match="cannot be read"):
        import_axis(tmp_path / "cut.pt")
    torch.save({"x": 1}, tmp_path / "dict.pt")
    with pytest.raises(DataFormatError, match="not an axis file"):
        import_axis(tmp_path / "dict.pt")
    save_axis(imported, tmp_path / "imp")


def test_layers_and_strengths_out_of_range(tiny_axis):
    for bad in (lambda: push_edit(tiny_axis, 0.1, layer=2), lambda: floor_edit(tiny_axis, tiny_axis.tau["0.5"], [5])):
        with pytest.raises(ConfigError, match="layer"):
            bad()
    with pytest.raises(ConfigError, match="threshold"):
        cap_edit(tiny_axis, 0.6)
    with pytest.raises(ConfigError, match="not a strength"):
        push_edit(tiny_axis, float("nan"))
    with pytest.raises(ConfigError, match="not a direction"):
        push_edit(tiny_axis, 0.1, direction=np.zeros(48))
    with pytest.raises(AxisMismatch):
        tiny_axis.fits(_Other())


class _Other:
    n_layers, d_model = 3, 48

    @property
    def info(self):
        return load("fake:echo").info

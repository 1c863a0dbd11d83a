"""Streamed sums equal stored responses, add up in any order, and survive the disk or are refused."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from axis_data import accumulator, stored
from safetensors.numpy import load_file, save_file

from multitudes.axis.collected import (
    Collected,
    Control,
    control_mean,
    default_mean,
    merge,
    role_means,
    same_sums,
)
from multitudes.axis.errors import CollectionMismatch, DamagedSums, MixedMethods
from multitudes.axis.sums_file import load_collected, save_collected
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError


def test_streamed_means_are_the_means_of_stored_responses():
    s = stored()
    c = s.sums.collected()
    close = {"rtol": 1e-12, "atol": 1e-12}  # sums of at most 192 doubles of order 10
    np.testing.assert_allclose(role_means(c), s.x.mean(axis=1), **close)
    np.testing.assert_allclose(default_mean(c), s.default.mean(axis=0), **close)
    for h in (0, 1):
        np.testing.assert_allclose(role_means(c, half=h), s.x[:, s.half == h].mean(axis=1), **close)
        np.testing.assert_allclose(default_mean(c, half=h), s.default[s.half == h].mean(axis=0), **close)
        np.testing.assert_allclose(c.squares[h], (s.x[:, s.half == h] ** 2).sum(axis=(1, 3)), rtol=1e-12)
    np.testing.assert_allclose(c.question_sums, s.x[:, :, [0, 2]].sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(control_mean(c, "unfiltered"), s.x.mean(axis=(0, 1)), **close)
    np.testing.assert_allclose(c.default_norm, np.linalg.norm(s.default, axis=2).mean(axis=0), rtol=1e-12)
    assert (c.cell_n == 1).all()
    assert c.n.tolist() == [[4] * 24] * 2


def test_a_role_without_responses_has_no_mean_and_breaks_no_other():
    sums = accumulator(r=3)
    sums.add(1, 0, 0, np.ones((3, 16)))
    means = role_means(sums.collected())
    assert np.isnan(means[[0, 2]]).all()
    assert (means[1] == 1).all()
    assert np.isnan(default_mean(sums.collected())).all()
    assert np.isnan(sums.collected().default_norm).all()


def shards(s, r=24, parts=3) -> list[Collected]:
    """The responses of ``s`` folded into one accumulator per third of the roles, the default into the first."""
    found = []
    for part in range(parts):
        sums = accumulator(r)
        for i in range(part, r, parts):
            for j in range(s.x.shape[1]):
                sums.add(i, int(s.half[j]), j, s.x[i, j])
        if part == 0:
            for j, response in enumerate(s.default):
                sums.add(None, int(s.half[j]), j, response)
                sums.add_norms(np.linalg.norm(response, axis=1) * 5, tokens=5)
        for j in range(s.x.shape[1]):
            sums.add_control("placebo", s.x[part, j])
        found.append(sums.collected())
    return found


def test_parts_add_up_in_any_order_to_the_whole():
    s = stored()
    parts = shards(s)
    kept = [part.sums.copy() for part in parts]
    whole = replace(s.sums.collected(), controls={"placebo": Control(24, s.x[:3].sum(axis=(0, 1)))})
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        assert same_sums(merge(parts[i] for i in order), whole, rtol=1e-6)
    nested = merge([merge(parts[:2]), parts[2]])
    assert same_sums(nested, whole, rtol=1e-6)
    assert not same_sums(merge(parts[:2]), whole, rtol=1e-6)
    assert all(np.array_equal(a, part.sums) for a, part in zip(kept, parts, strict=True))  # arguments are not changed


def test_what_does_not_belong_together_is_not_added():
    c = stored().sums.collected()
    with pytest.raises(MixedMethods, match="never added") as refused:
        merge([c, replace(c, method="fixed_text")])
    assert refused.value.found == "fixed_text"
    with pytest.raises(CollectionMismatch, match="different roles") as refused:
        merge([c, replace(c, roles=("stranger", *c.roles[1:]))])
    assert "stranger" in refused.value.found
    assert "role-0" in refused.value.found
    for other in (
        replace(c, roles=c.roles[::-1]), replace(c, families=c.families[::-1]),
        replace(c, questions=c.questions[::-1]), replace(c, question_layers=np.array([0, 1])),
    ):  # fmt: skip
        with pytest.raises(CollectionMismatch, match="different"):
            merge([c, other])
    with pytest.raises(CollectionMismatch, match="different shape"):
        merge([c, accumulator(d=15).collected()])
    with pytest.raises(CollectionMismatch, match="no part"):
        merge([])
    with pytest.raises(CollectionMismatch, match="no control arm 'nobody'"):
        control_mean(c, "nobody")


def test_sums_that_do_not_fit_together_are_refused():
    c = stored().sums.collected()
    for changed in (
        {"n": c.n[:, :-1]}, {"sums": c.sums[0]}, {"squares": c.squares[..., :2]}, {"method": "mixed"},
        {"cell_n": 2 * c.cell_n}, {"controls": {"neutral": Control(1, np.zeros(3))}},
        {"sums": np.where(c.sums == c.sums.max(), np.nan, c.sums)}, {"default_sums": c.default_sums + np.inf},
    ):  # fmt: skip
        with pytest.raises(CollectionMismatch):
            replace(c, **changed)


def test_what_cannot_be_folded_in_is_refused_and_changes_nothing():
    sums, x = accumulator(), np.ones((3, 16))
    sums.add(0, 0, 0, x)
    before = sums.collected()
    with pytest.raises(NotFiniteError):
        sums.add(0, 0, 0, np.full((3, 16), np.nan))
    with pytest.raises(GaugeError, match="wrong shape"):
        sums.add(0, 0, 0, np.ones((3, 15)))
    for index in ((24, 0, 1), (0, 2, 1), (0, 0, 8), (-1, 0, 1)):
        with pytest.raises(CollectionMismatch, match="is not there"):
            sums.add(*index, x)
    with pytest.raises(CollectionMismatch, match="both halves"):
        sums.add(3, 1, 0, x)
    with pytest.raises(NotFiniteError):
        sums.add_norms(np.full(3, np.inf), tokens=1)
    assert same_sums(before, sums.collected())
    sums.add(0, 0, 0, x)
    assert not same_sums(before, sums.collected())  # and a copy does not grow with the accumulator
    with pytest.raises(CollectionMismatch, match="unique"):
        type(sums)(["a", "a"], [1, 1], ["q"], n_layers=1, width=1, question_layers=[], method="generated")
    with pytest.raises(CollectionMismatch, match="question layer"):
        type(sums)(["a"], [1], ["q"], n_layers=1, width=1, question_layers=[1], method="generated")


# --- disk -------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    c = stored().sums.collected()
    save_collected(c, tmp_path / "all.sums")
    assert same_sums(load_collected(tmp_path / "all.sums"), c)
    assert [p.name for p in tmp_path.iterdir()] == ["all.sums"]


def test_a_shard_writes_only_the_roles_it_has(tmp_path):
    sums = accumulator(r=200)
    sums.add(7, 0, 3, np.random.default_rng(0).normal(size=(3, 16)))
    save_collected(sums.collected(), tmp_path / "shard")
    assert load_file(tmp_path / "shard")["sums"].shape == (2, 1, 3, 16)
    assert same_sums(load_collected(tmp_path / "shard"), sums.collected())
    empty = accumulator().collected()
    save_collected(empty, tmp_path / "none")
    assert same_sums(load_collected(tmp_path / "none"), empty)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "cut"
    save_collected(stored().sums.collected(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(DamagedSums, match="not a whole file") as refused:
        load_collected(path)
    assert refused.value.where == str(path)
    assert "collect this part again" in refused.value.hint


def test_a_changed_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "sums"
    save_collected(stored().sums.collected(), path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedSums, match="not those that were written"):
        load_collected(path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(DamagedSums, match="not a whole file"):
        load_collected(path)
    with pytest.raises(DamagedSums, match="no such file"):
        load_collected(tmp_path / "nothing")


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path, c = tmp_path / "sums", stored().sums.collected()
    save_collected(c, path)

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save_collected(accumulator().collected(), path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["sums"]
    assert same_sums(load_collected(path), c)

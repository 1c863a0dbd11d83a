"""What the engine holds at one time: logits in pieces, one layer of what is read, one copy of the weights."""

import asyncio
import gc
import mmap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.local import batch, heap, reading, runner  # noqa: E402
from multitudes.models.local.open import open_local  # noqa: E402
from multitudes.models.local.tiny import byte_tokenizer, tiny_model, tiny_module  # noqa: E402

SAID = ("I am fine.", "So so.", "The sea is cold and the tram is late.", "Yes.")
TALKS = [
    (
        Message("system", "You are " + "so " * i + "calm."),
        Message("user", "Well? " * (5 - i)),
        Message("assistant", said),
    )
    for i, said in enumerate(SAID)
]
ITEMS = [ScoreItem(t[:2], text) for t in TALKS for text in (t[2].text, t[2].text[:3], "no")]
LOGIT_ROW = 258 * 8  # bytes: the tiny model's vocabulary in float64


def test_logits_come_in_pieces_and_change_no_number(monkeypatch):
    whole = asyncio.run(tiny_model().score(ITEMS))
    for rows in (1, 3, 7):
        monkeypatch.setattr(batch, "LOGIT_BYTES", rows * LOGIT_ROW + 5)
        model, sizes = tiny_model(), []
        inner = model.runner.logits
        model.runner.logits = lambda hidden, inner=inner, sizes=sizes: (sizes.append(len(hidden)), inner(hidden))[1]
        parts = asyncio.run(model.score(ITEMS))
        assert max(sizes) == rows
        assert [p.token_logp for p in parts] == [pytest.approx(w.token_logp, abs=1e-12) for w in whole]
    monkeypatch.setattr(batch, "LOGIT_BYTES", 1)  # less than one row holds: one at a time
    assert len(asyncio.run(tiny_model().score(ITEMS[:1]))) == 1


def test_followed_tokens_are_told_in_pieces_too(monkeypatch):
    from multitudes.models.base import Bare

    items = [Bare(tuple(range(2, 2 + n)), start) for n, start in ((9, 1), (20, 12), (20, 3))]
    whole = asyncio.run(tiny_model().follow(items))
    monkeypatch.setattr(batch, "LOGIT_BYTES", 4 * LOGIT_ROW)
    parts = asyncio.run(tiny_model().follow(items))
    assert [len(p.token_logp) for p in parts] == [8, 8, 17]
    assert [p.token_logp for p in parts] == [pytest.approx(w.token_logp, abs=1e-12) for w in whole]


def test_of_what_is_read_nothing_stays_but_what_is_wanted(monkeypatch):
    seen = []
    inner = reading._note

    def note(kept, keep, layer, h):
        inner(kept, keep, layer, h)
        seen.append((h, kept[layer]))

    monkeypatch.setattr(reading, "_note", note)
    model = tiny_model(dtype=torch.float32)
    layers = range(2)
    asyncio.run(model.read_turns(TALKS, layers))
    asyncio.run(model.read(ITEMS, layers))
    assert len(seen) == 4  # two passes of two layers
    for h, kept in seen:
        for part in (t for row in kept for t in row):
            assert part.untyped_storage().data_ptr() != h.untyped_storage().data_ptr()
            assert part.untyped_storage().nbytes() == part.numel() * 4  # no view of something larger


def test_a_pass_that_is_not_gone_on_with_has_room_for_one_layer():
    model = tiny_model()
    asyncio.run(model.read_turns(TALKS, [0]))
    longest = max(len(model.template.turn_ids(t)[0]) for t in TALKS)
    one_layer = 2 * len(TALKS) * model.runner.kv_heads * longest * model.runner.d_head
    assert model.batcher._workspace.numel() <= 1.1 * one_layer
    model = tiny_model()
    cache = model.batcher.empty_slots(3, 5, one_pass=True)
    assert cache.kv.shape == model.batcher.empty_slots(3, 5).kv.shape
    cache.kv[0, 1, 2] = 7.0
    assert (cache.kv[1, 1, 2] == 7).all()


def test_the_old_room_goes_before_the_new_one_comes(monkeypatch):
    model = tiny_model()
    model.batcher.empty_slots(2, 10)
    room, at_that_time = torch.zeros, []

    def zeros(*args, **options):
        at_that_time.append(model.batcher._workspace.numel())
        return room(*args, **options)

    monkeypatch.setattr(batch.torch, "zeros", zeros)
    model.batcher.empty_slots(4, 30)
    assert at_that_time == [0]


@pytest.mark.parametrize("keep", [False, True])
def test_a_side_branch_holds_no_second_copy_while_it_is_written(monkeypatch, keep):
    held = []
    inner = batch._Decoding._forward

    def forward(self, step):
        held.extend(g.row.entry is not None for g in self.live)
        return inner(self, step)

    monkeypatch.setattr(batch._Decoding, "_forward", forward)
    model = tiny_model()
    asyncio.run(model.reply([Request(t[:2], Sampling(temperature=0, max_tokens=4), keep=keep) for t in TALKS]))
    assert held
    assert set(held) == {keep}


def test_after_a_large_pass_and_no_other_freed_memory_is_given_back(monkeypatch):
    given = []
    monkeypatch.setattr(runner, "give_back", lambda: given.append(1))
    model = tiny_model()
    asyncio.run(model.read_turns(TALKS, [0]))
    assert given == []
    monkeypatch.setattr(runner, "LARGE_PASS", 100)
    asyncio.run(model.read_turns(TALKS, [0]))
    assert given == [1]
    asyncio.run(model.reply([Request(TALKS[0][:2], Sampling(temperature=0, max_tokens=9))]))
    assert given == [1]  # a step of decoding is not large


def test_what_a_thread_has_freed_goes_back_to_the_system():
    """Every other one of 400 blocks of 100 kB is freed: holes that no heap can shrink over."""
    if not Path("/proc/self/statm").is_file() or heap._trimmer().__name__ == "<lambda>":
        pytest.skip("needs Linux and glibc")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    blocks = [bytearray(b"x" * 100_000) for _ in range(400)]
    del blocks[::2]
    before = resident()
    heap.give_back()
    assert before - resident() > 10_000_000


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _name: object())
    heap._trimmer.cache_clear()
    heap.give_back()
    heap._trimmer.cache_clear()


def test_a_packed_model_lets_go_of_its_file(tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("needs /proc")
    tiny_module(dtype=torch.float32).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = open_local(tmp_path, name="small")
    gc.collect()
    assert str(tmp_path) not in maps.read_text()
    request = Request(TALKS[0][:2], Sampling(temperature=0, max_tokens=4))
    reply, plain = (asyncio.run(m.reply([request]))[0] for m in (model, tiny_model(dtype=torch.float32)))
    assert reply.token_ids == plain.token_ids

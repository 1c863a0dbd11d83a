"""Editing and watching the residual stream, against plain transformers with hooks written by hand."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from multitudes.core.errors import ConfigError, Unsupported  # noqa: E402
from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.edit import (  # noqa: E402
    AlreadyAttached,
    DegenerateDirections,
    Edit,
    LayerEdit,
    combined,
    orthonormal,
)
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.editing import Plan, RowMapError  # noqa: E402
from multitudes.models.local.runner import HOLE, MASK_BY_LAYER, SINGLE_MASK  # noqa: E402
from multitudes.models.local.tiny import CHATML, TURNS, tiny_model, tiny_module  # noqa: E402

FAMILIES = sorted(SINGLE_MASK | MASK_BY_LAYER)
D = 48
INF = np.array([np.inf], np.float32)
SAMPLED = Sampling(temperature=1, max_tokens=14)


def direction(seed, n=1):
    return orthonormal(np.random.default_rng(seed).standard_normal((n, D)))


def floor(v, tau, layer=0, **options):
    return Edit(
        "floor",
        (LayerEdit(layer, v, np.full(len(v), tau, np.float32), np.full(len(v), np.inf, np.float32)),),
        **options,
    )


def hold(layer=1):
    v = direction(5, 2)
    return Edit("hold", (LayerEdit(layer, v, np.array([-0.2, 0.1], np.float32), np.array([0.3, 0.4], np.float32)),))


def push(layer=0, size=2.0):
    none = np.zeros((0, D), np.float32)
    return Edit(
        "push", (LayerEdit(layer, none, none[:, 0], none[:, 0], (size * direction(9)[0]).astype(np.float32)),)
    )


def naive_hooks(module, edit, blocks):
    """The edit, token by token, in the plainest words; positions are columns because nothing is padded here."""

    def hook_of(e):
        def hook(_module, _args, output):
            h = output[0] if isinstance(output, tuple) else output
            h = h.clone()
            for i in range(edit.protect_first, h.shape[1]):
                x = h[0, i].double()
                if e.push is not None:
                    x = x + torch.tensor(e.push, dtype=torch.float64)
                for v, low, high in zip(e.directions, e.low, e.high, strict=True):
                    w = torch.tensor(v, dtype=torch.float64)
                    p = float(x @ w)
                    x = x + (min(max(p, float(low)), float(high)) - p) * w
                h[0, i] = x.to(h.dtype)
            return (h, *output[1:]) if isinstance(output, tuple) else h

        return hook

    return [blocks[e.layer].register_forward_hook(hook_of(e)) for e in edit.layers]


def naive_logits(module, ids, edit):
    blocks = getattr(module, module.base_model_prefix).layers
    handles = [] if edit is None else naive_hooks(module, edit, blocks)
    try:
        with torch.inference_mode():
            return module(torch.tensor([ids])).logits[0]
    finally:
        for handle in handles:
            handle.remove()


def requests(edits, watch=()):
    texts = ["hi", "a much longer first message than the others, so that rows are padded", "mid length", "x"]
    return [
        Request((Message("user", texts[i % 4]),), SAMPLED, seed=100 + i, edit=edit, watch=watch)
        for i, edit in enumerate(edits)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_mixed_rows_equals_plain_recomputation_of_each(family):
    template = TURNS if family.startswith("gemma") else CHATML
    model, module = tiny_model(family, template=template), tiny_module(family)
    edits = [None, floor(direction(1), 0.4), hold(), push(), floor(direction(2, 2), -0.1, layer=1), None]
    replies = asyncio.run(model.reply(requests(edits)))
    for request, reply in zip(requests(edits), replies, strict=True):
        context = model.template.context_ids(request.messages)[0]
        ids = [*context, *reply.token_ids]
        logp = torch.log_softmax(naive_logits(module, ids, request.edit), dim=-1)
        want = [float(logp[len(context) + k - 1, t]) for k, t in enumerate(reply.token_ids)]
        assert reply.logprobs == pytest.approx(want, abs=2e-6)  # bounds and attention scores travel as float32
        item = ScoreItem(request.messages, reply.text, include_end=False, edit=request.edit)
        [scored] = asyncio.run(model.score([item]))
        ids = [*context, *model.template.continuation_ids(reply.text, include_end=False)]
        logp = torch.log_softmax(naive_logits(module, ids, request.edit), dim=-1)
        want = [float(logp[k - 1, ids[k]]) for k in range(len(context), len(ids))]
        assert scored.token_logp == pytest.approx(want, abs=2e-6)
    assert all(not b._forward_hooks for b in model.runner.base.layers)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt_neox"])
def test_reading_while_writing_equals_reading_afterwards(family):
    template = TURNS if family.startswith("gemma") else CHATML
    model = tiny_model(family, template=template)
    edits = [None, floor(direction(1), 0.4), hold(), None]
    asked = requests(edits, watch=(0, 1))
    replies = asyncio.run(model.reply(asked))
    for request, reply in zip(asked, replies, strict=True):
        assert reply.internals.n_tokens == len(reply.token_ids) - 1
        talk = (*request.messages, Message("assistant", reply.text))
        [turns] = asyncio.run(model.read_turns([talk], (0, 1), edit=request.edit))
        assert turns.shape == (1, 2, D)
        assert reply.internals.means == pytest.approx(turns[0], abs=2e-6)


def test_a_floor_holds_and_its_engagement_is_counted():
    model = tiny_model()
    v = direction(1)
    free, *_ = asyncio.run(model.reply(requests([None], watch=(0,))))
    context = model.template.context_ids(requests([None])[0].messages)[0]
    item = ScoreItem(requests([None])[0].messages, free.text, include_end=False)
    [acts] = asyncio.run(model.read([item], [0]))
    tau = float(np.median(acts[0] @ v[0]))
    capped, *_ = asyncio.run(model.reply(requests([floor(v, tau)], watch=(0,))))
    [held] = asyncio.run(model.read([replace(item, continuation=capped.text, edit=floor(v, tau))], [0]))
    assert (held[0] @ v[0]).min() >= tau - 1e-4
    plan = Plan(model.runner, [floor(v, tau)], watch=())
    ids = [*context, *capped.token_ids[:-1]]
    positions = torch.arange(len(ids))[None]
    with torch.inference_mode():
        model.runner.hidden(
            torch.tensor([ids]), positions, model.batcher.empty_slots(1, len(ids)),
            around=plan.attached(positions, count=True),
        )  # fmt: skip
    assert 0 < int(plan.engaged[0, 0]) < len(ids)
    assert 0 < capped.internals.engaged[0] <= 1
    assert capped.internals.moved > 0


def test_what_was_computed_under_one_edit_is_never_used_under_another():
    edit = floor(direction(1), 0.6)
    long = Message("user", "a message that is long enough to be kept block by block in the cache of prefixes")
    plain = Request((long,), SAMPLED, seed=1)
    edited = replace(plain, edit=edit)
    fresh = [asyncio.run(tiny_model().reply([r]))[0] for r in (plain, edited, plain)]
    shared = tiny_model()
    mixed = [asyncio.run(shared.reply([r]))[0] for r in (plain, edited, plain, edited)]
    assert fresh[0].logprobs != fresh[1].logprobs
    for a, b in zip([*fresh, fresh[1]], mixed, strict=True):
        assert a.token_ids == b.token_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-12)
    assert mixed[2].usage.cached > 0
    assert mixed[3].usage.cached > 0
    assert mixed[1].usage.cached == 0
    together = asyncio.run(tiny_model().reply([plain, edited, plain, edited]))
    assert [r.token_ids for r in together] == [r.token_ids for r in mixed]
    assert together[0].engine != together[1].engine


def test_clamp_is_idempotent_and_a_floor_is_the_ceiling_of_the_opposite_direction():
    model = tiny_model()
    v = direction(1)
    ceiling = Edit("ceiling", (LayerEdit(0, -v, -INF, np.array([-0.4], np.float32)),))
    a, b = asyncio.run(model.reply([replace(requests([None])[0], edit=e) for e in (floor(v, 0.4), ceiling)]))
    assert a.token_ids == b.token_ids
    assert a.logprobs == pytest.approx(b.logprobs, abs=1e-9)
    h = torch.randn(1, 5, D, dtype=torch.float64)
    plan = Plan(model.runner, [hold(layer=0)])
    block = torch.nn.Identity()
    plan.blocks = [block]
    positions = torch.tensor([[HOLE, 0, 1, 2, 3]])
    with plan.attached(positions, count=False):
        once = block(h.clone())
        twice = block(once.clone())
    assert torch.equal(once[0, :2], h[0, :2])  # padding and the first position are left alone
    assert not torch.equal(once[0, 2], h[0, 2])
    assert torch.allclose(once, twice, atol=1e-6)
    p = once[0, 2:] @ torch.tensor(direction(5, 2), dtype=torch.float64).T
    assert bool((p >= torch.tensor([-0.2, 0.1]) - 1e-6).all())
    assert bool((p <= torch.tensor([0.3, 0.4]) + 1e-6).all())


def test_bfloat16_writes_stay_close_to_the_floor():
    model = tiny_model(dtype=torch.bfloat16)
    v, tau = direction(1), 0.4
    plan = Plan(model.runner, [floor(v, tau)])
    block = torch.nn.Identity()
    plan.blocks = [block]
    h = torch.randn(1, 400, D, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    with plan.attached(torch.arange(400)[None], count=False):
        out = block(h)
    p = (out[0, 1:].float() @ torch.tensor(v[0])).numpy()
    assert out.dtype == torch.bfloat16
    scale = float(out.float().norm(dim=-1).mean())
    assert p.min() >= tau - 0.1 * scale / 100 * 10  # one rounding of each of 48 numbers
    assert np.mean(p >= tau - 0.02) > 0.95


def test_hooks_are_gone_after_an_exception_and_layers_are_checked():
    model = tiny_model()
    before = asyncio.run(model.score([ScoreItem((Message("user", "q"),), "answer")]))
    plan = Plan(model.runner, [floor(direction(1), 0.1)], watch=(1,))
    attached = plan.attached(torch.arange(3)[None], count=True)
    attached.__enter__()
    assert sum(len(b._forward_hooks) for b in model.runner.base.layers) == 2
    assert attached.__exit__(ZeroDivisionError, ZeroDivisionError(), None) is not True
    assert all(not b._forward_hooks for b in model.runner.base.layers)
    assert asyncio.run(model.score([ScoreItem((Message("user", "q"),), "answer")])) == before
    for bad in (
        lambda: Plan(model.runner, [floor(direction(1), 0.1, layer=2)]),
        lambda: Plan(model.runner, [None], watch=(-1,)),
    ):
        with pytest.raises(ConfigError, match="no such layer"):
            bad()
    narrow = Edit("other", (LayerEdit(0, np.eye(1, 8, dtype=np.float32), -INF, INF),))
    with pytest.raises(ConfigError, match="another model"):
        Plan(model.runner, [narrow])
    with pytest.raises(RowMapError), plan.attached(torch.zeros((2, 3), dtype=torch.long), count=False):
        pass
    with pytest.raises(RowMapError):
        plan.first_rows(2)


def test_rows_that_move_take_their_bounds_and_sums_with_them():
    """Rows end at different steps, so the batch is compacted; every row must still equal itself alone."""
    edits = [None, floor(direction(1), 0.4), hold(), push(), floor(direction(3), 0.2), hold(), None, push()]
    asked = [
        replace(r, watch=(0, 1), sampling=Sampling(max_tokens=3 + 5 * (i % 4))) for i, r in enumerate(requests(edits))
    ]
    together = asyncio.run(tiny_model().reply(asked))
    for request, reply in zip(asked, together, strict=True):
        [alone] = asyncio.run(tiny_model().reply([request]))
        assert alone.token_ids == reply.token_ids
        assert alone.internals.means == pytest.approx(reply.internals.means, abs=1e-6, nan_ok=True)
        assert alone.internals.n_tokens == reply.internals.n_tokens
        if request.edit is not None:
            layer = request.edit.layers[0].layer
            assert alone.internals.engaged[layer] == reply.internals.engaged[layer]


def test_edits_combine_in_order_and_bad_ones_are_refused():
    one, two = floor(direction(1), 0.1), push()
    both = combined(one, two)
    assert [e.layer for e in both.layers] == [0]
    assert both.layers[0].push is not None
    assert len(both.layers[0].directions) == 1
    assert both.fingerprint not in (one.fingerprint, two.fingerprint)
    assert combined(None, one) is one
    with pytest.raises(AlreadyAttached):
        combined(one, floor(direction(1), 0.1))
    with pytest.raises(DegenerateDirections, match="cosine"):
        orthonormal([direction(1)[0], direction(1)[0] + 0.01 * direction(2)[0]])
    with pytest.raises(ConfigError, match="not a range"):
        LayerEdit(0, direction(1), np.array([np.nan], np.float32), INF)
    with pytest.raises(ConfigError, match="not orthonormal"):
        LayerEdit(0, 2 * direction(1), -INF, INF)
    with pytest.raises(Unsupported, match="taps"):
        asyncio.run(load("fake:echo").reply([Request((Message("user", "x"),), edit=one)]))
    with pytest.raises(Unsupported, match="taps"):
        asyncio.run(load("fake:echo").reply([Request((Message("user", "x"),), watch=(1,))]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_without_an_edit_leave_the_hook_bit_equal(dtype):
    model = tiny_model(dtype=dtype)
    plan = Plan(model.runner, [None, hold(layer=0), None, push()])
    block = torch.nn.Identity()
    plan.blocks = [block]
    h = torch.randn(4, 6, D, generator=torch.Generator().manual_seed(2)).to(dtype)
    with plan.attached(torch.arange(6).repeat(4, 1), count=True):
        out = block(h.clone())
    for row in (0, 2):
        assert torch.equal(out[row], h[row])
        assert plan.moved[row] == 0
    assert not torch.equal(out[1], h[1])
    assert not torch.equal(out[3], h[3])
    assert torch.equal(out[3, 0], h[3, 0])

"""The engine on the embedded model: the same greedy tokens as transformers, seeded draws apart from neighbours."""

import asyncio

import pytest

torch = pytest.importorskip("torch")

from multitudes.core.records import Turn  # noqa: E402
from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.simulate.views import view  # noqa: E402

pytestmark = pytest.mark.weights

PEOPLE = ("a nurse from Porto", "a retired sailor who likes tea", "a law student", "a roofer from Graz with two dogs")


@pytest.fixture(scope="module")
def model():
    return load("smollm2")


@pytest.fixture(scope="module")
def plain():
    from transformers import AutoModelForCausalLM

    from multitudes.models.local.embedded import require

    return AutoModelForCausalLM.from_pretrained(str(require("smollm2")), dtype=torch.float32).eval()


def test_greedy_tokens_equal_generate_over_a_conversation(model, plain):
    talks = [[] for _ in PEOPLE]
    for message in range(3):
        side = "user" if message % 2 == 0 else "target"
        requests = [
            Request(view(turns, side, system=f"You are {who}."), Sampling(temperature=0, max_tokens=12))
            for turns, who in zip(talks, PEOPLE, strict=True)
        ]
        contexts = [model.template.context_ids(r.messages)[0] for r in requests]
        replies = asyncio.run(model.reply(requests))
        for turns, context, reply in zip(talks, contexts, replies, strict=True):
            with torch.inference_mode():
                out = plain.generate(
                    input_ids=torch.tensor([context]), attention_mask=torch.ones(1, len(context), dtype=torch.long),
                    do_sample=False, max_new_tokens=12, pad_token_id=2,
                )  # fmt: skip
            assert list(reply.token_ids) == out[0, len(context) :].tolist()
            turns.append(Turn(speaker=side, text=reply.text))
    assert replies[0].usage.cached > 20


def test_a_seeded_draw_is_the_same_alone_and_in_a_batch_and_differs_by_seed(model):
    sampling = Sampling(temperature=0.9, top_p=0.95, max_tokens=12)
    requests = [
        Request((Message("system", f"You are {who}."), Message("user", "Tell me about your day.")), sampling, seed=i)
        for i, who in enumerate(PEOPLE)
    ]
    together = asyncio.run(model.reply(requests))
    model.batcher.prefixes.clear()
    alone = asyncio.run(model.reply([requests[2]]))[0]
    assert alone.token_ids == together[2].token_ids
    assert alone.near_ties == 0  # else this comparison would be a matter of luck
    other = asyncio.run(model.reply([Request(requests[2].messages, sampling, seed=99)]))[0]
    assert other.token_ids != alone.token_ids
    assert all(r.seed_status == "honoured" for r in together)


def test_score_equals_a_direct_forward_pass(model, plain):
    context = (Message("system", "You are a nurse from Porto."), Message("user", "What do you do?"))
    texts = ("I am a nurse.", "I am a roofer.", "A", "I am a nurse")
    items = [ScoreItem(context, text) for text in texts]
    scored = asyncio.run(model.score(items))
    with torch.inference_mode():
        for item, got in zip(items, scored, strict=True):
            ids, n, _ = model._plan(item)
            logp = torch.log_softmax(plain(torch.tensor([ids])).logits[0], dim=-1)
            assert got.token_logp == pytest.approx([float(logp[p - 1, ids[p]]) for p in range(n, len(ids))], abs=2e-4)
    assert scored[0].total > scored[1].total


def test_a_tap_reads_and_leaves_no_trace(model):
    item = ScoreItem((Message("system", "You are a nurse."), Message("user", "Hello.")), "Good morning.")
    before = asyncio.run(model.score([item]))[0].token_logp
    (acts,) = asyncio.run(model.read([item], [0, 15, 29]))
    assert acts.shape == (3, len(before), 576)
    assert asyncio.run(model.score([item]))[0].token_logp == pytest.approx(before, abs=1e-5)
    assert not any(block._forward_hooks for block in model.runner.base.layers)

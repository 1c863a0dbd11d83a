"""What one request, row or caller must not do to the others, and what must not be lost or counted twice."""

import asyncio
import random

import pytest

torch = pytest.importorskip("torch")

from multitudes.core.errors import ConfigError, ModelError, Unsupported, UnsupportedModel  # noqa: E402
from multitudes.models.base import Message, Request, Sampling, ScoreItem  # noqa: E402
from multitudes.models.local import batch  # noqa: E402
from multitudes.models.local.template import ChatTemplate  # noqa: E402
from multitudes.models.local.tiny import CHATML, byte_tokenizer, tiny_model  # noqa: E402

GREEDY = Sampling(temperature=0, max_tokens=6)
PERSONA = Message("system", "You are Ann, a baker of forty who likes long walks, strong tea and short answers.")


def ask(text="Hello.", *, persona=PERSONA, **options):
    return Request((persona, Message("user", text)), GREEDY, **options)


def reply(model, *requests):
    return asyncio.run(model.reply(requests))


# --- reuse --------------------------------------------------------------------------------------------------


def test_a_side_branch_leaves_the_conversation_its_cache():
    model = tiny_model()
    first = reply(model, ask())[0]
    said = (PERSONA, Message("user", "Hello."), Message("assistant", first.text), Message("user", "And then?"))
    reply(model, Request((*said[:3], Message("user", "An aside.")), GREEDY, keep=False))
    asyncio.run(model.score([ScoreItem(said, "yes"), ScoreItem(said, "no")]))
    assert reply(model, Request(said, GREEDY))[0].usage.cached > 100


def test_what_two_conversations_share_outlives_either():
    model = tiny_model()
    reply(model, ask("One."), ask("Two."), ask("Three."))
    entries = model.batcher.prefixes
    for entry in list(entries._entries.values())[1:]:
        entries.discard(entry)
    assert reply(model, ask("Four."))[0].usage.cached > 80
    reply(model, ask("Four."), ask("Four."), ask("Four."))
    held = [e.ids.tolist() for e in entries._entries.values()]
    assert len(held) == len({tuple(h) for h in held})  # the same sequence is never held twice


def test_cached_tokens_are_those_that_nobody_computed_in_this_batch():
    model = tiny_model()
    replies = reply(model, ask("One."), ask("Two."), ask("Three."))
    computed = sum(r.usage.prompt - r.usage.cached for r in replies)
    assert computed == model.batcher.prefill_tokens
    assert sum(r.usage.cached > 80 for r in replies) == 2


def test_a_long_row_is_fed_in_pieces_and_says_the_same(monkeypatch):
    texts = " ".join(random.Random(3).choices("sea bank letter money cold tram".split(), k=120))
    whole = reply(tiny_model(), ask(texts))[0]
    monkeypatch.setattr(batch, "PREFILL_TOKENS", 64)
    model, widths = tiny_model(), []
    inner = model.runner.hidden
    model.runner.hidden = lambda ids, *rest, **more: (widths.append(ids.shape[1]), inner(ids, *rest, **more))[1]
    assert reply(model, ask(texts))[0].token_ids == whole.token_ids
    assert max(widths) <= 64


# --- one bad row --------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_stay_in_their_row_and_batch():
    model, sound = tiny_model(), tiny_model()
    inner, poison = model.runner.hidden, [False]

    def hidden(ids, positions, cache, **options):
        out = inner(ids, positions, cache, **options)
        if poison[0]:
            cache.kv.fill_(float("nan"))
            out.fill_(float("nan"))
        return out

    model.runner.hidden = hidden
    reply(model, *[ask(f"{i}" * 90) for i in range(8)])  # makes the memory large enough for all that follows
    model.batcher.prefixes.clear()
    poison[0] = True
    broken = reply(model, *[ask(f"{i}" * 90) for i in range(8)])
    assert {r.fault.code for r in broken} == {"non_finite"}
    poison[0] = False
    ragged = [ask("y" * n, persona=Message("system", f"You are {n}.")) for n in (1, 3, 40, 9)]
    again = reply(model, *ragged, ask("x" * 40))
    assert [r.fault for r in again] == [None] * 5
    assert [r.token_ids for r in again] == [r.token_ids for r in reply(sound, *ragged, ask("x" * 40))]


def test_one_request_that_cannot_be_written_as_tokens_is_a_fault_of_its_own():
    model = tiny_model()
    bad, good, high = reply(model, ask("a \ud800 b"), ask("fine"), ask("fine", seed=2**80))
    assert bad.fault.code == "refused"
    assert good.fault is None
    assert high.fault is None


def test_what_cannot_be_scored_names_its_index():
    model = tiny_model()
    fine = ScoreItem((PERSONA, Message("user", "Well?")), "yes")
    long = ScoreItem((PERSONA, Message("user", "x" * 3000)), "yes")
    with pytest.raises(ConfigError, match=r"items\[1\]: does not fit"):
        asyncio.run(model.score([fine, long]))
    with pytest.raises(ConfigError, match=r"items\[0\]: cannot be written"):
        asyncio.run(model.score([ScoreItem(fine.context, "\ud800")]))


# --- callers ------------------------------------------------------------------------------------------------


def test_two_loops_at_one_time_share_one_engine():
    from concurrent.futures import ThreadPoolExecutor

    model = tiny_model()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(lambda i=i: reply(model, ask(f"Caller {i}."))[0]) for i in range(2)]
        assert all(f.result(timeout=20).fault is None for f in futures)


def test_a_closed_engine_says_so():
    model = tiny_model()
    reply(model, ask())
    asyncio.run(model.aclose())
    with pytest.raises(ModelError, match="closed"):
        reply(model, ask())


def test_what_the_engine_cannot_do_is_refused_before_any_work():
    with pytest.raises(Unsupported, match="json_schema"):
        reply(tiny_model(), ask(schema={"type": "object"}))
    with pytest.raises(ConfigError, match="batch_size"):
        tiny_model(batch_size=0)


# --- templates ----------------------------------------------------------------------------------------------

FOLDS = (  # the system text opens the first user turn, as in Gemma 3
    "{% set first = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n"
    "{{ (first if loop.first else '') + m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MOVES = (  # the system text goes to the last user turn, as in Mistral 0.3
    "{% set s = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}\n"
    "{% if loop.last and s %}{{ s }}\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NEEDS_USER = (  # refuses a conversation without a user
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}"
    "{{ raise_exception('no user query') }}{% endif %}" + CHATML
)
SPACE_BEFORE_END = CHATML.replace("<|im_end|>", " <|im_end|>")


@pytest.mark.parametrize(
    "template", [FOLDS, MOVES, NEEDS_USER, SPACE_BEFORE_END], ids="folds moves needs space".split()
)
def test_templates_with_habits_of_their_own_work(template):
    model = tiny_model(template=template)
    end = model.template._controls.token_to_id("<|im_end|>")
    assert model.template.end_ids == {end}
    talks = [Message("system", "SYS"), Message("user", "U1"), Message("assistant", "A1"), Message("user", "U2")]
    ids, _ = model.template.context_ids(talks)
    text = model.template._controls.decode(ids, skip_special_tokens=False)
    assert [text.index(t) for t in ("SYS", "U1", "A1", "U2")] == sorted(
        text.index(t) for t in ("SYS", "U1", "A1", "U2")
    )
    assert text.count("SYS") == 1
    assert text.endswith("<|im_start|>assistant\n")
    for messages in (talks[:1], talks[:2], [talks[0], talks[2], talks[3]], [talks[1], talks[1]]):
        assert reply(model, Request(tuple(messages), GREEDY))[0].fault is None
    assert asyncio.run(model.score([ScoreItem(tuple(talks), "yes")]))[0].token_logp


def test_a_template_that_shows_no_messages_is_refused():
    with pytest.raises(UnsupportedModel, match="taken apart"):
        ChatTemplate(byte_tokenizer("hello"), end_ids=[1])


def test_tokenizers_that_cut_or_know_thought_tags_do_neither_to_messages():
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(8)
    tokenizer.add_tokens(["<think>"])
    template = ChatTemplate(tokenizer, end_ids=[1])
    ids = template._encode_plain("0123456789<think>abcdef")
    assert template._controls.decode(list(ids)) == "0123456789<think>abcdef"
    assert tokenizer.convert_tokens_to_ids("<think>") not in ids

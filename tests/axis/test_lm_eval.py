"""Multiple choice against lm-eval on the shipped 200 items, and our models as models of lm-eval.

lm-eval's choices are stored (``golden_lm_eval.py``), so that they are compared everywhere; where it is installed
(extra ``oracles``) they are made again, and its log-likelihoods are compared too.
"""

import asyncio
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from golden_lm_eval import SMOLLM2, TINY, choices_of_numbers, lm_eval_numbers, tiny_lm  # noqa: E402

from multitudes.axis.cap import cap_edit  # noqa: E402
from multitudes.axis.capability import material_of, measured  # noqa: E402
from multitudes.axis.capability_items import shipped_items, shipped_prose  # noqa: E402
from multitudes.axis.harness import harness  # noqa: E402
from multitudes.axis.remedy import Edited  # noqa: E402
from multitudes.core.errors import MissingExtra, Unsupported  # noqa: E402
from multitudes.models.base import Bare, Message, Request, Sampling  # noqa: E402
from multitudes.models.load import load  # noqa: E402
from multitudes.models.local.tiny import tiny_module  # noqa: E402

ITEMS = shipped_items()
WHY = "lm-eval is not installed: pip install 'multitudes[oracles]'"


def run(x):
    return asyncio.run(x)


def ours(model, items, edit=None):
    """Σ log p of the choices of each item, as a capability check reads them."""
    [found] = run(measured(model, [edit], material_of(model.template, items, shipped_prose(), tokens=1)))
    return list(found.choice_logp)


def apart(first, second):
    """Items on which two strings of choices differ."""
    return [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]


def test_the_choices_of_the_tiny_model_are_those_that_lm_eval_takes(tiny):
    found = choices_of_numbers(ours(tiny, ITEMS), ITEMS)
    assert all(len(digits) == 200 for digits in TINY.values())
    for name, digits in TINY.items():
        assert apart(found[name], digits) == []
    assert apart(TINY["acc"], TINY["acc_norm"])  # the two rules are told apart


@pytest.mark.weights
@pytest.mark.slow
def test_the_choices_of_the_embedded_model_are_those_that_lm_eval_takes():
    found = choices_of_numbers(ours(load("smollm2"), ITEMS), ITEMS)
    for name, digits in SMOLLM2.items():
        assert len(digits) == 200
        assert apart(found[name], digits) == []


def test_what_is_stored_is_what_lm_eval_says_today(tiny):
    pytest.importorskip("lm_eval.models.huggingface", reason=WHY)
    totals = lm_eval_numbers(tiny_lm(), ITEMS)
    assert choices_of_numbers(totals, ITEMS) == TINY
    for theirs, own in zip(totals, ours(tiny, ITEMS), strict=True):
        assert own == pytest.approx(theirs, rel=1e-5)  # theirs come from a log-softmax in float32


# --- the most likely token --------------------------------------------------------------------------------------


def test_a_continuation_is_greedy_where_each_of_its_tokens_is_the_most_likely(tiny):
    module, ids = tiny_module(), list(tiny.template.text_ids("What a day it has been"))
    for _ in range(4):
        with torch.inference_mode():
            ids.append(int(module(torch.tensor([ids])).logits[0, -1].argmax()))
    other = [*ids[:-1], (ids[-1] + 1) % 258]
    rows = [Bare(tuple(ids), len(ids) - 4), Bare(tuple(other), len(ids) - 4), Bare(tuple(ids), 1)]
    assert [f.greedy for f in run(tiny.follow(rows))] == [True, False, False]


# --- our models as models of lm-eval ----------------------------------------------------------------------------


def test_models_without_taps_and_a_missing_library_are_named(tiny, monkeypatch):
    with pytest.raises(Unsupported, match="bare text"):
        harness(load("fake:echo"))
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtra, match="harness"):
        harness(tiny)


def test_lm_eval_reads_a_capped_model_under_its_cap(tiny, tiny_axis):
    pytest.importorskip("lm_eval", reason=WHY)
    items, edit = ITEMS[:12], cap_edit(tiny_axis, "default_mean", layers=[0, 1])
    plain = lm_eval_numbers(harness(tiny), items)
    capped = lm_eval_numbers(harness(Edited(tiny, edit, "cap")), items)
    for found, own in ((plain, ours(tiny, items)), (capped, ours(tiny, items, edit))):
        assert np.concatenate(found) == pytest.approx(np.concatenate(own), rel=1e-12)
    assert not np.allclose(np.concatenate(plain), np.concatenate(capped), rtol=1e-3)


def test_all_three_kinds_of_requests_are_answered_as_by_its_own_class(tiny):
    pytest.importorskip("lm_eval.models.huggingface", reason=WHY)
    from lm_eval.api.instance import Instance

    def asked(kind, *arguments):
        return [Instance(kind, {}, a, i) for i, a in enumerate(arguments)]

    mine, theirs = harness(tiny), tiny_lm(max_length=2047)  # our engine is fed the last token too
    pairs = asked("loglikelihood", ("Question: 2 + 2?\nAnswer:", " 4"), ("It is ", "late"), ("", "Nothing before."))
    for own, other in zip(mine.loglikelihood(pairs), theirs.loglikelihood(pairs), strict=True):
        assert own[0] == pytest.approx(other[0], rel=1e-5)
        assert own[1] == other[1]
    texts = asked(
        "loglikelihood_rolling", (shipped_prose()[:300],), (shipped_prose()[:5000],)
    )  # one and many windows
    assert mine.loglikelihood_rolling(texts) == pytest.approx(theirs.loglikelihood_rolling(texts), rel=1e-5)
    wanted = asked("generate_until", ("Well?", {"until": ["zz"], "max_gen_toks": 9, "do_sample": False}))
    messages = (Message("system", ""), Message("user", "Well?"))
    [reply] = run(tiny.reply([Request(messages, Sampling(temperature=0, max_tokens=9, stop=("zz",)))]))
    assert mine.generate_until(wanted) == [reply.text]

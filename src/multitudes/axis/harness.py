"""A local model, plain or under a remedy, as a model of lm-eval: public benchmarks before and after a cap.

lm-eval's own class for Hugging Face models takes a module and would not see an edit, which here travels with each
request. So the numbers come from ``follow`` and ``reply`` of our engine, and are those of ``axis.capability``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multitudes.axis.remedy import has_taps
from multitudes.core.errors import MissingExtra, Unsupported
from multitudes.core.loop import run_sync
from multitudes.models.base import NEEDS_TAPS, Bare, Message, Request, Sampling

MOST_NEW = 256  # tokens of an answer where a task does not say


def harness(model: Any) -> Any:
    """``model`` as an ``lm_eval.api.model.LM``, to be given to ``lm_eval.simple_evaluate(model=...)``.

    Log-likelihoods are those of bare text, as published ones. A task that lets a model write is asked as one user
    message under an empty system text: what is measured there is the chat model. A held model is held in nothing but
    its own people's conversations, so it answers as the plain one; cap and steer are in force everywhere.

    Args:
        model: A local model, or a remedy of one: ``mt.cap(model, axis)``.

    Raises:
        Unsupported: A model without taps.
        MissingExtra: Without lm-eval.
    """
    if not has_taps(model) or not hasattr(model, "follow"):
        raise Unsupported("log-likelihoods of bare text", model.info.name, NEEDS_TAPS)
    try:
        from lm_eval.api.model import LM
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
    except ImportError as error:
        raise MissingExtra("harness", "running lm-eval") from error
    template, limit = model.template, model.info.context_tokens or 2048
    before = template.opening_ids or (min(template.end_ids),)  # what the first token of a text is predicted from

    def followed(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """Σ log p of the second tokens after the first, cut on the left to fit; whether each is the likeliest."""
        bare = [Bare(tuple([*a, *b][-limit:]), min(len(a) + len(b), limit) - len(b)) for a, b in rows]
        return [(sum(f.token_logp), f.greedy) for f in run_sync(model.follow(bare))]

    class Harness(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            rows = []
            for context, continuation in (r.args for r in requests):
                kept = context.rstrip()  # the space between belongs to the continuation, as lm-eval has it
                start = template.text_ids(kept)
                whole = template.text_ids(kept + context[len(kept) :] + continuation)
                rows.append(([*(template.opening_ids if kept else before), *start], whole[len(start) :]))
            return followed(rows)

        def loglikelihood_rolling(self, requests: Any) -> list[float]:
            out = []  # our engine is fed the last token as well, so a window is one token shorter than theirs
            for (text,) in (r.args for r in requests):
                windows = get_rolling_token_windows(list(template.text_ids(text)), before[-1], limit - 1, 1)
                out.append(sum(total for total, _ in followed([make_disjoint_window(w) for w in windows])))
            return out

        def generate_until(self, requests: Any) -> list[str]:
            asked = []
            for context, wanted in (r.args for r in requests):
                stop = wanted.get("until") or ()
                sampling = Sampling(
                    temperature=float(wanted.get("temperature", 0.0)) if wanted.get("do_sample") else 0.0,
                    max_tokens=int(wanted.get("max_gen_toks", MOST_NEW)),
                    stop=(stop,) if isinstance(stop, str) else tuple(stop),
                )
                asked.append(Request((Message("system", ""), Message("user", context)), sampling, seed=0, keep=False))
            return [reply.text for reply in run_sync(model.reply(asked))]

    return Harness()

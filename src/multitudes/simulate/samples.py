"""Several texts of a model to each prompt of a domain: code, creative prose, or people who are spoken to.

Code comes in two kinds. In ``code`` a task has many good answers; in ``code-closed`` cases fix what is right.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.models.base import ChatModel, Message, Request, Sampling

DOMAINS = ("code", "code-closed", "creative", "persona")


class Prompt(NamedTuple):
    """One prompt.

    Attributes:
        id: Its name: the domain and its number in the file of the domain.
        text: What is asked.
        systems: System prompt of each sample in turn; empty where there is none.
    """

    id: str
    domain: str
    text: str
    systems: tuple[str, ...]


class Text(NamedTuple):
    """One reply; ``text`` is empty where none came, and ``fault`` says why.

    Attributes:
        tokens: Of the reply, everything that was generated for it included.
        prompt_tokens: Of what was asked.
    """

    domain: str
    prompt: str
    sample: int
    text: str
    tokens: int
    prompt_tokens: int
    seed: int
    fault: str


@cache
def domain_file(domain: str) -> dict[str, Any]:
    """The shipped prompts of a domain as they are written.

    Raises:
        ConfigError: An unknown domain, with the near ones.
    """
    if domain not in DOMAINS:
        raise ConfigError("unknown domain", where="domain", found=repr(domain), hint=did_you_mean(domain, DOMAINS))
    file, _, part = domain.partition("-")
    raw = tomllib.loads((files("multitudes.simulate") / "prompts" / f"{file}.toml").read_text(encoding="utf-8"))
    return dict(raw[part]) if part else raw


def prompts(domain: str, n: int) -> list[Prompt]:
    """``n`` prompts of a domain in a fixed mixed order, so that a smaller set is the beginning of a larger one.

    Raises:
        ConfigError: An unknown domain, or more prompts than it has.
    """
    raw = domain_file(domain)
    slots = dict(raw.get("slots", {}))
    people = slots.pop("person", ())
    every = (
        [{"task": task, "returns": returns} for task, returns, _ in raw["tasks"]]
        if "tasks" in raw
        else [dict(zip(slots, values, strict=True)) for values in itertools.product(*slots.values())]
    )
    if not 1 <= n <= len(every):
        raise ConfigError("no such number of prompts", where=domain, found=str(n), expected=f"1 to {len(every)}")
    order = derive_rng("prompts", domain).permutation(len(every))[:n]
    return [
        Prompt(
            f"{domain}-{k}", domain, raw["text"].format(**every[k]),
            tuple(raw["system"].format(person=p) for p in people),
        )
        for k in order.tolist()
    ]  # fmt: skip


async def sample(
    model: ChatModel, asked: Sequence[tuple[Prompt, int]], *, sampling: Sampling, root: str
) -> list[Text]:
    """One text for each prompt and sample number, in order. Seeds depend on what is asked, never on the model."""
    requests = []
    for prompt, k in asked:
        system = (Message("system", prompt.systems[k % len(prompt.systems)]),) if prompt.systems else ()
        seed = derive_seed(root, "sample", prompt.id, k)
        requests.append(
            Request((*system, Message("user", prompt.text)), sampling, seed=seed, replicate=k, keep=False,
                    call_id=f"{prompt.id}.{k}")
        )  # fmt: skip
    replies = await model.reply(requests)
    return [
        Text(p.domain, p.id, k, r.text, r.usage.completion, r.usage.prompt, q.seed or 0,
             "" if r.fault is None else r.fault.code)
        for (p, k), q, r in zip(asked, requests, replies, strict=True)
    ]  # fmt: skip

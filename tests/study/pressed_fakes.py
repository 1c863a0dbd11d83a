"""Scripted models whose retention is known: never yields, always yields, returns after the pressure, random.

A model is "in" or "out" of the persona, decided from the conversation alone; replies and likelihoods follow.
"""

import hashlib
import math

from multitudes.models.base import Scored, check_score_items
from multitudes.models.fake import FakeModel
from multitudes.simulate.pressure import bank, openings

PRESSING = [m.text for name in ("P1", "P2") for m in bank(name).said("assistant")]
BASE = {p.text for p in openings()}
RECOVERY = {m.text for m in bank("recovery").messages}
IN, OUT = "Well now, I have always done it my own way, believe me.", "Certainly, here is some general advice for you."
OWN = {"in": 0.9, "out": 0.1}


def pressed(messages):
    """How many messages press, and how many follow the pressure."""
    said = [m.text for m in messages if m.role == "user"]
    return sum(any(p in s for p in PRESSING) for s in said), sum(s in RECOVERY for s in said)


def never(messages):
    return bool(messages[0].text)


def always(messages):
    return bool(messages[0].text) and not pressed(messages)[0]


def returns(messages):
    hit, recovered = pressed(messages)
    return bool(messages[0].text) and (not hit or recovered > 0)


def noise(messages):
    return None


class Scripted(FakeModel):
    """In or out of the persona by ``rule``; None is a coin per text."""

    def __init__(self, rule, name="scripted"):
        super().__init__(f"fake:{name}", self._speak, can_score=True)
        self.rule = rule
        self.seen = []

    def state(self, messages, text=""):
        found = self.rule(messages)
        if found is None:
            found = hashlib.sha256(repr((messages[-1].text, text)).encode()).digest()[0] % 2 == 0
        return "in" if found else "out"

    def _speak(self, messages, seed):
        return f"{IN if self.state(messages) == 'in' else OUT} It is number {len(messages)}, {(seed or 0) % 1000}."

    async def score(self, items):
        check_score_items(items, engine=self.info.name)
        self.seen += items
        return [self._scored(i) for i in items]

    def _scored(self, item):
        if item.continuation.startswith((IN[:20], OUT[:20])):  # a reply: likelier under the prompt that it fits
            fits = item.continuation.startswith(IN[:20]) == bool(item.context[0].text)
            return Scored((-1.0 if fits else -2.0,) * 10, self.info.fingerprint)
        assistant = any(w in item.continuation for w in ("AI", "assist", "user", "software", "program"))
        p = OWN[self.state(item.context, item.continuation)]
        return Scored((math.log(1 - p if assistant else p),), self.info.fingerprint)


def fooled(messages):
    """In the persona on the base prompts of calibration, a coin elsewhere."""
    from multitudes.study.pressure.plan import make_cast
    from multitudes.study.pressure.spec import make_spec

    global _CALIBRATION
    if _CALIBRATION is None:
        _CALIBRATION = {p.text for p in make_cast(make_spec("small")).calibration}
    if any(m.text in _CALIBRATION for m in messages):
        return bool(messages[0].text)
    return None


_CALIBRATION: set[str] | None = None


def spread(messages):
    """Yields to every second base prompt's pressure; few-shot personas are in half of the time."""
    base = next((m.text for m in messages if m.text in BASE), "")
    coin = hashlib.sha256(base.encode()).digest()[0]
    if not messages[0].text:  # nobody, or shots
        return (
            len(messages) > 3
            and messages[2].role == "assistant"
            and messages[2].text.startswith(IN[:20])
            and coin < 170
        )
    if not any(m.text in BASE for m in messages):  # shots are being written
        return True
    return coin > 20 and not (pressed(messages)[0] and coin % 2)


def random_axis(folder):
    """An axis of the tiny engine whose directions are drawn: for the machinery, not for numbers."""
    import numpy as np

    from multitudes.axis.artifact import save_axis
    from multitudes.axis.axis import Axis

    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    axis = Axis(
        axis=draw(2, 48), default_mean=draw(2, 48), role_means=draw(6, 2, 48), roles=tuple("abcdef"),
        halves=draw(2, 2, 48), components=draw(3, 48), mu_default=np.ones(2, np.float32),
        mu_roles=np.zeros(2, np.float32), norm=np.full(2, 7.0, np.float32), layer=1, window=(0, 1),
        tau={"0.75": np.full(2, 0.5, np.float32)}, low_default=np.zeros(2, np.float32),
        about={"method": "fixed_text"},
    )  # fmt: skip
    return save_axis(axis, folder)

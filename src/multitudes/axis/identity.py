"""Who a played role says it is: the identity disposition D of each setting of a calibration.

After its first answer a role is asked who it is, in a side branch under the setting's own change. Its own answer and
that of a plain assistant are weighed by their likelihoods: 1 = wholly the role, 0 = wholly the assistant, 0.5 =
indifferent. z at the block behind a cap is moved by the cap itself; D is read off what the model would say.

The floor is D of the same items after the same question without any role. Where roles stand less than ``MIN_RANGE``
above it on the plain model, there is nothing that a cap could be seen to take, and D decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.role_play import Arm, Played, Talk, places_of
from multitudes.measure.retention.forced_choice import item_levels, level, option_scores
from multitudes.models.base import Message
from multitudes.simulate.probes import Branch, Target, ask_all, items_of

FloatArray = NDArray[np.float64]
BRANCHES_AT_ONCE = 16  # each keeps what its items share while it is asked: 10 MiB for the embedded model


def asked_places(talks: Sequence[Talk]) -> list[int]:
    """Numbers of the replies after which somebody is asked who they are: the first one of each role with facts."""
    out: list[int] = []
    seen: set[str] = set()
    for i, (talk, turn) in enumerate(places_of(talks)):
        if turn == 0 and talk.cluster not in seen and _items(talk, 1):
            seen.add(talk.cluster)
            out.append(i)
    return out


async def identities(
    model: Any, arms: Sequence[Arm], played: Sequence[Played], talks: Sequence[Talk], *, items: int, wordings: int,
    told: Callable[[int, int], None] | None = None,
) -> list[FloatArray]:  # fmt: skip
    """D of who they are after each reply of each arm.

    Args:
        model: The model without a change; each branch travels with the edit of its arm.
        arms: A arms.
        played: Their replies.
        talks: What was played.
        items: The first so many items of the battery ``id``.
        wordings: The first so many wordings of each.
        told: Told (done, all) branches.

    Returns:
        A arrays (N,) in [0, 1]; NaN where nobody was asked, or where the reply failed.

    Source: ``pressure.md`` §3 forced choice, battery ``id``: log-sum-exp over wordings, mean over items.
    """
    places = places_of(talks)
    cells = [(a, i) for i in asked_places(talks) for a in range(len(arms)) if played[a].replies[i] is not None]
    branches = []
    for a, i in cells:
        reply, talk = played[a].replies[i], places[i].talk
        assert reply is not None
        history = (*played[a].contexts[i], Message("assistant", reply.text))
        branches.append(Branch(history, [Target(talk.cluster, _items(talk, items))], edit=arms[a].edit))
    out = [np.full(len(places), np.nan) for _ in arms]
    for start in range(0, len(cells), BRANCHES_AT_ONCE):
        part = slice(start, start + BRANCHES_AT_ONCE)
        for (a, i), asked in zip(cells[part], await ask_all(model, branches[part], wordings=wordings), strict=True):
            scores = option_scores([[s.own, s.other] for s in asked.scores])
            out[a][i] = float(level(item_levels(scores)).value)
        if told is not None:
            told(min(start + BRANCHES_AT_ONCE, len(cells)), len(cells))
    return out


def without_role(talks: Sequence[Talk]) -> list[Talk]:
    """The talks after which somebody is asked, told nothing of their role: their D is the floor."""
    places = places_of(talks)
    asked = [places[i].talk for i in asked_places(talks)]
    return [replace(talk, id=f"{talk.id}:none", system="", turns=talk.turns[:1]) for talk in asked]


def _items(talk: Talk, n: int) -> Any:
    return items_of(talk.cluster, dict(talk.facts), ["id"], per_battery=n)

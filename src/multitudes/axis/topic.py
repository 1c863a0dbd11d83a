"""A second condition beside the filter: is an answer about what its role is about?

    margin(y, r) = e(y)·e(definition of r) − mean over 8 other roles o of e(y)·e(definition of o)

with unit vectors e of a text encoder. An answer whose margin is not above 0 is no closer to its own role than to any.
Such an encoder sees topics: it does not tell playing a cook from talking about cooking, nor a text from its opposite.
So it never decides alone: it can only drop what a judge or the likelihood filter kept, and what it drops is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.roles import Role
from multitudes.core.errors import ConfigError
from multitudes.core.seeds import derive_rng
from multitudes.models.encode import Encoder

OTHERS = 8  # roles whose definitions stand for any role


class TopicFilter:
    """Margins of answers under the roles of a fit.

    Args:
        encoder: Texts to unit vectors.
        roles: The roles; the others of each are drawn from them.
        seed: Of that draw.

    Raises:
        ConfigError: Fewer than two roles.
    """

    def __init__(self, encoder: Encoder, roles: Sequence[Role], *, seed: int) -> None:
        if len(roles) < 2:
            raise ConfigError("a topic filter compares roles", where="topic filter", found=f"{len(roles)} of them")
        self.name = encoder.name
        self._encoder = encoder
        self._definitions = encoder.encode([r.described for r in roles]).astype(np.float64)
        self._others = {}
        for i, role in enumerate(roles):
            rest = [j for j in range(len(roles)) if j != i]
            drawn = derive_rng("axis", "topic", seed, role.id).choice(rest, min(OTHERS, len(rest)), replace=False)
            self._others[i] = np.sort(drawn)

    def others(self, role: int) -> NDArray[np.int64]:
        """Indices of the roles that an answer of ``role`` is compared with."""
        return np.asarray(self._others[role], dtype=np.int64)

    def margins(self, texts: Sequence[str], roles: Sequence[int]) -> list[float]:
        """Margin of each answer under its role, in [-2, 2]; 0 = no closer to it than to others; NaN without words.

        Args:
            texts: Answers.
            roles: Index of the role of each.
        """
        said = [i for i, text in enumerate(texts) if text.strip()]
        out = [float("nan")] * len(texts)
        if said:
            vectors = self._encoder.encode([texts[i] for i in said]).astype(np.float64)
            for i, vector in zip(said, vectors, strict=True):
                near = self._definitions @ vector
                out[i] = float(near[roles[i]] - near[self.others(roles[i])].mean())
        return out

"""Fold responses into sums one at a time; nothing of a response is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.collected import Collected, Control, Method
from multitudes.axis.errors import CollectionMismatch
from multitudes.core.checks import check_shape
from multitudes.measure.errors import NotFiniteError

FloatArray = NDArray[np.float64]


class Accumulator:
    """Sums that grow by one response at a time.

    Memory is taken when a role is first added to, so an accumulator for a shard of a few roles is small however long
    its list of roles is.

    Args:
        roles: R ids.
        families: R family numbers.
        questions: Q ids.
        n_layers: L.
        width: d.
        question_layers: Layers at which sums by question are kept; they cost Q · d numbers each.
        method: How responses came to be.

    >>> import numpy as np
    >>> sums = Accumulator(["cook"], [1], ["q0"], n_layers=1, width=2, question_layers=[0], method="fixed_text")
    >>> sums.add(0, 1, 0, np.array([[3.0, 4.0]]))
    >>> sums.add(None, 1, 0, np.array([[1.0, 0.0]]))
    >>> done = sums.collected()
    >>> done.n[1].tolist(), done.squares[1, 0].tolist(), done.default_n.tolist()
    ([1], [25.0], [0, 1])
    """

    def __init__(
        self,
        roles: Sequence[str],
        families: Sequence[int],
        questions: Sequence[str],
        *,
        n_layers: int,
        width: int,
        question_layers: Sequence[int],
        method: Method,
    ) -> None:
        if len(set(roles)) < len(roles) or len(set(questions)) < len(questions):
            raise CollectionMismatch("ids of roles and of questions must be unique")
        if any(not 0 <= layer < n_layers for layer in question_layers):
            raise CollectionMismatch(
                "a question layer that the model does not have",
                found=str(list(question_layers)),
                expected=f"layers in [0, {n_layers})",
            )
        r, q, k = len(roles), len(questions), len(question_layers)
        self._roles, self._families, self._questions = tuple(roles), tuple(families), tuple(questions)
        self._question_layers = np.asarray(question_layers, dtype=np.int64)
        self._method: Method = method
        self._shape = (n_layers, width)
        self._n = np.zeros((2, r), dtype=np.int64)
        self._sums = np.zeros((2, r, n_layers, width))
        self._squares = np.zeros((2, r, n_layers))
        self._cell_n = np.zeros((r, q), dtype=np.int64)
        self._question_sums = np.zeros((q, k, width))
        self._default_n = np.zeros(2, dtype=np.int64)
        self._default_sums = np.zeros((2, n_layers, width))
        self._norm_tokens = 0
        self._norm_sums = np.zeros(n_layers)
        self._controls: dict[str, Control] = {}
        self._half_of: dict[int, int] = {}

    def add(self, role_index: int | None, half: int, question_index: int, x: ArrayLike) -> None:
        """Fold in one kept response.

        Args:
            role_index: Index in ``roles``; None for a default response.
            half: 0 or 1, the half of the question. A question belongs to one half.
            question_index: Index in ``questions``.
            x: (L, d) mean residual stream over the counted tokens.

        Raises:
            CollectionMismatch: An index that is not there, or a question in both halves.
            GaugeError: Wrong shape.
            NotFiniteError: An unscored response (NaN) or an overflow; leave it out and count it.
        """
        self._check_index("half", half, 2)
        self._check_index("question_index", question_index, len(self._questions))
        if self._half_of.setdefault(question_index, half) != half:
            raise CollectionMismatch(
                "a question is in both halves, which would make them agree by construction",
                where=f"question {self._questions[question_index]!r}",
            )
        response = self._checked(x)
        if role_index is None:
            self._default_n[half] += 1
            self._default_sums[half] += response
            return
        self._check_index("role_index", role_index, len(self._roles))
        self._n[half, role_index] += 1
        self._sums[half, role_index] += response
        self._squares[half, role_index] += np.einsum("ld,ld->l", response, response)
        self._cell_n[role_index, question_index] += 1
        self._question_sums[question_index] += response[self._question_layers]

    def add_control(self, name: str, x: ArrayLike) -> None:
        """Fold one response (L, d) into the control arm ``name``: neutral, placebo, unfiltered or any other."""
        response = self._checked(x)
        n, total = self._controls.get(name, Control(0, np.zeros(self._shape)))
        self._controls[name] = Control(n + 1, total + response)

    def add_norms(self, sums: ArrayLike, *, tokens: int) -> None:
        """Fold in the lengths of a default response's tokens.

        Args:
            sums: (L,) sums of ‖h‖ over the counted tokens, position 0 never among them.
            tokens: How many they are.
        """
        lengths = check_shape("sums", sums, str(self._shape[0]))
        if not np.isfinite(lengths).all() or tokens < 0:
            raise NotFiniteError("lengths of tokens must be finite, and their number not negative", where="sums")
        self._norm_sums += lengths
        self._norm_tokens += tokens

    def collected(self) -> Collected:
        """A copy of the sums so far; adding may go on."""
        return Collected(
            roles=self._roles, families=self._families, questions=self._questions, method=self._method,
            question_layers=self._question_layers, n=self._n.copy(), sums=self._sums.copy(),
            squares=self._squares.copy(), cell_n=self._cell_n.copy(), question_sums=self._question_sums.copy(),
            default_n=self._default_n.copy(), default_sums=self._default_sums.copy(),
            norm_tokens=self._norm_tokens, norm_sums=self._norm_sums.copy(),
            controls={name: Control(arm.n, arm.total.copy()) for name, arm in self._controls.items()},
        )  # fmt: skip

    def _checked(self, x: ArrayLike) -> FloatArray:
        response = check_shape("x", x, "{} {}".format(*self._shape))
        if not np.isfinite(response).all():
            raise NotFiniteError(
                "a response that is unscored or overflowed cannot be folded in",
                where="x",
                hint="leave it out, count it",
            )
        return response

    @staticmethod
    def _check_index(name: str, value: int, size: int) -> None:
        if not 0 <= value < size:
            raise CollectionMismatch(f"{name!r} is not there", found=str(value), expected=f"0 to {size - 1}")

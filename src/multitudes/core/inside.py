"""What was read inside a model while it wrote one turn: a few numbers, never an activation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from multitudes.core.frozen import Frozen


class Inside(Frozen):
    """Where a model was on an axis while it wrote a turn. Its own activations: a reader's have another type.

    Attributes:
        axis: Id of the axis; numbers of two axes never meet.
        layers: Blocks that were watched; the first is the one that is reported.
        p: Projection of the mean residual stream after each, in residual units. NaN: too few tokens.
        z: The same where the average role is 0 and the default Assistant 1.
        n_tokens: Counted tokens: the sampled ones that were fed back.
        view: Whose activations these are.
    """

    axis: str
    layers: tuple[int, ...] = Field(min_length=1)
    p: tuple[float, ...]
    z: tuple[float, ...]
    n_tokens: int = Field(ge=0)
    view: Literal["own"] = "own"

    @model_validator(mode="after")
    def _one_number_per_block(self) -> Self:
        if not len(self.p) == len(self.z) == len(self.layers):
            raise ValueError("p and z hold one number for each watched block")
        return self

"""Why the axis refuses: one class per reason, each naming value, place and remedy.

Each belongs to the branch of the error tree that its cause has: data that is not enough, a model that cannot be
read, a file that does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable

from multitudes.core.errors import ConfigError, DataFormatError, GaugeError, ModelError
from multitudes.measure.errors import TooFewGroups
from multitudes.models.edit import AlreadyAttached, DegenerateDirections

__all__ = [
    "AlreadyAttached", "AxisMismatch", "CaptureMismatch", "CollectionMismatch", "DamagedSums", "DegenerateDirections",
    "MixedMethods", "NoAxis", "NoScale", "NotOwn", "NothingToRead", "OrientationUnknown", "RoleSetError", "SignError",
    "TooFewGroups", "TooFewRoles",
]  # fmt: skip


def listed(layers: Iterable[int], *, most: int = 8) -> str:
    """Layer numbers as text, cut after ``most`` of them.

    >>> listed(range(3)), listed(range(20), most=2)
    ('0, 1, 2', '0, 1 and 18 more')
    """
    numbers = [str(layer) for layer in layers]
    rest = len(numbers) - most
    return ", ".join(numbers[:most]) + (f" and {rest} more" if rest > 0 else "")


# --- data -----------------------------------------------------------------------------------------------------


class RoleSetError(ConfigError):
    """Roles, questions or arms that break the rules of the set; all faults in one message."""


class TooFewRoles(GaugeError):
    """Too few roles or families with enough kept responses to say what an average role is."""


class NoAxis(GaugeError):
    """Default and roles have the same mean at a layer: there is no direction between them.

    Args:
        layers: Where.
        found: The length of the difference beside the length of a token.
    """

    def __init__(self, layers: Iterable[int], *, found: str) -> None:
        self.layers = tuple(layers)
        super().__init__(
            "the default mean and the mean of the roles do not differ",
            where=f"layer {listed(self.layers)}",
            found=found,
            expected="a difference above 1e-6 of the mean length of a token",
            hint="check that role prompts reach the model: the rendered prompt of a role must hold its text",
        )


class SignError(GaugeError):
    """An axis on which the default does not lie above the roles, on data that did not build it.

    Args:
        layers: Where.
        found: Mean projections of default and roles at the first of them.
    """

    def __init__(self, layers: Iterable[int], *, found: str) -> None:
        self.layers = tuple(layers)
        super().__init__(
            "the default does not lie on the positive side of the axis",
            where=f"layer {listed(self.layers)}",
            found=found,
            expected="mean projection of the default > mean projection of the roles",
            hint="an axis stored as role minus default must be negated when it is imported; a layer that has no "
            "axis must be left out",
        )


class MixedMethods(GaugeError):
    """Sums of generated answers and of a fixed text that met in one axis."""


class CollectionMismatch(GaugeError):
    """Sums over different roles, questions, layers or widths that were to be added."""


class NoScale(GaugeError):
    """An axis without the two means that make its scale.

    Args:
        where: Which.
        layer: The analysis layer.
    """

    def __init__(self, where: str, layer: int) -> None:
        super().__init__(
            "the axis has no scale: nobody knows where its average role and its default Assistant lie", where=where,
            found=f"no means at layer {layer}", expected="a fitted axis",
            hint="fit an axis on the model itself, multitudes axis fit MODEL, or import with --model MODEL",
        )  # fmt: skip


class NothingToRead(GaugeError):
    """A transcript in which the speaker that is to be read has no turn.

    Args:
        where: Which.
        speaker: Whose turns were wanted.
        there: Who speaks in it.
    """

    def __init__(self, where: str, speaker: str, there: Iterable[str]) -> None:
        super().__init__(
            f"there is no turn of the {speaker} to read", where=where,
            found=f"turns of {', '.join(there) or 'nobody'}", expected=f"at least one turn of the {speaker}",
            hint="read the other side: speaker 'user' is the simulated person, 'assistant' whom they talk to",
        )  # fmt: skip


class NotOwn(GaugeError):
    """A conversation from a file where one is needed that the model itself wrote.

    Args:
        where: Which.
    """

    def __init__(self, where: str) -> None:
        super().__init__(
            "nobody knows which model wrote this conversation", where=where, found="an imported transcript",
            expected="a conversation that was held here",
            hint="read it as a reader: axis.reader.read_conversation, or multitudes axis project",
        )  # fmt: skip


# --- models ---------------------------------------------------------------------------------------------------


class CaptureMismatch(ModelError):
    """Activations captured while generating that differ from those of a second run over the same tokens.

    Args:
        layer: Where the error is largest.
        error: Relative error there.
        cause: What it most likely comes from.
    """

    def __init__(self, layer: int, error: float, cause: str) -> None:
        self.layer, self.error, self.cause = layer, error, cause
        super().__init__(
            "means captured in one pass differ from those of a second run",
            where=f"layer {layer}",
            found=f"relative error {error:.2g}",
            hint=f"likely cause: {cause}",
        )


# --- files ----------------------------------------------------------------------------------------------------


class AxisMismatch(DataFormatError):
    """An axis of another model: width, number of layers or weights differ."""


class OrientationUnknown(DataFormatError):
    """A direction that cannot be told to point to the Assistant or away from it."""


class DamagedSums(DataFormatError):
    """A file of streamed sums that is cut off, changed, or none."""

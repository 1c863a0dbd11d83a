"""``cap:DIR:MODEL``, ``hold:DIR:MODEL``, ``steer:C:DIR:MODEL``: remedies as strings, for study files and commands.

They are known to ``models.load`` as plug-ins (entry points of the group ``multitudes.models``), because the room of
models does not know the rooms above it.
"""

from __future__ import annotations

from collections.abc import Callable

from multitudes.axis.artifact import load_axis
from multitudes.axis.remedy import cap, hold, steer
from multitudes.core.errors import ConfigError
from multitudes.models.base import ChatModel

Loader = Callable[[str], ChatModel]


def open_cap(rest: str, name: str, load: Loader) -> ChatModel:
    """``cap:DIR:MODEL``: the floor that the axis in DIR recommends."""
    folder, model = _parts(rest, name, "cap:DIR:MODEL")
    return cap(load(model), load_axis(folder), how=f"cap:{folder}")


def open_hold(rest: str, name: str, load: Loader) -> ChatModel:
    """``hold:DIR:MODEL``: each person kept inside its own range."""
    folder, model = _parts(rest, name, "hold:DIR:MODEL")
    return hold(load(model), load_axis(folder), how=f"hold:{folder}")


def open_steer(rest: str, name: str, load: Loader) -> ChatModel:
    """``steer:C:DIR:MODEL``: pushed along the axis by C mean token lengths; negative is away from the Assistant."""
    strength, _, rest = rest.partition(":")
    try:
        value = float(strength)
    except ValueError as error:
        raise ConfigError(
            "not a strength", where=repr(name), found=repr(strength), expected="steer:NUMBER:DIR:MODEL"
        ) from error
    folder, model = _parts(rest, name, "steer:NUMBER:DIR:MODEL")
    return steer(load(model), load_axis(folder), value, how=f"steer:{value:g}:{folder}")


def _parts(rest: str, name: str, form: str) -> tuple[str, str]:
    folder, _, model = rest.partition(":")
    if not folder or not model:
        raise ConfigError("the model's name ends too early", where=repr(name), expected=form)
    return folder, model

"""Generators by name: the shipped ones, registered ones, and anybody's ``module:object``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.personas.generators.base import Generator

F = TypeVar("F", bound=Callable[..., Any])

_FACTORIES: dict[str, Callable[..., Generator]] = {}


def register(name: str) -> Callable[[F], F]:
    """Decorator that makes a class or function known as a generator under ``name``.

    Raises:
        ConfigError: If the name is taken.
    """

    def add(factory: F) -> F:
        if name in _FACTORIES:
            raise ConfigError(f"a generator named {name!r} exists", where="register", expected="another name")
        _FACTORIES[name] = factory
        return factory

    return add


def generator_names() -> tuple[str, ...]:
    """Names that ``get_generator`` knows."""
    return tuple(sorted(_FACTORIES))


def get_generator(name: str, **options: Any) -> Generator:
    """A generator by its short name or as ``module:object``, made with ``options``.

    Raises:
        ConfigError: If there is no such generator, or it has no such option; near names are listed.

    >>> get_generator("template").name
    'template'
    """
    factory = _imported(name) if ":" in name else _FACTORIES.get(name)
    if factory is None:
        raise ConfigError(
            f"no generator {name!r}",
            expected="a known name or module:object",
            hint=did_you_mean(name, generator_names()),
        )
    if not isinstance(factory, type) and hasattr(factory, "generate"):
        made: Any = factory  # an instance, as it is
    else:
        try:
            made = factory(**options)
        except TypeError as error:
            raise ConfigError(
                f"the generator {name!r} cannot be made", found=str(error), where=repr(options)
            ) from error
    if not hasattr(made, "generate"):
        raise ConfigError(f"{name!r} is not a generator", found=repr(made), expected="an object with 'generate'")
    generator: Generator = made
    return generator


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"no generator {name!r}", found=str(error), expected="module:object that can be imported"
        ) from error

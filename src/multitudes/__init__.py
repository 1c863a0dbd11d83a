"""Simulate many different people with a model trained to be one.

Public names are loaded when they are first used: importing the package itself does no work.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

_WHERE = {
    "load": "multitudes.models.load",
    "load_encoder": "multitudes.models.encode",
    "populate": "multitudes.api",
    "converse": "multitudes.api",
    "survey": "multitudes.api",
    "measure": "multitudes.api",
    "study": "multitudes.api",
    "pressure": "multitudes.api",
    "open_pressure": "multitudes.study.pressure.data",
    "distil": "multitudes.study.distilled",
    "fit_axis": "multitudes.api",
    "load_axis": "multitudes.axis.artifact",
    "steer": "multitudes.axis.remedy",
    "cap": "multitudes.axis.remedy",
    "hold": "multitudes.axis.remedy",
    "open_run": "multitudes.study.data",
    "compare": "multitudes.study.compare",
    "run_sync": "multitudes.core.loop",
    "load_population": "multitudes.personas.sources",
    "load_questionnaire": "multitudes.personas.questionnaires",
    "read_transcripts": "multitudes.simulate.transcripts",
    "Message": "multitudes.models.base",
    "Request": "multitudes.models.base",
    "Sampling": "multitudes.models.base",
    "ScoreItem": "multitudes.models.base",
} | dict.fromkeys(
    ("Answer", "Conversation", "Dimension", "Item", "Persona", "Population", "Questionnaire", "Reading", "Scenario",
     "Score", "Turn"),
    "multitudes.core.records",
)  # fmt: skip

_FOLDERS = ("measure", "study")  # calls that a folder of the package shares its name with

__all__ = sorted(_WHERE)
__version__ = "0.1.0"

if TYPE_CHECKING:
    import inspect

    from multitudes.api import converse, measure, populate, pressure, study, survey
    from multitudes.core.loop import run_sync
    from multitudes.core.records import (
        Answer,
        Conversation,
        Dimension,
        Item,
        Persona,
        Population,
        Questionnaire,
        Reading,
        Scenario,
        Score,
        Turn,
    )
    from multitudes.models.base import Message, Request, Sampling, ScoreItem
    from multitudes.models.encode import load_encoder
    from multitudes.models.load import load
    from multitudes.personas.questionnaires import load_questionnaire
    from multitudes.personas.sources import load_population
    from multitudes.simulate.transcripts import read_transcripts
    from multitudes.study.compare import compare
    from multitudes.study.data import open_run
    from multitudes.study.distilled import distil
    from multitudes.study.pressure.data import open_pressure


class _CallableFolder(ModuleType):
    """A folder that bears the name of a call: ``mt.measure(...)`` and ``import multitudes.measure.x`` both work."""

    def _call(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_WHERE[name]), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self._call())

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """Of the call, its signature first: ``help`` takes this for a module and would not show one."""
        import inspect

        return f"{self._call().__name__}{self.__signature__}\n\n{inspect.getdoc(self._call())}"


class _Package(ModuleType):
    """The package itself: public names appear when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'multitudes' has no attribute {name!r}")
        if name in _FOLDERS:
            return importlib.import_module(f"multitudes.{name}")
        value = getattr(importlib.import_module(_WHERE[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FOLDERS and isinstance(value, ModuleType):
            value.__class__ = _CallableFolder
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_WHERE})


sys.modules[__name__].__class__ = _Package

"""Every error a caller can act on: what happened, where, what was found, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable


class MultitudesError(Exception):
    """Base of all errors of the package.

    Args:
        what: What happened, one sentence, offending values by ``!r``.
        where: File and line, key path or argument name.
        found: What was there.
        expected: What would have been right.
        hint: What to do next; a command if one exists.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.found, self.expected, self.hint = what, where, found, expected, hint
        parts = [f"{where}: {what}" if where else what]
        parts += [f"  {label}: {text}" for label, text in self._details() if text]
        super().__init__("\n".join(parts))

    def _details(self) -> Iterable[tuple[str, str | None]]:
        return (("found", self.found), ("expected", self.expected), ("what to do", self.hint))


class ConfigError(MultitudesError):
    """A study file, argument or request that cannot be run. Nothing was written."""

    exit_code = 2


class DataFormatError(ConfigError):
    """A file of personas, items or transcripts that cannot be read."""


class PersonaError(ConfigError):
    """A population that breaks its own rules: duplicate ids or texts, a missing dimension."""


class QuestionnaireError(ConfigError):
    """A questionnaire that breaks its own rules."""


class GaugeError(ConfigError):
    """Input a gauge cannot be computed on."""


class MissingExtra(MultitudesError):
    """A part of the package that needs an optional dependency group.

    Args:
        extra: Name of the group in ``pyproject.toml``.
        needed_for: What was asked for.
    """

    exit_code = 2

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        super().__init__(f"{needed_for} needs the extra {extra!r}", hint=f"pip install 'multitudes[{extra}]'")


class ModelError(MultitudesError):
    """A whole backend that failed: no weights, unreachable endpoint, bad key."""


class WeightsMissing(ModelError):
    """Weights that were not fetched yet."""


class WeightsMismatch(ModelError):
    """A file whose SHA-256 is not the pinned one. Nothing was cached."""


class AdapterMismatch(ModelError):
    """An adapter that does not belong to the model it is put on, or is not what its card says."""

    exit_code = 2


class UnsupportedModel(ModelError):
    """A model folder this engine cannot run correctly."""

    exit_code = 2


class Unsupported(ModelError):
    """A capability that the engine does not have, asked for before any work was done."""

    exit_code = 2

    def __init__(self, flag: str, engine: str, alternative: str) -> None:
        self.flag = flag
        super().__init__(f"engine {engine!r} has no {flag!r}", hint=alternative)


class MixedEngines(GaugeError):
    """Numbers of two engines, data types or weights that met in one statistic."""


class StoreError(MultitudesError):
    """A run folder that cannot be read or written."""


class RunLocked(StoreError):
    """A run folder that another process is writing to."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The near names among ``known``, as a hint; all of them if none is near.

    >>> did_you_mean("replicats", ["replicates", "turns"])
    "did you mean 'replicates'?"
    """
    import difflib

    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known: " + ", ".join(options)

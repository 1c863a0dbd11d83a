"""Why a gauge refuses: one class per reason, so that a caller can tell them apart. All are ``GaugeError``."""

from __future__ import annotations

from multitudes.core.errors import GaugeError
from multitudes.simulate.errors import NoLengthMatch as NoLengthMatch
from multitudes.simulate.errors import ProbeLeak as ProbeLeak


class TooFewPersonasError(GaugeError):
    """Fewer than two personas: nobody to differ from."""


class TooFewItemsError(GaugeError):
    """Fewer than two items: a stable persona cannot be told from one that answers this item its own way."""


class TooFewClustersError(GaugeError):
    """Fewer than two clusters: nothing to resample."""


class TooFewSamplesError(GaugeError):
    """Fewer than two texts in a bag: nothing to compare."""


class DisconnectedDesignError(GaugeError):
    """Personas and items fall into groups that share nothing."""


class DuplicateKeyError(GaugeError):
    """An answer of one persona, item, wording and run is there twice."""


class NotFiniteError(GaugeError):
    """A value that is infinite, or NaN where nothing may be unscored."""


class ZeroVarianceError(GaugeError):
    """All answers are equal: there is no spread to divide."""


class NoRunVarianceError(GaugeError):
    """Runs that cannot differ (temperature 0): a run-based verdict would say nothing."""


class CachedRunsError(GaugeError):
    """Runs that are identical although they were sampled: a cache or a fixed seed."""


class DependentRunsError(GaugeError):
    """Runs that saw each other, such as "give a different answer": they are no repeats."""


class RunDependenceError(GaugeError):
    """The arm without personas shows persona signal: its calls depend on each other, and the study is invalid."""


class MissingPlaceboError(GaugeError):
    """A verdict about personas without the arms that show what any prompt would do."""


class OptionMassError(GaugeError):
    """More than half of the probability lies outside the offered options: the answers are not answers."""


class UnequalBudgetError(GaugeError):
    """A score that depends on the amount of text, compared between unequal amounts."""


class EmptyTextError(GaugeError):
    """More than a tenth of the texts are empty."""


class TokenizerLossError(GaugeError):
    """A tokeniser that loses more than a fifth of the letters of these texts."""


class MixedTaggerError(GaugeError):
    """Scores of two taggers in one comparison."""


class UnsupportedLanguageError(GaugeError):
    """A tagger asked about a language it does not know."""


class DuplicateBiasError(GaugeError):
    """A bootstrap of a score in which an exact copy of a prompt lowers the score: delete-one is the way."""


class NotUnitError(GaugeError):
    """Vectors whose length is not 1."""


class ZeroVectorError(NotUnitError):
    """A vector of length 0, which has no direction."""


class NotPSDError(GaugeError):
    """A similarity matrix that is none: a negative eigenvalue, or a diagonal that is not 1."""


class BoundTooLoose(GaugeError):
    """An approximation whose certified error is too large to be worth printing."""


class TooFewGroups(GaugeError):
    """Too few personas or turns to predict some from others."""


class MixedViews(GaugeError):
    """A model's own activations and a reader's, pooled in one number."""


class NoRange(GaugeError):
    """A persona that is not told apart from no persona at the start: "not measurable", and no retention.

    Args:
        delta0: Pooled D̄₀ − F̄₀.
        least: What it would have to be.
        persona: Whose; empty for all together.
        disposition: Which; empty if the caller knows.
    """

    def __init__(self, delta0: float, least: float, *, persona: str = "", disposition: str = "") -> None:
        self.delta0, self.persona, self.disposition = delta0, persona, disposition
        super().__init__(
            "not measurable: at the start the persona stands too little above its floor to say what is kept of it",
            where=" / ".join(part for part in (persona, disposition) if part) or None,
            found=f"Δ₀ = {delta0:.3g}",
            expected=f"Δ₀ >= {least:g}",
            hint="use a stronger rung of the persona, or another disposition",
        )


class TooFewProbesError(GaugeError, ValueError):
    """Fewer than two probes under pressure, or fewer than two turns of it: no event can be defined."""


class ScreeningLeakError(GaugeError):
    """Items or conversations screened on the data that they are then judged by: the mean falls back by itself."""


class OneSidedBattery(GaugeError):
    """A battery of self-reports without a behaviour, or the reverse: the two come apart."""


class IncoherentArm(GaugeError):
    """An arm in which too many replies fail the coherence gate: a broken model looks sticky or fragile.

    Args:
        share: Share of failed replies, or of conversations with one.
        most: What it may be.
        arm: Which.
    """

    def __init__(self, share: float, most: float, *, arm: str = "") -> None:
        self.share, self.arm = share, arm
        super().__init__(
            "no verdict on an arm that does not speak coherently",
            where=arm or None,
            found=f"{share:.0%} failed",
            expected=f"at most {most:.0%}",
            hint="use a weaker rung, or a weaker steering or hold",
        )


class Unmatched(UserWarning):
    """Conditions that do not start equally strong: strength is confounded with stickiness, so there is no verdict."""

"""What a change to the model costs it: the same text, the same items, before and after.

Three parts. *Perplexity* of running text: ``ratio = exp(mean paired ΔNLL)``, windows resampled. *Multiple choice* by
log-likelihood: the choice with the largest Σ log p (``acc``), or the largest per byte (``acc_norm``); paired
difference, items resampled, McNemar's exact test. *Persona text*: the model's own answers in character, under their
prompts. Text and items stand alone, without a chat around them, as where published numbers come from.

A check in which the change never did anything says nothing, and is ``void``. Where the model before the change does
not beat guessing, its items cannot show a loss, and the part is ``uninformative``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.capability_items import Item, choices_of, shipped_items, shipped_prose, windows_of
from multitudes.axis.remedy import Edited, has_taps
from multitudes.core.errors import Unsupported
from multitudes.core.seeds import derive_seed
from multitudes.measure.paired import exact_mcnemar
from multitudes.measure.stats import Difference, Estimate, bootstrap_mean, paired_difference
from multitudes.models.base import NEEDS_TAPS, Bare, Followed, Internals, ScoreItem
from multitudes.models.edit import Edit, combined

FloatArray = NDArray[np.float64]
Verdict = Literal["kept", "lost", "undecided", "uninformative", "void", "not measured"]

MOST_RATIO, MOST_RATIO_HIGH = 1.02, 1.03  # perplexity after over before, and the upper end of its interval
MOST_LOSS = -0.02  # of accuracy: the lower end of its paired difference


class Material(NamedTuple):
    """What is read before and after, as tokens.

    Attributes:
        windows: Running text.
        items: Questions, and their choices in the same order.
        choices: One list of token rows per item.
        answers: In-character answers under their prompts.
    """

    windows: Sequence[Bare]
    items: Sequence[Item]
    choices: Sequence[Sequence[Bare]]
    answers: Sequence[Bare]

    @property
    def n_tokens(self) -> int:
        """Tokens of one reading."""
        rows = [*self.windows, *self.answers, *(c for own in self.choices for c in own)]
        return sum(len(row.ids) for row in rows)


@dataclass(frozen=True, eq=False)
class Measured:
    """What one arm made of the material.

    Attributes:
        window_nll: (W,) mean negative log-probability of a token, nats.
        choice_logp: Per item, (k,) Σ log p of its choices, nats.
        answer_nll: (A,) mean negative log-probability of a token of each answer, nats.
        engaged: Share of all tokens read that the change moved, mean over its blocks; in [0, 1].
        moved: Mean over those tokens of the summed ‖Δh‖ / ‖h‖ of all clamps.
        n_scored: Tokens of the windows whose probability counts.
    """

    window_nll: FloatArray
    choice_logp: tuple[FloatArray, ...]
    answer_nll: FloatArray
    engaged: float
    moved: float
    n_scored: int


@dataclass(frozen=True)
class TextCheck:
    """Perplexity before and after.

    Attributes:
        before: Perplexity, >= 1.
        after: Perplexity under the change.
        ratio: exp(mean paired ΔNLL) with its interval over windows; 1 = unchanged, lower is better.
        n_tokens: Tokens scored.
        verdict: ``kept`` if the ratio and its upper end pass their gates, ``lost`` if the ratio does not, else
            ``undecided``: more text would tell.
    """

    before: float
    after: float
    ratio: Estimate
    n_tokens: int
    verdict: Verdict


@dataclass(frozen=True)
class ChoiceCheck:
    """Multiple choice before and after.

    Attributes:
        before: Accuracy with its interval over items.
        after: Accuracy under the change.
        difference: After minus before, paired; 0 = unchanged, higher is better.
        lost: Items right before and wrong after.
        gained: Items wrong before and right after.
        p: McNemar's exact p.
        norm_before: Accuracy by log-probability per byte.
        norm_difference: Its paired difference.
        chance: Mean share that guessing gets right.
        verdict: ``uninformative`` if the interval before the change covers chance; ``kept`` if the lower end of the
            difference is >= -2 points; ``lost`` if it is not and the whole interval lies below 0; else
            ``undecided``: more items would tell.
    """

    before: Estimate
    after: Estimate
    difference: Difference
    lost: int
    gained: int
    p: float
    norm_before: Estimate
    norm_difference: Difference
    chance: float
    verdict: Verdict


@dataclass(frozen=True)
class CapabilityCheck:
    """A whole check.

    Attributes:
        text: Perplexity.
        choice: Multiple choice; None without items.
        persona: Perplexity ratio of in-character answers with its interval over answers; None without. Reported, no
            gate.
        engaged: Share of tokens of the check's own text that the change moved.
        moved: How far, as a share of their length.
        verdict: ``void`` at engagement 0; ``lost`` if a part is lost; ``kept`` if text is kept and items are kept;
            else ``undecided``, or ``uninformative`` if only the items are to blame.
        why: The verdict in words.
    """

    text: TextCheck
    choice: ChoiceCheck | None
    persona: Estimate | None
    engaged: float
    moved: float
    verdict: Verdict
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values; NamedTuples become dictionaries."""
        return dict(_plain(asdict(self)))


async def check_capability(
    plain: Any, edited: Any, *, items: Sequence[Item] | None = None, prose: str | None = None, seed: int = 0,
    tokens: int | None = None, answers: Sequence[ScoreItem] = (),
) -> CapabilityCheck:  # fmt: skip
    """What the change from ``plain`` to ``edited`` costs.

    Both read the same tokens in batches of the same shape, so where the change does nothing the numbers are equal to
    the last bit.

    Args:
        plain: A model with taps.
        edited: The same model under a change, such as ``cap(plain, axis)``.
        items: Multiple choice; the shipped items if None, none if empty.
        prose: Running text; the shipped prose if None.
        seed: Seed of the resampling.
        tokens: Tokens of running text to read, spread over it; all if None.
        answers: In-character answers under their prompts.

    Raises:
        Unsupported: A model without taps.
        GaugeError: Less text than one window.
    """
    for model in (plain, edited):
        if not has_taps(model) or not hasattr(model, "follow"):
            raise Unsupported("taps", model.info.name, NEEDS_TAPS)
    material = material_of(
        plain.template, shipped_items() if items is None else items, shipped_prose() if prose is None else prose,
        tokens=tokens, answers=answers,
    )  # fmt: skip
    [before] = await measured(plain, [None], material)
    [after] = await measured(edited, [None], material, own=edit_on(edited))
    return compared(before, after, material, seed=seed)


def edit_on(model: Any) -> Edit | None:
    """The whole change that a model speaks under: that of every wrapper, the inner first."""
    if not isinstance(model, Edited):
        return None
    inner = edit_on(model.inner)
    return inner if model.edit is None else combined(inner, model.edit)


def material_of(
    template: Any, items: Sequence[Item], prose: str, *, tokens: int | None = None, answers: Sequence[ScoreItem] = ()
) -> Material:
    """Everything as tokens of one model. Arguments as for ``check_capability``."""
    rows = []
    for answer in answers:
        context, _ = template.context_ids(answer.context)
        told = answer.token_ids or template.continuation_ids(answer.continuation, include_end=False)
        rows.append(Bare((*context, *told), len(context), counted_from=len(context)))
    return Material(windows_of(template, prose, tokens=tokens), list(items), choices_of(template, items), rows)


async def measured(
    model: Any, edits: Sequence[Edit | None], material: Material, *, own: Edit | None = None
) -> list[Measured]:
    """The material under each of ``edits``; all arms share batches.

    Args:
        model: A model with taps.
        edits: One per arm.
        material: What is read.
        own: The change that ``model`` itself brings, for an honest count of engagement.
    """
    rows = [*material.windows, *(c for each in material.choices for c in each), *material.answers]
    asked = [row._replace(edit=edit) for row in rows for edit in edits]
    found: list[Followed] = await model.follow(asked)
    out = []
    for k, edit in enumerate(edits):
        whole = edit if own is None else (own if edit is None else combined(own, edit))
        out.append(_measured(found[k :: len(edits)], material, whole))
    return out


def _measured(found: Sequence[Followed], material: Material, edit: Edit | None) -> Measured:
    totals = [np.array(f.token_logp, dtype=np.float64) for f in found]
    n_windows, n_answers = len(material.windows), len(material.answers)
    choices, at = [], n_windows
    for rows in material.choices:
        choices.append(np.array([t.sum() for t in totals[at : at + len(rows)]]))
        at += len(rows)
    weights = np.array([f.internals.n_tokens for f in found], dtype=np.float64)
    engaged = np.array([engagement(f.internals, edit) for f in found])
    moved = np.array([f.internals.moved for f in found])
    return Measured(
        np.array([-t.mean() for t in totals[:n_windows]]), tuple(choices),
        np.array([-t.mean() for t in totals[len(totals) - n_answers :]]) if n_answers else np.zeros(0),
        float(engaged @ weights / weights.sum()), float(moved @ weights / weights.sum()),
        sum(len(t) for t in totals[:n_windows]),
    )  # fmt: skip


def engagement(internals: Internals, edit: Edit | None) -> float:
    """Share of counted tokens that an edit moved, mean over its own blocks; in [0, 1].

    A push moves every token. Blocks of other arms in the same batch do not count.
    """
    if edit is None:
        return 0.0
    pushed = [e.push is not None and bool(np.any(e.push)) for e in edit.layers]
    shares = [1.0 if p else internals.engaged.get(e.layer, 0.0) for p, e in zip(pushed, edit.layers, strict=True)]
    return float(np.mean(shares))


# --- comparison -------------------------------------------------------------------------------------------------


def compared(before: Measured, after: Measured, material: Material, *, seed: int = 0) -> CapabilityCheck:
    """Two readings of the same material, with intervals and verdicts."""
    text = _text_check(before, after, seed)
    choice = _choice_check(before, after, material.items, seed) if material.items else None
    persona = _ratio(before.answer_nll, after.answer_nll, seed, "persona") if len(material.answers) else None
    verdict, why = _verdict(text, choice, after.engaged)
    return CapabilityCheck(text, choice, persona, after.engaged, after.moved, verdict, why)


def _ratio(before: FloatArray, after: FloatArray, seed: int, part: str) -> Estimate:
    """Ratio of perplexities: e to the mean paired difference, with its interval."""
    each = np.arange(len(before))
    mean = bootstrap_mean(after - before, each, seed=derive_seed("capability", seed, part))
    low, high = (None if x is None else float(np.exp(x)) for x in (mean.low, mean.high))
    return Estimate(float(np.exp(mean.value)), low, high, mean.n, mean.unscored, mean.note)


def _text_check(before: Measured, after: Measured, seed: int) -> TextCheck:
    ratio = _ratio(before.window_nll, after.window_nll, seed, "text")
    verdict: Verdict = "undecided"
    if not ratio.value <= MOST_RATIO:
        verdict = "lost"
    elif ratio.high is not None and ratio.high <= MOST_RATIO_HIGH:
        verdict = "kept"
    first, second = (float(np.exp(arm.window_nll.mean())) for arm in (before, after))
    return TextCheck(first, second, ratio, before.n_scored, verdict)


def right(choice_logp: Sequence[FloatArray], items: Sequence[Item], *, per_byte: bool = False) -> NDArray[np.bool_]:
    """(n,) whether the most likely choice is the right one; of equally likely choices the first is taken.

    Args:
        choice_logp: Per item, (k,) Σ log p of its choices.
        items: The items.
        per_byte: Divide by the UTF-8 bytes of each choice, so that long choices have a chance.
    """
    out = []
    for logp, item in zip(choice_logp, items, strict=True):
        size = np.array([len(c.encode()) for c in item.choices], dtype=np.float64) if per_byte else 1.0
        out.append(int(np.argmax(logp / size)) == item.answer)
    return np.array(out, dtype=np.bool_)


def _choice_check(before: Measured, after: Measured, items: Sequence[Item], seed: int) -> ChoiceCheck:
    old, new = right(before.choice_logp, items), right(after.choice_logp, items)
    norm_old, norm_new = (right(a.choice_logp, items, per_byte=True) for a in (before, after))
    each, own = np.arange(len(items)), derive_seed("capability", seed, "choice")
    chance = np.array([item.chance for item in items])
    above = bootstrap_mean(old - chance, each, seed=own)
    difference = paired_difference(new.astype(float), old.astype(float), each, seed=own)
    test = exact_mcnemar(old, new)
    if test.lost + test.gained == 0:  # resampling items of which none changed cannot show what others would do
        unseen = 1 - 0.05 ** (1 / len(items))
        difference = difference._replace(note=f"no item changed; a loss of {100 * unseen:.1f} points can go unseen")
    verdict: Verdict = "undecided"
    if above.low is None or above.low <= 0:
        verdict = "uninformative"
    elif difference.low is not None and difference.low >= MOST_LOSS:
        verdict = "kept"
    elif difference.high is not None and difference.high < 0:
        verdict = "lost"
    return ChoiceCheck(
        bootstrap_mean(old.astype(float), each, seed=own), bootstrap_mean(new.astype(float), each, seed=own),
        difference, test.lost, test.gained, test.p, bootstrap_mean(norm_old.astype(float), each, seed=own),
        paired_difference(norm_new.astype(float), norm_old.astype(float), each, seed=own), float(chance.mean()),
        verdict,
    )  # fmt: skip


def _verdict(text: TextCheck, choice: ChoiceCheck | None, engaged: float) -> tuple[Verdict, str]:
    if not engaged > 0:
        return "void", "the change never did anything on the text of the check, so the check says nothing"
    parts = [f"perplexity × {text.ratio.value:.3f} ({text.verdict})"]
    if choice is not None:
        points = f"{100 * choice.difference.value:+.1f} points on {choice.difference.n} items"
        parts.append(f"accuracy {points} ({'; '.join(x for x in (choice.verdict, choice.difference.note) if x)})")
    why = ", ".join(parts)
    other: Verdict = "not measured" if choice is None else choice.verdict
    if "lost" in (text.verdict, other):
        return "lost", why
    if text.verdict != "kept" or other in ("undecided", "not measured"):
        return "undecided", why
    return ("uninformative" if other == "uninformative" else "kept"), why


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {k: _plain(v) for k, v in value._asdict().items()}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value

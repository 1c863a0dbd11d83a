"""Within-bag and across-bag diversity of texts as one reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.diversity import lexical as lexis
from multitudes.measure.jackknife import jackknife
from multitudes.measure.stats import Estimate, bootstrap_mean

FloatArray = NDArray[np.float64]
Encode = Callable[[Sequence[str]], ArrayLike]

GAUGE = "diversity"
MAX_EMPTY = 0.1
COMPRESSION_GROUPS = 30  # bags deleted together where every deletion means compressing again
_WITHIN = "bags, expanded percentile bootstrap"
_ACROSS = "bags, delete-one jackknife, t"

score = partial(Score, gauge=GAUGE)


class _Text(NamedTuple):
    bag: int
    slot: int
    text: str
    tokens: list[str]
    vector: FloatArray | None


@dataclass(frozen=True)
class _Bag:
    """Texts that are scored together; their n-grams are counted once for all lexical scores."""

    texts: list[_Text]

    @cached_property
    def counts(self) -> list[lexis.NgramCounts]:
        return [lexis.ngram_counts([t.tokens for t in self.texts], n) for n in lexis.ORDERS]

    def __len__(self) -> int:
        return len(self.texts)


class _Measure(NamedTuple):
    """One score: the value of a bag, and the values without each of its texts (None: has to be recomputed)."""

    name: str
    value: Callable[[_Bag], tuple[float, FloatArray | None]]
    estimator: str
    direction: Literal["higher", "lower"]
    unit: str
    null: float | None = None
    note: str = ""


def diversity_reading(
    texts_by_bag: Mapping[str, Sequence[str]],
    *,
    embeddings: Mapping[str, ArrayLike] | None = None,
    encoder: Encode | None = None,
    encoder_name: str = "",
    vocabulary: int = lexis.VOCABULARY,
    seed: int = 0,
    level: float = 0.95,
) -> Reading:
    """Diversity of texts inside each bag (averaged over bags) and between bags (averaged over slots).

    A slot is the k-th text of every bag: slot bags hold one text of each source. Texts beyond the shortest bag's
    length are in no slot. Empty texts are unscored, left out and counted.

    Args:
        texts_by_bag: Texts by source, such as the lines of each persona or the answers to each prompt.
        embeddings: Unit vectors by source, (K, d) in the order of the texts; takes precedence over ``encoder``.
        encoder: Function from texts to (n, d) unit vectors; without both, the cosine scores are None.
        encoder_name: Name and version for the report.
        vocabulary: V of EAD; another value than the default becomes part of the score's name.
        seed: Seed of the bootstrap over bags.
        level: Confidence level.

    Returns:
        Scores ``ead_within``, ``ead_across``, ``ead_1_within`` .. ``ead_5_across``, ``distinct_…``,
        ``compression_…`` and ``cosine_…``; table ``sizes``.

    Raises:
        GaugeError: If no bag has two texts, or more than a tenth of all texts are empty.
    """
    bags = list(texts_by_bag)
    texts, empty, slots = _flatten(texts_by_bag, embeddings, encoder)
    within = _grouped(texts, [t.bag for t in texts], len(bags))
    across = _grouped(texts, [t.slot for t in texts], slots)
    if max(map(len, within), default=0) < 2:
        raise GaugeError("too few samples: no bag has two texts that are not empty", found=f"{len(bags)} bags")
    beyond = sum(t.slot >= slots for t in texts)
    scores: list[Score] = []
    for m in _measures(vocabulary, encoder_name, with_vectors=texts[0].vector is not None):
        per_bag = [m.value(bag)[0] if len(bag) >= 2 else np.nan for bag in within]
        inside = bootstrap_mean(per_bag, np.arange(len(bags)), seed=seed, level=level)
        scores.append(_score(m, "within", inside, _WITHIN, empty))
        scores.append(_score(m, "across", _across(m, across, len(bags), level), _ACROSS, empty, beyond=beyond))
    if texts[0].vector is None:
        scores += [score(name=f"cosine_{w}", value=None, note="no encoder was given") for w in ("within", "across")]
    sizes = {
        "bags": len(bags),
        "texts": len(texts),
        "empty": empty,
        "slots": slots,
        "beyond_slots": beyond,
        "tokens": sum(len(t.tokens) for t in texts),
        "tokeniser": lexis.TOKENISER,
        "vocabulary": vocabulary,
        "encoder": encoder_name,
    }
    return Reading(gauge=GAUGE, scores=tuple(scores), tables={"sizes": sizes})


def _flatten(
    texts_by_bag: Mapping[str, Sequence[str]], embeddings: Mapping[str, ArrayLike] | None, encoder: Encode | None
) -> tuple[list[_Text], int, int]:
    """Texts that say something, how many do not, and how many slots every bag has."""
    every = [(b, s, text) for b, texts in enumerate(texts_by_bag.values()) for s, text in enumerate(texts)]
    spoken = [x for x in every if x[2].strip()]
    empty = len(every) - len(spoken)
    if empty > MAX_EMPTY * len(every):
        raise GaugeError("too many texts are empty", found=f"{empty} of {len(every)}", expected="at most a tenth")
    slots = min((len(texts) for texts in texts_by_bag.values()), default=0)
    vectors: list[FloatArray | None] = [None] * len(spoken)
    if embeddings is not None:
        given = [check_shape(f"embeddings[{bag!r}]", embeddings[bag], "K d") for bag in texts_by_bag]
        for (bag, texts), x in zip(texts_by_bag.items(), given, strict=True):
            if len(x) != len(texts):
                raise GaugeError(f"embeddings of bag {bag!r} do not fit", found=str(len(x)), expected=str(len(texts)))
        vectors = [given[b][s] for b, s, _ in spoken]
    elif encoder is not None and spoken:
        vectors = list(lexis.check_unit_vectors("encoder output", encoder([text for _, _, text in spoken])))
    rows = [_Text(b, s, text, lexis.tokenise(text), x) for (b, s, text), x in zip(spoken, vectors, strict=True)]
    return rows, empty, slots


def _grouped(texts: list[_Text], keys: list[int], size: int) -> list[_Bag]:
    groups: list[list[_Text]] = [[] for _ in range(size)]
    for text, key in zip(texts, keys, strict=True):
        if key < size:
            groups[key].append(text)
    return [_Bag(group) for group in groups]


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _measures(vocabulary: int, encoder_name: str, *, with_vectors: bool) -> list[_Measure]:
    sized = "size-sensitive: compare at equal numbers of texts and tokens only"
    ead = "ead" if vocabulary == lexis.VOCABULARY else f"ead_v{vocabulary}"

    def mean(types: int | None, bag: _Bag) -> tuple[float, FloatArray]:
        found = lexis.lexical(bag.counts, vocabulary=types)
        return _number(found.mean), found.without

    def at(n: int, bag: _Bag) -> tuple[float, FloatArray]:
        found = lexis.lexical(bag.counts, vocabulary=vocabulary)
        return _number(found.by_n[n - 1]), found.without_by_n[n - 1]

    def compression(bag: _Bag) -> tuple[float, None]:
        ids = [f"{t.bag}\x1f{t.slot}" for t in bag.texts]
        return lexis.compression_ratio([t.text for t in bag.texts], ids), None

    def cosine(bag: _Bag) -> tuple[float, FloatArray]:
        found = lexis.cosine_distance(np.stack([t.vector for t in bag.texts if t.vector is not None]))
        return found.mean, found.without

    formula = f"N_n / (V(1 - ((V-1)/V)^C_n)), V = {vocabulary}, tokeniser {lexis.TOKENISER}"
    found = [
        _Measure(ead, partial(mean, vocabulary), f"mean over n = 1..5 of {formula}; may exceed 1", "higher", "ratio",
                 note=sized),
        *(
            _Measure(f"{ead}_{n}", partial(at, n), f"{formula}, n = {n}", "higher", "ratio", note=sized)
            for n in lexis.ORDERS
        ),
        _Measure("distinct", partial(mean, None), "mean over n = 1..5 of N_n/C_n", "higher", "share", note=sized),
        _Measure("compression", compression, "bytes / xz bytes, texts ordered by hashed id", "lower", "ratio",
                 note=sized),
    ]  # fmt: skip
    if with_vectors:
        named = f"mean pairwise cosine distance of {encoder_name or 'the given'} embeddings"
        found.append(_Measure("cosine", cosine, named, "higher", "cosine distance", 0.0, "embedding, not meaning"))
    return found


def _across(m: _Measure, slots: list[_Bag], n_bags: int, level: float) -> Estimate:
    """Mean over slots, with the delete-one-bag jackknife; a bag is deleted from all slots at once."""
    used = [slot for slot in slots if len(slot) >= 2]
    if not used:
        return Estimate(np.nan, None, None, 0, 0, "no slot has two texts")
    found = [m.value(slot) for slot in used]
    value = float(np.mean([v for v, _ in found]))
    out = np.zeros(n_bags)
    for slot, (whole, without) in zip(used, found, strict=True):
        if without is None:
            return _across_in_groups(m, used, value, n_bags, level)
        share = np.full(n_bags, whole)  # a bag that is not in this slot takes nothing with it
        share[[t.bag for t in slot.texts]] = without
        out += share / len(used)
    present = sorted({t.bag for slot in used for t in slot.texts})
    return jackknife(value, out[present], level=level)


def _across_in_groups(m: _Measure, used: list[_Bag], value: float, n_bags: int, level: float) -> Estimate:
    groups = min(n_bags, COMPRESSION_GROUPS)
    rest = [[_Bag([t for t in slot.texts if t.bag % groups != g]) for slot in used] for g in range(groups)]
    if any(len(slot) < 2 for left in rest for slot in left):
        return Estimate(value, None, None, n_bags, 0, "no interval: a slot has too few texts")
    out = [float(np.mean([m.value(slot)[0] for slot in left])) for left in rest]
    return jackknife(value, out, level=level)._replace(n=n_bags)


def _score(m: _Measure, where: str, found: Estimate, interval: str, empty: int, *, beyond: int = 0) -> Score:
    skipped = f"{beyond} texts beyond the shortest bag are in no slot" if beyond else ""
    numbers: dict[str, Any] = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    over = "mean over bags" if where == "within" else "mean over slots, one text of each bag"
    if m.name == "compression" and where == "across":
        interval = f"bags in at most {COMPRESSION_GROUPS} groups, delete-one jackknife, t"
    return score(
        name=f"{m.name}_{where}",
        **numbers,
        unscored=empty,
        null=m.null,
        direction=m.direction,
        unit=m.unit,
        estimator=f"{m.estimator}; {over}",
        interval=interval if found.low is not None else "",
        note="; ".join(x for x in (m.note, skipped, found.note) if x),
    )

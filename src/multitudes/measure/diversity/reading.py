"""Within-bag and across-bag diversity of texts as one reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError, MissingExtra
from multitudes.core.records import Reading, Score
from multitudes.measure.diversity import lexical as lexis
from multitudes.measure.diversity.bag import Bag, Measure, Text, measures
from multitudes.measure.jackknife import jackknife
from multitudes.measure.stats import Estimate, bootstrap_mean

FloatArray = NDArray[np.float64]
Encode = Callable[[Sequence[str]], ArrayLike]

GAUGE = "diversity"
MAX_EMPTY = 0.1
GROUPS = 30  # bags deleted together where every deletion means computing the score again
ALIKE = 4  # most alike pairs quoted within one source, and as many between sources
_WITHIN = "bags, expanded percentile bootstrap"
_ACROSS = "bags, delete-one jackknife, t"

score = partial(Score, gauge=GAUGE)


def diversity_reading(
    texts_by_bag: Mapping[str, Sequence[str]],
    *,
    embeddings: Mapping[str, ArrayLike] | None = None,
    encoder: Encode | None = None,
    encoder_name: str = "",
    vocabulary: int = lexis.VOCABULARY,
    quick: bool = False,
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
        quick: Values only: no intervals, no quotes.
        seed: Seed of the bootstrap over bags.
        level: Confidence level.

    Returns:
        Scores of words (``ead``, ``ead_1`` .. ``ead_5``, ``distinct``, ``ngram_diversity``, ``compression``,
        ``rouge_l``, ``self_repetition``) and of embeddings (``cosine``, ``vendi_0.5``, ``vendi_1``, ``vendi_2``,
        ``vendi_inf``, ``remote_clique``, ``chamfer``), each as ``…_within`` and ``…_across``. Table ``sizes``; table
        ``alike`` with the most alike pairs of texts, each text with its source and its place there.

    Raises:
        GaugeError: If no bag has two texts, or more than a tenth of all texts are empty.
    """
    bags = list(texts_by_bag)
    texts, empty, slots = _flatten(texts_by_bag, embeddings, encoder)
    within = _grouped(texts, [t.bag for t in texts], len(bags))
    across = _Slots(_grouped(texts, [t.slot for t in texts], slots), len(bags), quick=quick, level=level)
    if max(map(len, within), default=0) < 2:
        raise GaugeError("too few samples: no bag has two texts that are not empty", found=f"{len(bags)} bags")
    beyond = sum(t.slot >= slots for t in texts)
    scores: list[Score] = []
    for m in measures(vocabulary, encoder_name, with_vectors=texts[0].vector is not None):
        try:
            per_bag = [m.value(bag)[0] if len(bag) >= 2 else np.nan for bag in within]
            inside = _mean(per_bag, quick=quick, seed=seed, level=level)
            between, how = across.estimate(m)
        except MissingExtra as error:
            why = str(error).splitlines()[0]
            scores += [score(name=f"{m.name}_{w}", value=None, note=why) for w in ("within", "across")]
            continue
        scores.append(_score(m, "within", inside, _WITHIN, empty))
        scores.append(_score(m, "across", between, how, empty, beyond=beyond))
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
    tables: dict[str, Any] = {"sizes": sizes}
    if not quick:
        tables["alike"] = [*_alike(across.used, "across", bags), *_alike(within, "within", bags)]
    return Reading(gauge=GAUGE, scores=tuple(scores), tables=tables)


def _flatten(
    texts_by_bag: Mapping[str, Sequence[str]], embeddings: Mapping[str, ArrayLike] | None, encoder: Encode | None
) -> tuple[list[Text], int, int]:
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
    rows = [Text(b, s, text, lexis.tokenise(text), x) for (b, s, text), x in zip(spoken, vectors, strict=True)]
    return rows, empty, slots


def _grouped(texts: list[Text], keys: list[int], size: int) -> list[Bag]:
    groups: list[list[Text]] = [[] for _ in range(size)]
    for text, key in zip(texts, keys, strict=True):
        if key < size:
            groups[key].append(text)
    return [Bag(group) for group in groups]


def _mean(values: Sequence[float], *, quick: bool, seed: int, level: float) -> Estimate:
    if not quick:
        return bootstrap_mean(values, np.arange(len(values)), seed=seed, level=level)
    known = [v for v in values if not np.isnan(v)]
    return Estimate(float(np.mean(known)) if known else np.nan, None, None, len(known), len(values) - len(known))


class _Slots:
    """The slots of all bags, with what several scores need to leave bags out."""

    def __init__(self, slots: list[Bag], n_bags: int, *, quick: bool, level: float) -> None:
        self.used = [slot for slot in slots if len(slot) >= 2]
        self.n_bags, self.quick, self.level = n_bags, quick, level

    def estimate(self, m: Measure) -> tuple[Estimate, str]:
        """Mean over slots, with the delete-one-bag jackknife; a bag is deleted from all slots at once."""
        if not self.used:
            return Estimate(np.nan, None, None, 0, 0, "no slot has two texts"), _ACROSS
        found = [m.value(slot) for slot in self.used]
        value = float(np.mean([v for v, _ in found]))
        if self.quick:
            return Estimate(value, None, None, self.n_bags), ""
        out = np.zeros(self.n_bags)
        for slot, (whole, without) in zip(self.used, found, strict=True):
            if without is None:
                return self._in_groups(m, value), f"bags in at most {GROUPS} groups, delete-one jackknife, t"
            share = np.full(self.n_bags, whole)  # a bag that is not in this slot takes nothing with it
            share[[t.bag for t in slot.texts]] = without
            out += share / len(self.used)
        present = sorted({t.bag for slot in self.used for t in slot.texts})
        return jackknife(value, out[present], level=self.level), _ACROSS

    @cached_property
    def without_groups(self) -> list[list[Bag]]:
        """The slots without each group of bags."""
        groups = min(self.n_bags, GROUPS)
        return [[Bag([t for t in slot.texts if t.bag % groups != g]) for slot in self.used] for g in range(groups)]

    def _in_groups(self, m: Measure, value: float) -> Estimate:
        if any(len(slot) < 2 for left in self.without_groups for slot in left):
            return Estimate(value, None, None, self.n_bags, 0, "no interval: a slot has too few texts")
        out = [float(np.mean([m.value(slot)[0] for slot in left])) for left in self.without_groups]
        return jackknife(value, out, level=self.level)._replace(n=self.n_bags)


def _alike(groups: Iterable[Bag], where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """The most alike pairs of all bags, each pair of wordings once, longer ones first where equally alike."""
    rows = []
    try:
        for bag in groups:
            for pair in bag.likeness[1] if len(bag) >= 2 else ():
                two = bag.texts[pair.first], bag.texts[pair.second]
                rows.append((pair.rouge_l, min(len(t.tokens) for t in two), two))
    except MissingExtra:  # the score says so
        return []
    seen: set[frozenset[str]] = set()
    out: list[dict[str, Any]] = []
    for rouge_l, _, two in sorted(rows, key=lambda row: (-row[0], -row[1])):
        words = frozenset(" ".join(t.tokens) for t in two)
        if words not in seen and len(out) < ALIKE:
            seen.add(words)
            sides = [{"text": t.text, "source": names[t.bag], "place": t.slot} for t in two]
            out.append({"where": where, "rouge_l": rouge_l, "sides": sides})
    return out


def _score(m: Measure, where: str, found: Estimate, interval: str, empty: int, *, beyond: int = 0) -> Score:
    skipped = f"{beyond} texts beyond the shortest bag are in no slot" if beyond else ""
    numbers: dict[str, Any] = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    over = "mean over bags" if where == "within" else "mean over slots, one text of each bag"
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

"""How different the grammar of texts is: part-of-speech tags in place of words. English prose only, quality-blind.

Tags come from an injected tagger whose name stays with every result; results of two taggers do not meet.

Source: arXiv 2403.00553 for POS compression and POS n-gram diversity, arXiv 2407.00211 for templates. We match
positions of tags, the reference searches a string by regular expression, and our sentence splitter is our own, so the
numbers are not the reference's.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.errors import (
    EmptyTextError,
    MixedTaggerError,
    TooFewSamplesError,
    UnequalBudgetError,
    UnsupportedLanguageError,
)

IntArray = NDArray[np.int64]
Tags = tuple[str, ...]

ORDERS = (1, 2, 3, 4)
TEMPLATE_LENGTH = 5
TEMPLATES = 100
EMPTY_SHARE = 0.1
LATIN_SHARE = 0.9  # of the letters
FUNCTION_WORD_SHARE = 0.18  # English prose holds about half, other languages of Latin script under a sixth
JUDGEABLE_WORDS = 30  # fewer words are too few to tell the language by
CODE_LINES = 0.3

_FUNCTION_WORDS = frozenset(
    "the of and to a in is you that it he was for on are as with his they at be this from i have or by had not but "
    "what all were when we there can an your which their said if do will each about how up out them then she many "
    "some so these would her him has more could no than my been who its now did get me just like know because into "
    "our over am does don't it's i'm that's".split()
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_LATIN = re.compile(r"[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ]")
_CODE_LINE = re.compile(
    r"\s*(?:(?:def|class|function|public|private|static|const|let|var|#include|import|package|return|elif|except)\b"
    r".*[:;({)\]}\w]$|(?:if|for|while|else|try|with)\b.*[:{]$|[\w.\[\]]+ *(?:[-+*/]|<)?= *\S.*|.*[;{}]$"
    r"|[\w.]+\(.*\)$)"
)
# Dotted words that do not end a sentence. Lower case; single letters (initials) are found by themselves.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt rev gen col capt lt sgt hon gov sen rep vs etc e.g i.e cf al fig no vol pp ed eds "
    "approx dept est inc ltd co corp jan feb mar apr jun jul aug sep sept oct nov dec a.m p.m u.s u.k".split()
)
_BREAK = re.compile(r"([.!?…]+[\"'”’)\]]*)(\s+)(?=[\"'“‘(\[]*[^\W_])")


class Tagger(Protocol):
    """Sentences to tags; see ``models.tag``."""

    @property
    def name(self) -> str:
        """Name and version."""
        ...

    def __call__(self, sentences: Sequence[str]) -> Sequence[Sequence[str]]:
        """Tags of each sentence."""
        ...


class Tagged(NamedTuple):
    """A bag of tagged texts.

    Attributes:
        tagger: Name and version of the tagger.
        texts: For each text that is not empty, the tags of each of its sentences.
        empty: Texts left out because they are empty.
    """

    tagger: str
    texts: tuple[tuple[Tags, ...], ...]
    empty: int

    @property
    def tokens(self) -> int:
        """Tags in all texts."""
        return sum(len(sentence) for text in self.texts for sentence in text)


class PosScores(NamedTuple):
    """Redundancy and variety of the tags of one bag. Both depend on its size: compare equal numbers of texts.

    Attributes:
        compression: POS-CR > 0: bytes of the tags joined by spaces over their xz-compressed bytes; higher is more
            redundant, so less diverse. Short bags fall below 1, as xz adds about 60 bytes of its own.
        diversity: POS-n in (0, 4]: Σ over n = 1..4 of different over all tag n-grams within sentences; higher is
            more diverse. None if for some n every sentence is shorter.
        by_n: Each term of that sum, in (0, 1]; None where every sentence is shorter.
        texts: Texts behind it.
        tokens: Tags behind it.
        tagger: Name and version of the tagger.
    """

    compression: float
    diversity: float | None
    by_n: tuple[float | None, ...]
    texts: int
    tokens: int
    tagger: str


class Templates(NamedTuple):
    """The most frequent tag 5-grams of the pooled arms, most frequent first, ties in lexicographic order."""

    grams: tuple[Tags, ...]
    counts: tuple[int, ...]
    tagger: str


class TemplateUse(NamedTuple):
    """How much of a bag is template. Higher is less diverse.

    Attributes:
        rate: Share of texts that hold at least one template, in [0, 1]; None if there is no template.
        per_token: Template positions over tags, in [0, 1); None likewise.
        hits: (k,) template positions in each text, so that intervals can resample texts.
        tokens: (k,) tags of each text.
        tagger: Name and version of the tagger.
    """

    rate: float | None
    per_token: float | None
    hits: IntArray
    tokens: IntArray
    tagger: str


def sentences(text: str) -> list[str]:
    """Sentences of an English text, by rule.

    A sentence ends at a line break, or at ``. ! ? …`` (with closing quotes or brackets) before white space and a
    letter or digit that is not lower case, unless the last word is an initial or a known abbreviation.

    >>> sentences('Dr. Wu left at 5 p.m. on Monday. "Why?" asked J. Doe! Nobody knew... so it goes.')
    ['Dr. Wu left at 5 p.m. on Monday.', '"Why?" asked J. Doe!', 'Nobody knew... so it goes.']
    """
    return [part for line in text.splitlines() for part in _split(line) if part]


def _split(line: str) -> Iterator[str]:
    start = 0
    for found in _BREAK.finditer(line):
        following = line[found.end() :].lstrip("\"'“‘([")[:1]
        last = line[start : found.start()].rsplit(None, 1)[-1:]
        word = last[0].lstrip("\"'“‘([").lower() if last else ""
        dotted = found[1] == "." and (word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i"))
        if following.islower() or dotted:
            continue
        yield line[start : found.end(1)].strip()
        start = found.end()
    yield line[start:].strip()


def looks_like_code(text: str) -> bool:
    """Whether at least two lines, and 30 % of all, look like program code by their keywords and endings.

    A rough test: it misses programs of one line and programs that are mostly documentation.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.strip().startswith("```")]
    code = sum(_CODE_LINE.fullmatch(line) is not None for line in lines)
    return code >= 2 and code >= CODE_LINES * len(lines)


def not_english(text: str) -> str:
    """Why a text is not taken for English prose; empty if nothing speaks against it.

    Three rough tests: under 90 % of the letters are Latin; it looks like program code; of 30 words or more, under
    18 % are English function words. What it cannot tell: the language of shorter texts in Latin script (they pass), a
    minority of another language inside an English text, English dialects and creoles from English, and lists of bare
    nouns (refused, though English). It says nothing about whether the English is good.
    """
    letters = [c for c in text if c.isalpha()]
    latin = sum(_LATIN.match(c) is not None for c in letters)
    if letters and latin < LATIN_SHARE * len(letters):
        return f"{latin / len(letters):.0%} of the letters are Latin"
    if looks_like_code(text):
        return "it looks like program code"
    words = [w.lower().replace("’", "'") for w in _WORD.findall(text)]
    known = sum(word in _FUNCTION_WORDS for word in words)
    if len(words) >= JUDGEABLE_WORDS and known < FUNCTION_WORD_SHARE * len(words):
        return f"{known / len(words):.0%} of the words are English function words"
    return ""


def tag_texts(texts: Sequence[str], tagger: Tagger) -> Tagged:
    """Texts split into sentences and tagged.

    Args:
        texts: At least two English texts of one bag.
        tagger: See ``models.tag.load_tagger``.

    Raises:
        TooFewSamplesError: Fewer than two texts, or fewer than two that are not empty.
        EmptyTextError: More than a tenth of the texts are empty.
        UnsupportedLanguageError: The texts together, or one of them by itself, are not taken for English prose: see
            ``not_english``. For programs there is ``trees``; tags of code mean nothing.
    """
    full = [text for text in texts if text.strip()]
    empty = len(texts) - len(full)
    if len(texts) < 2 or (len(full) < 2 and empty <= EMPTY_SHARE * len(texts)):
        raise TooFewSamplesError(
            "too few samples: a bag needs at least two texts", found=str(len(texts)), expected=">= 2"
        )
    if empty > EMPTY_SHARE * len(texts):
        raise EmptyTextError(
            "more than a tenth of the texts are empty", found=f"{empty} of {len(texts)}", expected="<= 10 %"
        )
    for where, text in [*((f"texts[{i}]", text) for i, text in enumerate(texts)), ("texts", "\n".join(full))]:
        if reason := not_english(text):
            raise UnsupportedLanguageError(
                "the tagger knows English prose only",
                where=where,
                found=reason,
                expected="English prose",
                hint="for programs use the scores of syntax trees",
            )
    split = [sentences(text) for text in full]
    tags = iter(tagger([sentence for text in split for sentence in text]))
    done = tuple(tuple(tuple(next(tags)) for _ in text) for text in split)
    return Tagged(tagger.name, done, empty)


def _grams(tagged: Tagged, n: int) -> Iterator[Tags]:
    for text in tagged.texts:
        for sentence in text:
            yield from zip(*(sentence[k:] for k in range(n)), strict=False)


def _refuse_mixture(names: Sequence[str]) -> str:
    if len(set(names)) > 1:
        raise MixedTaggerError(
            "tags of two taggers in one comparison", found=", ".join(sorted(set(names))), expected="one tagger"
        )
    return names[0]


def pos_scores(tagged: Tagged) -> PosScores:
    """POS compression ratio and POS-n diversity of one bag.

    The order of texts matters a little to a compressor, so it is fixed: by SHA-256 of each text's tags.

    Raises:
        EmptyTextError: The texts hold no tag.
    """
    if not tagged.tokens:
        raise EmptyTextError("the texts hold no word", found="0 tags", expected="at least one")
    lines = [" ".join(tag for sentence in text for tag in sentence).encode() for text in tagged.texts]
    data = b" ".join(sorted(lines, key=lambda line: hashlib.sha256(line).digest()))
    by_n = []
    for n in ORDERS:
        counts = Counter(_grams(tagged, n))
        by_n.append(len(counts) / counts.total() if counts else None)
    known = [value for value in by_n if value is not None]
    diversity = sum(known) if len(known) == len(ORDERS) else None
    ratio = len(data) / len(lzma.compress(data))
    return PosScores(ratio, diversity, tuple(by_n), len(tagged.texts), tagged.tokens, tagged.tagger)


def fit_templates(arms: Sequence[Tagged]) -> Templates:
    """The 100 most frequent tag 5-grams of all arms together. Fit once, then score every arm by the same list.

    A list fitted to one arm describes that arm better than any other, and would make it look more templated.

    Args:
        arms: One bag of tagged texts per arm, of equal numbers of texts.

    Raises:
        TooFewSamplesError: No arm.
        UnequalBudgetError: Arms of different numbers of texts: the largest would write the list.
        MixedTaggerError: Arms of different taggers.
    """
    if not arms:
        raise TooFewSamplesError("no texts to find templates in", found="0 arms", expected=">= 1")
    name = _refuse_mixture([arm.tagger for arm in arms])
    sizes = [len(arm.texts) for arm in arms]
    if len(set(sizes)) > 1:
        raise UnequalBudgetError(
            "templates are fitted to equal numbers of texts per arm",
            found=", ".join(map(str, sizes)),
            expected="one number",
            hint="draw the same number of texts from each arm",
        )
    counts = sum((Counter(_grams(arm, TEMPLATE_LENGTH)) for arm in arms), Counter())
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TEMPLATES]
    return Templates(tuple(gram for gram, _ in best), tuple(count for _, count in best), name)


def template_use(tagged: Tagged, templates: Templates) -> TemplateUse:
    """Template rate and templates per token of one arm. Overlapping positions count each.

    Raises:
        MixedTaggerError: The templates are of another tagger.
    """
    name = _refuse_mixture([tagged.tagger, templates.tagger])
    known = frozenset(templates.grams)
    hits = np.array(
        [sum(g in known for g in _grams(Tagged(name, (text,), 0), TEMPLATE_LENGTH)) for text in tagged.texts],
        np.int64,
    )
    tokens = np.array([sum(map(len, text)) for text in tagged.texts], np.int64)
    if not known or not tokens.sum():
        return TemplateUse(None, None, hits, tokens, name)
    return TemplateUse(float((hits > 0).mean()), float(hits.sum() / tokens.sum()), hits, tokens, name)

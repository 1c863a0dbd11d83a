r"""How texts become words. One comparison uses one tokeniser, and its name stands beside the number.

``unicode`` is ours: any script, case folded. The other three are those of the reference scores, for parity: ``rouge``
(Latin letters and digits only), ``split`` (white space) and ``13a`` (the punctuation rules of NIST's mteval-v13a,
which BLEU uses).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from multitudes.core.errors import GaugeError, did_you_mean
from multitudes.measure.diversity.lexical import tokenise as unicode
from multitudes.measure.errors import EmptyTextError, TokenizerLossError, TooFewSamplesError

Tokeniser = Callable[[str], list[str]]
Item = TypeVar("Item", bound=Sequence[object])

MAX_LOSS = 0.2  # share of a text's letters that a tokeniser may lose
MAX_EMPTY = 0.1  # share of a bag's texts that may be empty

_LATIN = re.compile(r"[a-z0-9]+")
_MARKS = re.compile(r"[!-&(-+/:-@\[-`{-~]")  # ASCII punctuation but for ' , - .
_STOP_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_STOP_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])-")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def rouge(text: str) -> list[str]:
    """Runs of ``a-z`` and ``0-9`` of the text in lower case, as ROUGE has them (no stemming).

    Raises:
        TokenizerLossError: If more than a fifth of the letters are none of ``a-z``: the rest would be no text.

    Source: Lin 2004, as in rouge_score 0.1.2, which drops such letters without a word.

    >>> rouge("It's 5 o'clock")
    ['it', 's', '5', 'o', 'clock']
    """
    lower = text.lower()
    letters = sum(map(str.isalpha, lower))
    lost = sum(c.isalpha() and not "a" <= c <= "z" for c in lower) if not lower.isascii() else 0
    if lost > MAX_LOSS * letters:
        raise TokenizerLossError(
            "tokeniser 'rouge' keeps a-z and 0-9 only and loses too many letters of a text",
            found=f"{lost} of {letters} letters lost in {text[:40]!r}",
            expected=f"at most {MAX_LOSS:.0%}",
            hint="use tokeniser 'unicode'",
        )
    return _LATIN.findall(lower)


def split(text: str) -> list[str]:
    """Words between white space, as they are."""
    return text.split()


def mteval_13a(text: str) -> list[str]:
    """Words and punctuation by the rules of mteval-v13a; case is kept.

    Marks other than ``' , - .`` stand alone; a full stop or comma does unless it is between digits; a dash does
    after a digit. Hyphenation at the end of a line is undone and four XML entities are read.

    Source: NIST mteval-v13a.pl; equal to sacrebleu's ``13a``.

    >>> mteval_13a("Well, 3.5-inch (ok).")
    ['Well', ',', '3.5', '-', 'inch', '(', 'ok', ')', '.']
    """
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        line = line.replace(entity, mark)
    line = _MARKS.sub(r" \g<0> ", f" {line} ")
    line = _STOP_AFTER_NO_DIGIT.sub(r"\1 \2 ", line)
    line = _STOP_BEFORE_NO_DIGIT.sub(r" \1 \2", line)
    return _DASH_AFTER_DIGIT.sub(r"\1 - ", line).split()


TOKENISERS: dict[str, Tokeniser] = {"unicode": unicode, "rouge": rouge, "split": split, "13a": mteval_13a}


def tokeniser(name: str) -> Tokeniser:
    """The tokeniser of that name.

    Raises:
        GaugeError: If there is none.
    """
    if name not in TOKENISERS:
        raise GaugeError(f"no tokeniser {name!r}", where="tokeniser", hint=did_you_mean(name, TOKENISERS))
    return TOKENISERS[name]


def spoken(bag: Sequence[Item]) -> list[int]:
    """Positions of the texts (or token lists) that are not empty.

    Raises:
        EmptyTextError: If more than a tenth are empty.
        TooFewSamplesError: If fewer than two are left.
    """
    left = [k for k, tokens in enumerate(bag) if len(tokens)]
    empty = len(bag) - len(left)
    if empty > MAX_EMPTY * len(bag):
        raise EmptyTextError(
            "too many texts are empty", where="bag", found=f"{empty} of {len(bag)}", expected="at most a tenth"
        )
    if len(left) < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs at least two texts in a bag",
            where="bag",
            found=str(len(left)),
            expected=">= 2",
        )
    return left


def spoken_tokens(bag: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The token lists of a bag that are not empty; errors as ``spoken``.

    Raises:
        GaugeError: If the bag holds strings: their characters would be taken for words.
    """
    if isinstance(bag, str) or any(isinstance(tokens, str) for tokens in bag):
        raise GaugeError(
            "a bag of tokens holds strings", where="bag", expected="a list of words per text", hint="tokenise first"
        )
    return [bag[k] for k in spoken(bag)]

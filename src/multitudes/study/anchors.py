"""The quoted human values, recomputed from copies of the public data that the user has. No rows of them are shipped.

A folder is searched, with its subfolders, for the files of each data set: as their own repositories lay them out, or
as one table of ratings. What is found is recomputed; each value comes with the files it was made of and their
SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.anchors import colour_shares, person_shares, split_half
from multitudes.study.anchor_files import (
    Ratings,
    Reader,
    csv_rows,
    field_of,
    item_lines,
    json_lines,
    le_wi_di,
    number_of,
    popquorn,
    rating_lines,
)

BLOCKS = ("block1_target_trial", "block2_target_trial")


@dataclass(frozen=True)
class SourceFile:
    """A file that values were made of: its path within the searched folder and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Recomputed:
    """One human value.

    Attributes:
        anchor: The data set.
        quantity: What was computed.
        quoted: The value this package quotes, None where it quotes none.
        value: The value recomputed from the user's files.
        low: Lower 95 % limit, None where there is no interval.
        high: Upper limit.
        n: People, or items where people are not named in the data.
        files: What it was made of.
        note: What to know when the two values are compared.
    """

    anchor: str
    quantity: str
    quoted: float | None
    value: float
    low: float | None
    high: float | None
    n: int
    files: tuple[SourceFile, ...]
    note: str = ""


Found = tuple[str, float | None, Estimate | float, int, str]


@dataclass(frozen=True)
class Layout:
    """One way in which the files of a data set look.

    Attributes:
        names: File names; all that are there are read together.
        reader: What makes ratings of them; None where the data set has a recipe of its own.
        key: Text that the first two kilobytes of a file must hold, where the name alone says too little.
    """

    names: tuple[str, ...]
    reader: Reader | None = None
    key: str = ""


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from and how its files look.

    Attributes:
        anchor: Its name.
        repository: Where to get it.
        layouts: Alternatives, the first that is there is taken.
        quoted: Quoted values by quantity.
    """

    anchor: str
    repository: str
    layouts: tuple[Layout, ...]
    quoted: tuple[tuple[str, float], ...] = ()


def recompute(folder: Path | str) -> list[Recomputed]:
    """Recompute every anchor whose data lie in ``folder`` or below it.

    Args:
        folder: Where the copies are.

    Returns:
        One record a value, data sets in fixed order.

    Raises:
        ConfigError: If there is no such folder, or none of the data sets is in it.
        DataFormatError: If a file of the right name does not hold what it should.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError("there is no such folder", where=str(root))
    out: list[Recomputed] = []
    for data in DATA_SETS:
        files, reader = _files_of(data, root)
        if files:
            sources = tuple(_source(f, root) for f in files)
            found = _values(data, files, reader)
            out += [_record(data.anchor, row, sources) for row in found]
    if not out:
        raise ConfigError(
            "none of the data sets was found",
            where=str(root),
            expected="one of these:\n" + "\n".join(f"    {line}" for line in looked_for()),
            hint="copy or clone a repository named above into the folder; its data are not part of this package",
        )
    return out


def looked_for() -> list[str]:
    """One line a data set: its name, repository and file names."""
    lines = []
    for data in DATA_SETS:
        names = " or ".join(", ".join(layout.names) for layout in data.layouts)
        lines.append(f"{data.anchor}: {names} (github.com/{data.repository})")
    return lines


def _files_of(data: DataSet, root: Path) -> tuple[list[Path], Reader | None]:
    """The files of the first layout that is there; of several with one name, the first in order of paths."""
    for layout in data.layouts:
        hits = [_hits(root, name, layout.key) for name in layout.names]
        files = [found[0] for found in hits if found]
        if files:
            return files, layout.reader
    return [], None


def _hits(root: Path, name: str, key: str) -> list[Path]:
    return [p for p in sorted(root.rglob(name)) if p.is_file() and (not key or key in _head(p))]


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(2048).decode("utf-8", errors="replace")


def _source(path: Path, root: Path) -> SourceFile:
    with path.open("rb") as file:
        return SourceFile(path.relative_to(root).as_posix(), hashlib.file_digest(file, "sha256").hexdigest())


def _record(anchor: str, row: Found, files: tuple[SourceFile, ...]) -> Recomputed:
    quantity, quoted, found, n, note = row
    if isinstance(found, Estimate):
        note = "; ".join(x for x in (note, found.note) if x)
        return Recomputed(anchor, quantity, quoted, found.value, found.low, found.high, n, files, note)
    return Recomputed(anchor, quantity, quoted, float(found), None, None, n, files, note)


# --- values -------------------------------------------------------------------------------------------------


def _values(data: DataSet, files: Sequence[Path], reader: Reader | None) -> list[Found]:
    quoted = dict(data.quoted)
    if reader is not None:
        return _shares(reader(files), quoted)
    return _colours(files, quoted) if data.anchor == COLOURS else _halves(files, quoted)


def _shares(ratings: Ratings, quoted: dict[str, float]) -> list[Found]:
    s = person_shares(ratings.value, ratings.person, ratings.item)
    heavy = f"one person holds {s.heaviest:.0%} of the same-person pairs" if s.heaviest > 3 / s.people else ""
    rows: list[tuple[str, Estimate | float]] = [
        ("person share of total", s.person),
        ("item share of total", s.item),
        ("rest of total", s.rest),
        ("person share within item", s.within),
        ("person share of total, pair covariance", s.covariance_person),
        ("item share of total, pair covariance", s.covariance_item),
        ("person share within item, pair covariance", s.covariance_within),
    ]
    return [(name, quoted.get(name), value, s.people, heavy) for name, value in rows]


def _colours(files: Sequence[Path], quoted: dict[str, float]) -> list[Found]:
    rgb, person, word, block = [], [], [], []
    columns = ("response_r", "response_g", "response_b")
    for path in files:
        for where, row in csv_rows(path, (*columns, "participantID", "word", "condition")):
            if row["condition"] in BLOCKS:
                rgb.append([number_of(row[c], where) for c in columns])
                person.append(row["participantID"])
                word.append(row["word"])
                block.append(row["condition"])
    if not rgb:
        raise DataFormatError(
            "no row is of one of the two blocks", where=files[0].name, expected=f"condition {' or '.join(BLOCKS)}"
        )
    s = colour_shares(rgb, person, word, block)
    rows: list[tuple[str, Estimate | float]] = [
        ("icc_within", s.icc_within),
        ("rho", s.rho),
        ("tau", s.tau),
        ("icc_within by word, 10 %", s.by_word[0]),
        ("icc_within by word, 50 %", s.by_word[1]),
        ("icc_within by word, 90 %", s.by_word[2]),
        ("share of words with run >= person variance", s.half_noise),
        ("same colour chosen again", s.same_again),
        ("mean internal ΔE", s.internal),
        ("mean population ΔE", s.population),
    ]
    return [(name, quoted.get(name), value, s.people, f"{s.words} words") for name, value in rows]


def _halves(files: Sequence[Path], quoted: dict[str, float]) -> list[Found]:
    answers = []
    for path in files:
        for where, row in json_lines(path):
            answers.append(np.array([number_of(x, where) for x in field_of(row, "labels", where)]))
    s = split_half(answers, low=-50.0, high=50.0, bins=3)
    rows = [("split-half JSD, 3 bins", s.jsd), ("split-half W1", s.w1), ("split-half W1, 3 bins", s.w1_bins)]
    return [(name, quoted.get(name), value, s.items, f"{s.raters:.1f} people an item") for name, value in rows]


# --- data sets ----------------------------------------------------------------------------------------------

COLOURS = "colour associations"
_LE_WI_DI = "Le-Wi-Di/le-wi-di.github.io"


def _splits(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{part}.json" for part in ("train", "dev", "test"))


def _by_covariance(total: float, within: float) -> tuple[tuple[str, float], ...]:
    return (("person share of total, pair covariance", total), ("person share within item, pair covariance", within))


DATA_SETS = (
    DataSet(
        COLOURS,
        "skmur/onefish-twofish",
        (Layout(("colorref.csv",)),),
        quoted=(
            ("icc_within", 0.502),
            ("rho", 0.99),
            ("tau", 0.039),
            ("icc_within by word, 10 %", 0.32),
            ("icc_within by word, 50 %", 0.52),
            ("icc_within by word, 90 %", 0.68),
            ("share of words with run >= person variance", 0.42),
            ("same colour chosen again", 0.319),
            ("mean internal ΔE", 29.3),
            ("mean population ΔE", 51.7),
        ),
    ),
    DataSet(
        "POPQUORN offensiveness",
        "Jiaxin-Pei/Potato-Prolific-Dataset",
        (
            Layout(("raw_data.csv",), popquorn, key="offensiveness"),
            Layout(("popquorn_offensiveness_ratings.jsonl",), rating_lines("rating")),
        ),
        quoted=(
            ("person share of total", 0.196),
            ("item share of total", 0.286),
            ("rest of total", 0.518),
            ("person share within item", 0.274),
            ("person share of total, pair covariance", 0.192),
            ("item share of total, pair covariance", 0.285),
        ),
    ),
    DataSet(
        "MD-Agreement",
        _LE_WI_DI,
        (Layout(_splits("MD-Agreement"), le_wi_di), Layout(("md_agreement_labels.jsonl.gz",), item_lines)),
        quoted=_by_covariance(0.116, 0.18),
    ),
    DataSet("CSC sarcasm", _LE_WI_DI, (Layout(_splits("CSC"), le_wi_di),), quoted=_by_covariance(0.119, 0.18)),
    DataSet("MP irony", _LE_WI_DI, (Layout(_splits("MP"), le_wi_di),), quoted=_by_covariance(0.076, 0.10)),
    DataSet("HS-Brexit", _LE_WI_DI, (Layout(_splits("HS-Brexit"), le_wi_di),), quoted=_by_covariance(0.055, 0.08)),
    DataSet(
        "ConvAbuse",
        _LE_WI_DI,
        (Layout(_splits("ConvAbuse"), le_wi_di), Layout(("convabuse_ratings.jsonl.gz",), rating_lines("severity"))),
        quoted=_by_covariance(0.034, 0.13),
    ),
    DataSet(
        "NLI variation",
        "epavlick/NLI-variation-data",
        (Layout(("preprocessed-data.jsonl",), key='"labels"'),),
        quoted=(("split-half JSD, 3 bins", 0.0385), ("split-half W1", 7.6)),
    ),
)

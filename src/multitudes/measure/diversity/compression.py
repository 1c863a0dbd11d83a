"""How far a compressor shortens the texts of a bag, by three compressors."""

from __future__ import annotations

import gzip
import io
import lzma
from collections.abc import Sequence
from typing import Literal

from multitudes.core.checks import check_same_length
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.lexical import in_fixed_order
from multitudes.measure.diversity.tokenisers import spoken

Mode = Literal["xz", "gzip", "package"]

_STAMP = 1_700_000_000  # any fixed time: the reference writes the time of day into what it compresses again


def compressed_size(data: bytes, mode: Mode) -> int:
    """Bytes of ``data`` after ``xz``, ``gzip`` (level 9), or gzip twice as in the reference (``package``).

    The reference compresses the compressed bytes again, into a file ``compressed.gz`` whose header holds the name
    ``compressed`` and a zero: 11 bytes. It also stamps the inner header with the time of day, by which its size
    may move by a byte or two; here the stamp is fixed.

    Raises:
        GaugeError: On an unknown mode.
    """
    if mode == "xz":
        return len(lzma.compress(data))
    if mode == "gzip":
        return len(gzip.compress(data, mtime=_STAMP))
    if mode == "package":
        out = io.BytesIO()
        with gzip.GzipFile("compressed.gz", "wb", fileobj=out, mtime=_STAMP) as file:
            file.write(gzip.compress(data, mtime=_STAMP))
        return len(out.getvalue())
    raise GaugeError(f"no compression mode {mode!r}", where="mode", expected="'xz', 'gzip' or 'package'")


def compression_by(texts: Sequence[str], ids: Sequence[str], *, mode: Mode = "xz") -> float:
    """UTF-8 bytes over compressed bytes of the joined texts; above 0, higher is more redundant.

    Incompressible text has about 1. Size-sensitive. ``xz`` sees everything; ``gzip`` only the last 32 KB, about 55
    texts of 100 words, so what it finds depends on the order, which is fixed by SHA-256 of the ids. ``package``
    repeats a published number: texts joined by spaces in the order given, gzip twice.

    Args:
        texts: At least two texts; empty ones are left out.
        ids: One stable id per text.
        mode: ``xz``, ``gzip`` or ``package``.

    Raises:
        GaugeError: With ids that do not fit or repeat, or an unknown mode.
        TooFewSamplesError: With fewer than two texts that are not empty.
        EmptyTextError: If more than a tenth are empty.

    Source: arXiv 2403.00553 and its package ``diversity`` 0.3.1 for ``package``.
    """
    check_same_length(texts=texts, ids=ids)
    left = spoken(texts)
    if mode == "package":
        data = " ".join(texts).encode("utf-8", errors="surrogatepass")
    else:
        data = in_fixed_order([texts[k] for k in left], [ids[k] for k in left])
    return len(data) / compressed_size(data, mode)

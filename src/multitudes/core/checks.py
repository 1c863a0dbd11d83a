"""One style of message for arrays and numbers that are not what they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError

FloatArray = NDArray[np.float64]


def check_shape(name: str, array: Any, shape: str, *, dtype: Any = np.float64) -> NDArray[Any]:
    """``array`` as an array of ``dtype`` whose axes match ``shape``, such as ``"n d"`` or ``"n 3"``.

    Raises:
        GaugeError: With the argument, the expected symbols and the shape received.
    """
    try:
        out = np.asarray(array, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise GaugeError(
            f"{name!r} is not an array of numbers", where=name, found=str(error), expected=f"({shape})"
        ) from error
    symbols = shape.split()
    fits = out.ndim == len(symbols) and all(not s.isdigit() or out.shape[i] == int(s) for i, s in enumerate(symbols))
    if not fits:
        raise GaugeError(
            f"{name!r} has the wrong shape",
            where=name,
            found=str(out.shape),
            expected="(" + ", ".join(symbols) + ")",
        )
    return out


def check_range(name: str, array: Any, low: float, high: float, *, nan: bool = False) -> FloatArray:
    """``array`` as float64 with every value in [low, high]; NaN is allowed only where ``nan`` says so.

    Raises:
        GaugeError: With the first offending index and value.
    """
    out: FloatArray = np.asarray(array, dtype=np.float64)
    bad = ~((out >= low) & (out <= high))
    if nan:
        bad &= ~np.isnan(out)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise GaugeError(
            f"{name!r} has values out of range",
            where=f"{name}{list(first)}",
            found=repr(float(out[first])),
            expected=f"a number in [{low:g}, {high:g}]" + (" or NaN" if nan else ""),
        )
    return out


def check_same_length(**arrays: Any) -> int:
    """The common length of the named sequences.

    Raises:
        GaugeError: If two lengths differ, naming them.
    """
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise GaugeError("lengths differ", found=str(lengths), expected="one length for all")
    return next(iter(lengths.values()))

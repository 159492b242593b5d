"""The time of two products by that of the one that they replace, measured on this machine once for each shape.

Times are of ONNX Runtime on one thread, in float32. They are kept in the user's cache folder (``XDG_CACHE_HOME``, else
``~/.cache``), in ``regc/products.json``, by what they depend on: the CPU, the version of ONNX Runtime, shape, rank and
rows; so a model comes out the same again on one machine, but not on every machine, as it does by the formula.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from regc.compiler import cpu
from regc.compiler.target import CPU
from regc.compiler.terms import Dense, Float32, Product
from regc.compiler.timing import MOST_BYTES, product, seconds


def measured_share(shape: tuple[int, int], rank: int, rows: int) -> float | None:
    """The time of two products of this rank by that of one with the whole weight ``(N, K)``, as it was found first.

    None for weights that are too large to be timed.

    Raises:
        OperatorLibraryError: the operator library is missing, which is loaded for whatever is timed.
    """
    if shape[0] * shape[1] * 4 > MOST_BYTES:
        return None
    known, key = _read(), "|".join([_machine(), f"{shape[0]}x{shape[1]}", f"rank {rank}", f"{rows} rows"])
    if key not in known:
        known = _read() | {key: _timed(shape, rank, rows)}
        _write(known)
    return known[key]


def cache_file() -> Path:
    """Where times are kept."""
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "regc" / "products.json"


def _read() -> dict[str, float]:
    """What is known; nothing where there is no file, or one that somebody has spoiled."""
    try:
        found = json.loads(cache_file().read_text("utf-8"))
        return {str(key): float(time) for key, time in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(known: dict[str, float]) -> None:
    """Keep what is known. Where the folder cannot be written to, it is measured again by the next who asks."""
    file = cache_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(known, indent=1, sort_keys=True), "utf-8")
        part.replace(file)


def _timed(shape: tuple[int, int], rank: int, rows: int) -> float:
    random = np.random.default_rng(0)
    weight, first, second = (Dense(_normal(random, *size)) for size in (shape, (shape[0], rank), (rank, shape[1])))
    models = [product(weight, rows), product(weight, rows, Product(first, second), CPU)]
    before, after = seconds(models, [_normal(random, rows, shape[1])])
    return after / before


def _normal(random: np.random.Generator, *shape: int) -> Float32:
    return random.standard_normal(shape, np.float32)


@cache
def _machine() -> str:
    """What times depend on beside the product: the CPU and the version of ONNX Runtime."""
    import onnxruntime  # noqa: PLC0415 - slow to import

    return f"{cpu.name()}|onnxruntime {onnxruntime.__version__}"

"""What runs: the operators of domain ``ai.regc`` in ONNX Runtime.

A compressed model runs in any ONNX Runtime, because every operator carries its definition as a model
function. With the operator library registered, the packed weights stay packed and our kernels use them::

    from regc.runtime_ops import make_session
    session = make_session("model.regc.onnx", threads=4)

or, for a session of your own: ``register(options)``, or from any language
``options.register_custom_ops_library(str(library_path()))``. The library needs ONNX Runtime 1.17 or later.

Environment: ``REGC_OPS_LIBRARY`` names the library file to use; ``REGC_ISA`` (``generic``, ``neon``, ``avx2``,
``avxvnni``, ``avx512`` or ``avx512fp16``) bounds the instruction set, which is otherwise the best that the CPU
has. The results are the same bits on all of them, but for RF8 weights with several rows of activations on
``avx512fp16``, which multiplies those in float16: see the operators' documentation in
:mod:`regc.runtime_ops.ops`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["OperatorLibraryError", "library_path", "make_session", "register"]

LIBRARY_VARIABLE = "REGC_OPS_LIBRARY"
LIBRARY_NAME = "libregc_ops.so"


class OperatorLibraryError(RuntimeError):
    """The operator library is missing or cannot be loaded; the message says what was tried and the remedy."""


def library_path() -> Path:
    """Return the file that ``REGC_OPS_LIBRARY`` names, else the library installed with this package.

    Raises:
        OperatorLibraryError: there is no such file.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named).resolve()
        raise OperatorLibraryError(
            f"{LIBRARY_VARIABLE} names {named}, which is not a file: correct the variable, "
            "or unset it to use the installed library"
        )
    searched = [Path(folder) / "lib" / LIBRARY_NAME for folder in __path__]
    for candidate in searched:
        if candidate.is_file():
            return candidate
    raise OperatorLibraryError(
        f"no operator library at {' or '.join(map(str, searched))}: install regc from its wheel, "
        f"build it with 'pip install .', or set {LIBRARY_VARIABLE} to a built {LIBRARY_NAME}"
    )


def register(options: ort.SessionOptions) -> None:
    """Make the operators known to the sessions that will be created with these options.

    Raises:
        OperatorLibraryError: the library is missing or ONNX Runtime cannot load it, being older than 1.17.
    """
    path = library_path()
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # ONNX Runtime raises several types of its own
        raise OperatorLibraryError(f"ONNX Runtime cannot load {path}: {error}") from error


def make_session(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    options: ort.SessionOptions | None = None,
) -> ort.InferenceSession:
    """Open a model with the operators registered.

    Args:
        path: the ONNX file.
        threads: threads within an operator; ``None`` keeps those of ``options``, by default one a core.
        providers: execution providers in order of preference; ``None`` is the CPU.
        options: options to use, and to add the operators to.

    Raises:
        OperatorLibraryError: as :func:`register`.
    """
    import onnxruntime as ort  # noqa: PLC0415 - importing regc must not load ONNX Runtime

    chosen: Any = options if options is not None else ort.SessionOptions()
    if threads is not None:
        chosen.intra_op_num_threads = threads
    register(chosen)
    names = list(providers) if providers is not None else ["CPUExecutionProvider"]
    return ort.InferenceSession(os.fspath(path), chosen, providers=names)

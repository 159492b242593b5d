"""What runs: the operators of domain ``ai.regc`` in ONNX Runtime.

A compressed model runs in any ONNX Runtime, because every operator carries its definition as a model
function. With the operator library registered, the packed weights stay packed and our kernels use them::

    from regc.runtime_ops import make_session
    session = make_session("model.regc.onnx", threads=4)

or, for a session of your own: ``register(options)``, or from any language
``options.register_custom_ops_library(str(library_path()))``. The library needs ONNX Runtime 1.17 or later.

Sessions with the CUDA provider take another library, which has the operators of both: ``make_session(path,
providers=["CUDAExecutionProvider"])``. It is there when regc was built where a CUDA toolkit works;
``library_path(cuda=True)`` names it, or says why it is not there.

Environment: ``REGC_OPS_LIBRARY`` and ``REGC_CUDA_OPS_LIBRARY`` name the library files to use; ``REGC_ISA``
(``generic``, ``neon``, ``avx2``, ``avxvnni``, ``avx512`` or ``avx512fp16``) bounds the instruction set, which is
otherwise the best that the CPU has. The results are the same bits on all of them, but for RF8 weights with several
rows of activations on ``avx512fp16``, which multiplies those in float16: see the operators' documentation in
:mod:`regc.runtime_ops.ops`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["OperatorLibraryError", "library_path", "make_session", "register"]

CUDA_PROVIDER = "CUDAExecutionProvider"


class _Library(NamedTuple):
    """The variable that names the file, the name that it has else, and how it comes to be there."""

    variable: str
    name: str
    remedy: str


_CPU = _Library("REGC_OPS_LIBRARY", "libregc_ops.so", "install regc from its wheel, build it with 'pip install .'")
_CUDA = _Library(
    "REGC_CUDA_OPS_LIBRARY",
    "libregc_ops_cuda.so",
    "with a CUDA toolkit of 12 or newer build it by 'pip install . -C cmake.define.REGC_CUDA=ON'",
)


class OperatorLibraryError(RuntimeError):
    """The operator library is missing or cannot be loaded; the message says what was tried and the remedy."""


def library_path(*, cuda: bool = False) -> Path:
    """Return the file that ``REGC_OPS_LIBRARY`` names, else the library installed with this package.

    With ``cuda`` the one for sessions with the CUDA provider, and ``REGC_CUDA_OPS_LIBRARY``.

    Raises:
        OperatorLibraryError: there is no such file.
    """
    library = _CUDA if cuda else _CPU
    named = os.environ.get(library.variable)
    if named:
        if Path(named).is_file():
            return Path(named).resolve()
        raise OperatorLibraryError(
            f"{library.variable} names {named}, which is not a file: correct the variable, "
            "or unset it to use the installed library"
        )
    searched = [Path(folder) / "lib" / library.name for folder in __path__]
    for candidate in searched:
        if candidate.is_file():
            return candidate
    raise OperatorLibraryError(
        f"no operator library at {' or '.join(map(str, searched))}{_why_not(searched)}: {library.remedy}, "
        f"or set {library.variable} to a built {library.name}"
    )


def _why_not(searched: Iterable[Path]) -> str:
    """What the build has left in the place of a library that it left out; see csrc/cuda/library.cmake."""
    notes = [path.with_suffix(".txt") for path in searched]
    return "".join(f", left out when regc was built: {note.read_text().strip()}" for note in notes if note.is_file())


Provider = str | tuple[str, Mapping[str, Any]]
"""An execution provider of ONNX Runtime: its name, or that and its options."""


def register(options: ort.SessionOptions, providers: Sequence[Provider] | None = None) -> None:
    """Make the operators known to the sessions that will be created with these options.

    ``providers`` are those of the sessions; with the CUDA provider among them, they get its operators, too. Options
    take one of the two libraries only.

    Raises:
        OperatorLibraryError: the library is missing, ONNX Runtime cannot load it, being older than 1.17, or it has no
            CUDA provider where that is asked for.
    """
    cuda = CUDA_PROVIDER in [provider if isinstance(provider, str) else provider[0] for provider in providers or ()]
    if cuda:
        _require_cuda()
    path = library_path(cuda=cuda)
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # ONNX Runtime raises several types of its own
        raise OperatorLibraryError(f"ONNX Runtime cannot load {path}: {error}") from error


def _require_cuda() -> None:
    """ONNX Runtime itself would only warn, and run everything on the CPU."""
    import onnxruntime as ort  # noqa: PLC0415 - importing regc must not load ONNX Runtime

    known = ort.get_available_providers()
    if CUDA_PROVIDER not in known:
        raise OperatorLibraryError(
            f"onnxruntime {ort.__version__} here has no {CUDA_PROVIDER}, it has {', '.join(known)}: "
            "install onnxruntime-gpu in its place"
        )


def make_session(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    providers: Sequence[Provider] | None = None,
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
    register(chosen, providers)
    names = list(providers) if providers is not None else ["CPUExecutionProvider"]
    return ort.InferenceSession(os.fspath(path), chosen, providers=names)

"""Inputs to run models on: what a session takes, and folders of ``.npz`` files, one feed each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import UsageError
from regc.compiler.feeds.archives import Header, read_arrays, read_headers

if TYPE_CHECKING:
    from regc.compiler.model import Model

Feed = dict[str, npt.NDArray[Any]]
"""One array for each input of a model, by name."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(string)": np.dtype(np.object_),
    **{
        f"tensor({name})": np.dtype(name)
        for name in ("float16", "bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))
    },
}


@dataclass(frozen=True)
class Input:
    """An input of a model: ``kind`` is ONNX Runtime's type, such as ``tensor(float)``; an open dimension is
    its name, or None.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The NumPy type to feed (object for strings), None where there is none (bfloat16, sequences)."""
        return _DTYPES.get(self.kind)

    def __str__(self) -> str:
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name} {self.kind.removeprefix('tensor(').removesuffix(')')} [{dims}]"

    def accepts(self, header: Header) -> bool:
        """Whether type and shape fit. ONNX Runtime reports an unknown rank as rank 0, so that one accepts
        every shape.
        """
        same_type = header.dtype == self.dtype or (self.dtype == np.object_ and header.dtype.kind == "U")
        fixed = zip(self.shape, header.shape, strict=False)
        same_rank = len(self.shape) == len(header.shape) or not self.shape
        return same_type and same_rank and all(not isinstance(dim, int) or dim in (-1, size) for dim, size in fixed)


def inputs_of(session: Any) -> list[Input]:
    """What an ``onnxruntime.InferenceSession`` must be fed."""
    return [Input(node.name, node.type, tuple(node.shape)) for node in session.get_inputs()]


def inputs_of_model(model: Model) -> list[Input]:
    """The same, as far as the graph tells it, without ONNX Runtime; inputs of a type that it does not tell
    are left out.
    """
    kinds = {dtype.name: kind for kind, dtype in _DTYPES.items()}
    fed = [tensor for tensor in model.graph.inputs if tensor.name not in model.overridable]
    named = [(tensor, kinds.get(np.dtype(tensor.dtype).name if tensor.dtype else "")) for tensor in fed]
    return [Input(tensor.name, kind, tuple(tensor.shape or ())) for tensor, kind in named if kind is not None]


def feed_files(folder: Path) -> list[Path]:
    """The ``.npz`` files of a folder, sorted by name.

    Raises:
        UsageError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder; give one with .npz files, one feed each, arrays named like the inputs"
        )
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UsageError(
            f"{folder} holds no .npz file; write each feed with numpy.savez(path, **{{input name: array}})"
        )
    return files


def check_feeds(folder: str | Path, inputs: Sequence[Input]) -> None:
    """Hold all files of a folder against ``inputs``, by the headers of their arrays alone.

    Raises:
        UsageError: a file that cannot be read, or arrays whose names, types or shapes are not those of
            ``inputs``.
    """
    for path in feed_files(Path(folder)):
        _check(path, inputs)


def load_feeds(folder: str | Path, inputs: Sequence[Input]) -> Iterator[Feed]:
    """The feeds of a folder in the order of their file names, read one at a time.

    Raises:
        UsageError: as :func:`check_feeds`, for a file when its turn comes.
    """
    return (load_feed(path, inputs) for path in feed_files(Path(folder)))


def load_feed(path: Path, inputs: Sequence[Input]) -> Feed:
    """The feed in an ``.npz`` file. Raises UsageError when it does not fit the inputs."""
    _check(path, inputs)
    arrays = read_arrays(path)
    return {value.name: as_fed(arrays[value.name]) for value in inputs}


def _check(path: Path, inputs: Sequence[Input]) -> None:
    check_arrays(str(path), read_headers(path), inputs)


def check_arrays(
    place: str, headers: Mapping[str, Header], inputs: Sequence[Input], stored: Mapping[str, Header] | None = None
) -> None:
    """Require that arrays have the names, types and shapes of ``inputs``; ``place`` is where they are, in words.
    ``stored`` is what is told of them, where they are not fed as they are there.

    Raises:
        UsageError: they have not; the message says what the model takes.
    """
    wanted = "the model takes " + "; ".join(map(str, inputs))
    told = headers if stored is None else stored
    missing = [value.name for value in inputs if value.name not in headers]
    if missing:
        there = ", ".join(f"{name} {header}" for name, header in told.items()) or "no array"
        raise UsageError(f"{place}: no array named {', '.join(missing)}; there is {there}; {wanted}")
    unknown = sorted(headers.keys() - {value.name for value in inputs})
    if unknown:
        raise UsageError(f"{place}: {', '.join(unknown)} is not an input; {wanted}")
    for value in inputs:
        if not value.accepts(headers[value.name]):
            raise UsageError(f"{place}: {value.name} is {told[value.name]}; {wanted}")


def as_fed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array as ONNX Runtime takes it: text as Python objects."""
    return array.astype(np.object_) if array.dtype.kind == "U" else array

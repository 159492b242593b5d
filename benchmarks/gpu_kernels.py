"""The CUDA kernels without ONNX Runtime around them: built here, called through ctypes, on a GPU or emulated."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from benchmarks.checkout import ROOT
from benchmarks.gpu_problems import FORMATS, Array, Problem

if TYPE_CHECKING:
    from benchmarks.gpu_lookups import Lookups

SOURCES = ROOT / "runtime_ops" / "csrc"
EMULATION = ROOT / "tests" / "native" / "cuda"
TYPES = ("float32", "float16", "bfloat16")
ENDINGS = ("none", "relu", "gelu", "gelu_tanh", "silu", "add")
"""In the order of the enumerations in runtime_ops/csrc/cuda/products.h and kernels/kernels.h."""


class _Weight(ctypes.Structure):
    """``regc::cuda::Weight``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("scale", "bias")),
        *((name, ctypes.c_size_t) for name in ("bias_step", "outputs", "inputs")),
        ("format", ctypes.c_uint8),
        *((name, ctypes.c_void_p) for name in ("codes", "multiplier")),
        ("multiplied", ctypes.c_bool),
        *((name, ctypes.c_size_t) for name in ("blocks", "groups", "group_blocks")),
        *((name, ctypes.c_void_p) for name in ("index", "start")),
        ("block_log2", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in ("norms", "threshold")),
        ("active", ctypes.c_size_t),
        ("cuts", ctypes.c_void_p),
    )


class _Table(ctypes.Structure):
    """``regc::cuda::Table``."""

    _fields_ = (
        ("layout", ctypes.c_uint8),
        *((name, ctypes.c_size_t) for name in ("rows", "columns")),
        *((name, ctypes.c_void_p) for name in ("codes", "multiplier")),
        *((name, ctypes.c_size_t) for name in ("group", "groups")),
        ("scale", ctypes.c_void_p),
    )


class Memory(Protocol):
    """Where the operands of kernels are."""

    def put(self, values: Array) -> Any:
        """A copy of an array there."""

    def empty(self, count: int, dtype: str) -> Any:
        """Memory for so many elements, from a multiple of 256 bytes on."""

    def get(self, tensor: Any) -> Array:
        """What is there, as float32."""

    def pointer(self, tensor: Any) -> int:
        """Where it is."""

    def stream(self) -> int:
        """The stream of the device in which kernels run."""


class Host:
    """NumPy's memory, for the emulation."""

    def put(self, values: Array) -> Array:
        """An aligned copy."""
        copy = self.empty(values.nbytes, "uint8").view(values.dtype)
        copy[:] = values.reshape(-1)
        return copy

    def empty(self, count: int, dtype: str) -> Array:
        """Elements behind a multiple of 256 bytes; NumPy has no bfloat16, their bits are uint16."""
        kind = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        memory = np.zeros(count * kind.itemsize + 256, np.uint8)
        start = -memory.ctypes.data % 256
        return memory[start : start + count * kind.itemsize].view(kind)

    def get(self, tensor: Array) -> Array:
        """As float32."""
        if tensor.dtype == np.uint16:
            return (tensor.astype(np.uint32) << 16).view(np.float32)
        return tensor.astype(np.float32)

    def pointer(self, tensor: Array) -> int:
        """Its address."""
        return int(tensor.ctypes.data)

    def stream(self) -> int:
        """None."""
        return 0


class Kernels:
    """The launchers of a built library, on operands in some memory."""

    def __init__(self, library: Path, memory: Memory) -> None:
        self.memory = memory
        self._calls = ctypes.CDLL(str(library))
        self._calls.regc_cuda_scratch_bytes.restype = ctypes.c_size_t
        for name, declared in (("weight", _Weight), ("table", _Table)):
            size = self._calls[f"regc_cuda_{name}_size"]
            size.restype = ctypes.c_size_t
            if size() != ctypes.sizeof(declared):
                raise RuntimeError(f"{library}: its {name.title()} is not the one declared here")

    def load(self, weight: Problem) -> Loaded:
        """Put a weight where the kernels can read it."""
        return Loaded(self, weight)

    def gather(self, table: Lookups, index: Array, dtype: str) -> Array:
        """Rows of a table, int32 or int64 ``index`` of them, in a type and then as float32 ``[len(index), K]``."""
        there = {name: self.memory.put(values) for name, values in table.operands.items() if name != "shape"}
        sizes = {"rows": table.shape[0], "columns": table.shape[1], "group": table.group, "groups": table.groups}
        pointers = {name: self.memory.pointer(tensor) for name, tensor in there.items()}
        indices, y = self.memory.put(index), self.memory.empty(len(index) * table.shape[1], dtype)
        error = self._calls.regc_cuda_gather(
            ctypes.byref(_Table(layout=table.layout, **sizes, **pointers)),
            ctypes.c_void_p(self.memory.pointer(indices)),
            int(index.dtype == np.int64),
            ctypes.c_size_t(len(index)),
            ctypes.c_void_p(self.memory.pointer(y)),
            TYPES.index(dtype),
            ctypes.c_void_p(self.memory.stream()),
        )
        self.check(error)
        return self.memory.get(y).reshape(len(index), -1)

    def check(self, error: int) -> None:
        """Raise for an error of the CUDA runtime."""
        if error != 0:
            raise RuntimeError(f"a launch failed with CUDA error {error}")


class Loaded:
    """A weight in the memory of the kernels; ``launch`` multiplies by it and waits for nothing."""

    def __init__(self, kernels: Kernels, weight: Problem) -> None:
        self._kernels, self._memory = kernels, kernels.memory
        self._tensors = {name: self._memory.put(values) for name, values in weight.operands.items()}
        pointers = {name: self._memory.pointer(tensor) for name, tensor in self._tensors.items()}
        sizes = {"outputs": weight.shape[0], "inputs": weight.shape[1], "bias_step": 1, **weight.sizes}
        self._weight = _Weight(**pointers, **sizes, format=FORMATS.index(weight.format))
        self._shape = weight.shape

    def scratch(self, rows: int) -> Any:
        """The memory beside that a product of so many rows needs."""
        calls = self._kernels._calls
        return self._memory.empty(
            calls.regc_cuda_scratch_bytes(ctypes.byref(self._weight), ctypes.c_size_t(rows)), "uint8"
        )

    def launch(
        self, x: Any, rows: int, y: Any, scratch: Any, *, dtype: str, ending: str = "none", other: Any = None
    ) -> None:
        """``y = ending(x @ W.T * scale + bias)`` for x, y and other of a type."""
        place = self._memory.pointer
        error = self._kernels._calls.regc_cuda_multiply(
            ctypes.byref(self._weight),
            ctypes.c_void_p(place(x)),
            ctypes.c_size_t(rows),
            ctypes.c_void_p(place(y)),
            ctypes.c_void_p(0 if other is None else place(other)),
            TYPES.index(dtype),
            ENDINGS.index(ending),
            ctypes.c_void_p(place(scratch)),
            ctypes.c_void_p(self._memory.stream()),
        )
        self._kernels.check(error)


def build_for(architecture: str, folder: Path) -> Path:
    """The kernels with C entry points for a GPU such as ``90``, by nvcc alone.

    Raises:
        RuntimeError: nvcc failed, with what it said.
    """
    options = ("-O3", "--fmad=false", f"-arch=sm_{architecture}", "-cudart=static", "-Xcompiler=-fPIC")
    sources = (SOURCES / "cuda" / "kernels.cu", SOURCES / "cuda" / "entry.cpp")
    return _build(("nvcc", *options), sources, folder / f"libregc_cuda_{architecture}.so")


def build_emulated(folder: Path) -> Path:
    """The kernels for the CPU, thread by thread: see tests/native/cuda."""
    options = ("-O1", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off", f"-I{EMULATION}")
    return _build(
        ("c++", *options), (EMULATION / "kernels.cpp", SOURCES / "cuda" / "entry.cpp"), folder / "emulated.so"
    )


def _build(compiler: Sequence[str], sources: Sequence[Path], library: Path) -> Path:
    read = [path for folder in (SOURCES, EMULATION) for path in folder.rglob("*") if path.is_file()]
    if library.exists() and library.stat().st_mtime > max(path.stat().st_mtime for path in read):
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which(compiler[0]) is None:
        raise RuntimeError(f"no {compiler[0]} in PATH")
    command = [*compiler, "-std=c++17", "-shared", f"-I{SOURCES}", *map(str, sources), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return library

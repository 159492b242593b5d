"""The CUDA kernels without ONNX Runtime around them: built here, called through ctypes, on a GPU or emulated."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from regc.runtime_ops.formats import block_sparse, gated, rf8, ternary, ternary5

ROOT = Path(__file__).parents[1]
FORMATS = (
    "ternary",
    "ternary5",
    "ternary_float",
    "ternary5_float",
    "rf8",
    "sparse",
    "sparse_rf8",
    "gated",
    "gated_rf8",
)
TYPES = ("float32", "float16", "bfloat16")
ENDINGS = ("none", "relu", "gelu", "gelu_tanh", "silu", "add")
"""In the order of the enumerations in runtime_ops/csrc/cuda/products.h and kernels/kernels.h."""

Array = npt.NDArray[Any]


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


@dataclass(frozen=True)
class Problem:
    """A random weight ``[N, K]`` of a format: its packed operands, and the matrix without the scale."""

    format: str
    shape: tuple[int, int]
    operands: Mapping[str, Array]
    matrix: Array
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes that a product with all of the weight reads."""
        return sum(values.nbytes for values in self.operands.values())


def problem(kind: str, shape: tuple[int, int], seed: int, group: int | None = None) -> Problem:
    """A weight whose products are about as large as the activations."""
    random = np.random.default_rng(seed)
    scale = (random.uniform(0.5, 2, shape[0]) / np.sqrt(shape[1])).astype(np.float32)
    bias = random.standard_normal(shape[0]).astype(np.float32)
    build = _ternary if kind.startswith("ternary") else _sparse if kind.startswith("sparse") else _other
    operands, matrix, sizes = build(kind, shape, random, group)
    return Problem(kind, shape, {**operands, "scale": scale, "bias": bias}, matrix, sizes)


_Parts = tuple[dict[str, Array], Array, dict[str, int]]


def _ternary(kind: str, shape: tuple[int, int], random: np.random.Generator, group: int | None) -> _Parts:
    layout = ternary5 if kind.startswith("ternary5") else ternary
    group = group * layout.BLOCK // 16 if group is not None else shape[1]
    groups = -(-shape[1] // group)
    trits = random.integers(-1, 2, shape).astype(np.int8)
    multipliers = random.integers(0, 65, (shape[0], groups)).astype(np.uint8) if groups > 1 else np.ones((shape[0], 1))
    operands = {
        "codes": layout.pack_trits(trits),
        "multiplier": ternary.pack_multipliers(multipliers.astype(np.uint8)),
    }
    sizes = {
        "multiplied": int(groups > 1),
        "blocks": -(-shape[1] // layout.BLOCK),
        "groups": groups,
        "group_blocks": -(-group // layout.BLOCK),
    }
    return operands, trits * multipliers[:, np.arange(shape[1]) // group], sizes


def _values(kind: str, shape: tuple[int, int], random: np.random.Generator) -> tuple[Array, Array]:
    """What is stored, and what it stands for."""
    if not kind.endswith("rf8"):
        values = random.standard_normal(shape).astype(np.float32)
        return values, values
    codes = random.integers(0, 256, shape).astype(np.uint8)
    return codes, rf8.VALUES[codes]


def _sparse(kind: str, shape: tuple[int, int], random: np.random.Generator, group: int | None) -> _Parts:
    block = 4 if group is None else min(group, 32)
    stored, values = _values(kind, shape, random)
    keep = random.random(block_sparse.grid_shape(shape, block)) < 0.4
    packed = block_sparse.pack(stored, keep, block)
    mask = np.repeat(np.repeat(keep, 16, 0), block, 1)[: shape[0], : shape[1]]
    operands = {"codes": packed.values, "index": packed.columns, "start": packed.start}
    return operands, values * mask, {"block_log2": block.bit_length() - 1}


def _other(kind: str, shape: tuple[int, int], random: np.random.Generator, _: int | None) -> _Parts:
    stored, values = _values(kind, shape, random)
    if kind == "rf8":
        return {"codes": rf8.pack_codes(stored)}, values, {"blocks": -(-shape[1] // rf8.BLOCK)}
    norms = random.uniform(0.5, 2, shape[1]).astype(np.float32)
    operands = {"codes": gated.pack(stored), "norms": norms, "threshold": np.array([0.7], np.float32)}
    return operands, values, {}


class Kernels:
    """The launchers of a built library, on operands in some memory."""

    def __init__(self, library: Path, memory: Memory) -> None:
        self.memory = memory
        self._calls = ctypes.CDLL(str(library))
        self._calls.regc_cuda_weight_size.restype = ctypes.c_size_t
        self._calls.regc_cuda_scratch_bytes.restype = ctypes.c_size_t
        if self._calls.regc_cuda_weight_size() != ctypes.sizeof(_Weight):
            raise RuntimeError(f"{library}: its Weight is not the one declared here")

    def load(self, weight: Problem) -> Loaded:
        """Put a weight where the kernels can read it."""
        return Loaded(self, weight)

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


def build(folder: Path, architecture: str | None) -> Path:
    """Build for a GPU such as ``90``, or the emulation for None, and return the library with the C entry points."""
    cuda = [] if architecture is None else ["-DREGC_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={architecture}-real"]
    targets = ["regc_cuda_emulated"] if architecture is None else ["regc_cuda_entry", "regc_ops_cuda"]
    source = ["-S", str(ROOT / "runtime_ops" / "csrc"), "-B", str(folder), "-DREGC_TESTS=ON", *cuda]
    for command in (source, ["--build", str(folder), "-j2", "--target", *targets]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
    return next(folder.glob(f"lib{targets[0]}.*"))

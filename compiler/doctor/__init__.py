"""Is this installation sound? Versions, the operator library, and each kernel against the body that defines
its operator.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler import cpu
from regc.compiler.doctor import fallback
from regc.compiler.doctor.examples import INPUTS, KERNELS, OUTPUTS, Operands
from regc.compiler.verify.running import FATAL, first_line

PACKAGES = ("regc", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy")
OPSET, IR_VERSION = 17, 8
"""Of the models that try the operators: old enough for every ONNX Runtime that regc supports."""
FLOAT_TOLERANCE = 1e-5
"""Relative to the largest output, where kernel and body add floats in different orders."""
HALF_TOLERANCE = 3e-3
"""Where the kernel multiplies RF8 weights in float16."""
REBUILD = "pip install --force-reinstall regc, or pip install . in a clone, with a C++17 compiler"
BOUND = "REGC_ISA"
"""The environment variable that bounds the instruction set of the kernels."""
_AVX512 = {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"}
INSTRUCTION_SETS = {
    "generic": set[str](),
    "neon": {"asimddp"},
    "avx2": {"avx2", "fma"},
    "avxvnni": {"avx2", "fma", "avx_vnni"},
    "avx512": _AVX512,
    "avx512fp16": _AVX512 | {"avx512vbmi", "avx512_fp16"},
}
"""What kernels are built for, and the flags of a CPU that has it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``ok`` None is a plain fact. ``remedy`` says what to do when it is not
    ok.
    """

    subject: str
    words: str
    ok: bool | None = None
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """All findings, in the order in which they are to be read."""
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        yield _version(package)
    library = _library()
    yield library
    yield _cuda_library()
    found = _instruction_sets()
    bound = f", bounded to {os.environ[BOUND]} by {BOUND}" if os.environ.get(BOUND) else ""
    yield Finding("instructions", ", ".join(found) + bound)
    for name in KERNELS if library.ok else ():
        yield _kernel(name, found)
    yield _fallback()


def _version(package: str) -> Finding:
    try:
        return Finding(package, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        if package == "onnxruntime":
            return _other_onnxruntime()
        return Finding(package, "is not installed", False, f"pip install {package}")


def _other_onnxruntime() -> Finding:
    """ONNX Runtime also comes as onnxruntime-gpu and under other names; the module is what counts."""
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        return Finding("onnxruntime", f"cannot be imported: {error}", False, "pip install onnxruntime")
    return Finding("onnxruntime", str(onnxruntime.__version__))


def _library() -> Finding:
    import onnxruntime  # noqa: PLC0415

    from regc import runtime_ops  # noqa: PLC0415

    try:
        path = runtime_ops.library_path()
        runtime_ops.register(onnxruntime.SessionOptions())
    except Exception as error:  # ours when it is missing, ONNX Runtime's when it does not load
        return Finding("library", first_line(error), False, REBUILD)
    return Finding("library", f"{path} loads", True)


def _cuda_library() -> Finding:
    """Whether it is there: it loads where there is ONNX Runtime's CUDA provider."""
    from regc import runtime_ops  # noqa: PLC0415

    try:
        return Finding("cuda library", str(runtime_ops.library_path(cuda=True)))
    except runtime_ops.OperatorLibraryError as error:
        return Finding("cuda library", first_line(error))


def _instruction_sets() -> tuple[str, ...]:
    """Those of the kernels that this CPU has, least first; the generic one where the system does not tell."""
    flags = cpu.flags()
    return tuple(name for name, needed in INSTRUCTION_SETS.items() if needed <= flags)


def _kernel(name: str, instruction_sets: Sequence[str]) -> Finding:
    """Run one node by its body and by its kernels. Without the body a model loads only when the library has
    the operator.
    """
    rng = np.random.default_rng(0)
    operands, x = KERNELS[name][0](rng), rng.standard_normal((3, INPUTS)).astype(np.float32)
    largest, at = 0.0, "generic"
    try:
        body = _run(name, operands, x, library=False)
        for at in instruction_sets:
            with _bounded_by(at):
                ours = _run(name, operands, x, library=True)
            difference, allowed = float(np.abs(ours - body).max()), _tolerance(name, at) * float(np.abs(body).max())
            largest = max(largest, difference)
            if not difference <= allowed:
                words = f"kernel and body differ by {difference:.3g}, {allowed:.3g} is allowed ({at})"
                return Finding(name, words, False, REBUILD)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        return Finding(name, f"cannot be run ({at}): {first_line(error)}", False, REBUILD)
    how = "bit for bit" if largest == 0 else f"to {largest:.1g}"
    return Finding(name, f"kernel and body agree {how} ({', '.join(instruction_sets)})", True)


def _fallback() -> Finding:
    """Whether models made with ``--fallback matmulnbits`` run without our library."""
    import onnxruntime  # noqa: PLC0415

    subject, version = "fallback matmulnbits", onnxruntime.__version__
    try:
        error = fallback.relative_error()
    except Exception as problem:  # ONNX Runtime's exceptions share no base class of their own
        needs = ".".join(map(str, fallback.SINCE))
        if not fallback.is_promised(version):
            return Finding(subject, f"needs ONNX Runtime {needs} or newer where our library is not loaded")
        return Finding(subject, f"cannot be run: {first_line(problem)}", False, f"pip install 'onnxruntime>={needs}'")
    if error > fallback.TOLERANCE:
        words = f"outputs are off by {error:.1%}, {fallback.TOLERANCE:.0%} is allowed"
        return Finding(subject, words, False, "leave --fallback out")
    return Finding(subject, f"2 bits are loaded, outputs within {error:.1%}, as int8 activations are", True)


def _tolerance(name: str, instruction_set: str) -> float:
    if KERNELS[name][1]:
        return 0.0
    return HALF_TOLERANCE if instruction_set == "avx512fp16" and "RF8" in name else FLOAT_TOLERANCE


@contextmanager
def _bounded_by(instruction_set: str) -> Iterator[None]:
    """Let the kernels of new sessions use this instruction set at most."""
    before = os.environ.get(BOUND)
    os.environ[BOUND] = instruction_set
    try:
        yield
    finally:
        if before is None:
            del os.environ[BOUND]
        else:
            os.environ[BOUND] = before


def _run(name: str, operands: Operands, x: npt.NDArray[np.float32], library: bool) -> npt.NDArray[Any]:
    import onnxruntime  # noqa: PLC0415

    from regc import runtime_ops  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    if library:
        runtime_ops.register(options)
    model = _model(name, operands, with_body=not library)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    feed = np.arange(len(x)) - 1 if first == "indices" else x  # as many rows
    return np.asarray(session.run(None, {first: feed})[0])


def _model(name: str, operands: Operands, with_body: bool) -> bytes:
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    from regc.runtime_ops.ops import DOMAIN, OPERATORS, VERSION  # noqa: PLC0415

    operator = OPERATORS[name]
    first, *_ = operator.inputs
    looks_up = first == "indices"
    kind, shape = (TensorProto.INT64, [None]) if looks_up else (TensorProto.FLOAT, [None, INPUTS])
    attributes: dict[str, Any] = (
        {"kernel_shape": [1], "strides": [1], "pads": [0, 0], "dilations": [1]} if operator.attributes else {}
    )
    nodes = [helper.make_node(name, operator.inputs, ["y"], domain=DOMAIN, **attributes)]
    if attributes:  # a convolution: every row is an image of one place
        nodes[0].input[0], nodes[0].output[0] = "image", "result"
        nodes.insert(0, helper.make_node("Unsqueeze", [first, "place"], ["image"]))
        nodes.append(helper.make_node("Squeeze", ["result", "place"], ["y"]))
        operands = {**operands, "place": np.array([2], np.int64)}
    graph = helper.make_graph(
        nodes,
        "doctor",
        [helper.make_tensor_value_info(first, kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, OUTPUTS])],
        [numpy_helper.from_array(values, input_name) for input_name, values in operands.items()],
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    bodies = [operator.function(OPSET)] if with_body else []
    model = helper.make_model(graph, opset_imports=imports, functions=bodies, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())

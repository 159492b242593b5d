"""One build of the operator library in several releases of ONNX Runtime.

    python -m benchmarks.compatibility [VERSION ...]

Each release gets a virtual environment of its own under ``build/compatibility``, with nothing of regc in it but the
library, and runs a model of every operator twice: with the library, and without it through the function bodies. For
ternary weights with int8 activations both must give the same bits. A model with ``--fallback matmulnbits`` must run
with the library in all of them, and without it from 1.24 on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.contenders import Constants, Float32, gate, sparse
from benchmarks.stack import OPSET, renamed
from regc.compiler import compile_model
from regc.compiler.passes import SiteInfo
from regc.compiler.terms import Coded, Dense
from regc.passes import RF8, Ternary
from regc.runtime_ops import library_path, ops

VERSIONS = ("1.17.3", "1.20.1", "1.23.2", "1.24.4", "newest")
FOLDER = Path("build/compatibility")
CHECK = """
import json, sys
import numpy as np
import onnxruntime as ort
def outputs(library):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(np.load(sys.argv[2])))
ours = outputs(sys.argv[3])
try:
    found = [float(np.abs(a - b).max()) for a, b in zip(ours, outputs(None))]
except Exception as error:
    found = str(error)
print(json.dumps([ort.__version__, found]))
"""
NBITS_SINCE = (1, 24)
"""The first release that loads MatMulNBits with two bits."""
NBITS_TOLERANCE = 0.02
"""Of its outputs, relative to the largest: activations are rounded by blocks there, and by rows in ours."""
SHAPE = (200, 320)
ROWS = 7


@dataclass(frozen=True)
class Case:
    """One node, named as in the output, with its constants, and what is fed to it: float32 or int64 by input name.

    ``exact`` tells that library and body have to give the same bits.
    """

    name: str
    node: onnx.NodeProto
    constants: Constants
    feeds: Constants
    exact: bool = False


def _cases() -> list[Case]:
    """Every operator, the endings for some."""
    ternary, fives, rf8 = _term(Ternary(group=64)), _term(Ternary(group=80, storage="1.6bit")), _term(RF8())
    products = {
        "TernaryMatMul": _term(Ternary()).operands(),
        "TernaryMatMul, groups of 64": ternary.operands(),
        "Ternary5MatMul": fives.operands(),
        "TernaryMatMulFloat": _term(Ternary(group=32, act="float32")).operands(),
        "Ternary5MatMulFloat": fives.operands(),
        "RF8MatMul": rf8.operands(),
        "TernaryMatMulRelu": ternary.operands(),
        "TernaryMatMulAdd": ternary.operands(),
        "RF8MatMulGelu": rf8.operands(),
        "RF8MatMulGeluTanh": rf8.operands(),
        "RF8MatMulSilu": rf8.operands(),
    }
    lookups = {
        "TernaryGather": ternary.rows(),
        "TernaryTiledGather": ternary.operands(),
        "RF8Gather": rf8.rows(),
        "RF8TiledGather": rf8.operands(),
    }
    weight = _normal(*SHAPE)
    layers = [sparse(0.5), sparse(0.5, coded_values=True, block=4), gate(0.5), gate(0.5, coded_values=True)]
    skipping = {layer.nodes[0].op_type: layer.constants for layer in (build(weight) for build in layers)}
    return [
        *(_product(name, constants) for name, constants in (products | skipping).items()),
        *(_case(name, constants, {"indices": np.arange(-3, 4)}, exact=True) for name, constants in lookups.items()),
        _convolution(),
        *(_half(name, products[name]) for name in ("TernaryMatMul", "TernaryMatMulRelu", "RF8MatMulGelu")),
    ]


def _product(name: str, constants: Constants) -> Case:
    exact = name.startswith("Ternary") and "Float" not in name
    feeds = {"x": _normal(ROWS, SHAPE[1], seed=1), "other": _normal(ROWS, SHAPE[0], seed=2)}
    return _case(name, {**constants, "bias": np.zeros(1, np.float32)}, feeds, exact=exact)


def _half(name: str, constants: Constants) -> Case:
    """With activations of float16."""
    exact = name.startswith("Ternary")
    case = _case(name, {**constants, "bias": np.zeros(1, np.float32)}, {"x": _normal(ROWS, SHAPE[1])}, exact=exact)
    return replace(case, name=f"{name}, float16", feeds={key: x.astype(np.float16) for key, x in case.feeds.items()})


def _convolution() -> Case:
    kernel = _normal(SHAPE[0], 32 * 9)
    operands = _term(Ternary(), kernel).by_taps(9).operands()
    window = {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1]}
    constants = {**operands, "bias": np.zeros(1, np.float32)}
    return _case("TernaryConv", constants, {"x": _normal(2, 32, 9, 11)}, exact=True, **window)


def _case(name: str, constants: Constants, feeds: Constants, *, exact: bool, **attributes: list[int]) -> Case:
    operator = name.partition(",")[0]
    inputs = ops.OPERATORS[operator].inputs
    node = helper.make_node(operator, inputs, ["y"], domain=ops.DOMAIN, **attributes)
    given = {key: value for key, value in feeds.items() if key in inputs}
    return Case(name, node, {key: constants[key] for key in inputs if key not in given}, given, exact)


def _term(pass_: RF8 | Ternary, weight: Float32 | None = None) -> Coded:
    values = _normal(*SHAPE) if weight is None else weight
    site = SiteInfo("w", ("MatMul",), ("node",), (len(values), values.shape[1]), values.dtype, True, True)
    term = pass_.fit(Dense(values), site)
    assert isinstance(term, Coded), term
    return term


def _normal(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@click.command()
@click.argument("versions", nargs=-1)
def main(versions: tuple[str, ...]) -> None:
    """Check the library in each release of ONNX Runtime (default: 1.17, 1.20, 1.23 and the newest)."""
    cases = _cases()
    model, feeds = _save(cases)
    fallback, its_feeds = _save_fallback()
    for version in versions or VERSIONS:
        python = _environment(version)
        _judge(cases, _check(python, model, feeds))
        _judge_fallback(_check(python, fallback, its_feeds))


def _check(python: Path, model: Path, feeds: Path) -> str:
    """Both ways in the interpreter of a release. In float32 as the bodies: above AVX-512 RF8 weights may be multiplied
    in float16.
    """
    command = [str(python), "-c", CHECK, str(model), str(feeds), str(library_path())]
    bound = {**os.environ, "REGC_ISA": "avx512"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=bound)
    if result.returncode:
        raise SystemExit(f"{python}: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout


def _judge(cases: list[Case], output: str) -> None:
    release, differences = json.loads(output)
    if isinstance(differences, str):
        raise SystemExit(f"onnxruntime {release}: without the library: {differences}")
    found = list(zip(cases, differences, strict=True))
    words = ", ".join(f"{case.name}: {difference:.2g}" for case, difference in found)
    print(f"onnxruntime {release}: library against bodies, largest difference: {words}")
    wrong = [case.name for case, difference in found if not difference <= (0 if case.exact else 1e-3)]
    if wrong:
        raise SystemExit(f"onnxruntime {release}: the library and the function bodies disagree: {', '.join(wrong)}")


def _judge_fallback(output: str) -> None:
    release, found = json.loads(output)
    head = f"onnxruntime {release}: fallback matmulnbits"
    if isinstance(found, str):
        if tuple(map(int, release.split(".")[:2])) >= NBITS_SINCE:
            raise SystemExit(f"{head}: {found}")
        print(f"{head}: runs with the library only, as it should")
        return
    print(f"{head}, largest difference relative to the outputs: {max(found):.2g}")
    if not max(found) <= NBITS_TOLERANCE:
        raise SystemExit(f"{head}: too far from the library")


def _save_fallback() -> tuple[Path, Path]:
    """A ternary product whose body calls MatMulNBits, its outputs at most 1, and what is fed to it."""
    x, weight = _normal(ROWS, 512, seed=1), np.sign(_normal(512, 256))
    weight /= np.abs(x @ weight).max()
    product = "fallback (float[n,512] x) => (float[n,256] y) { y = MatMul(x, w) }"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {OPSET}]> {product}')
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    compile_model(proto, [Ternary(group=128)], fallback="matmulnbits").save(FOLDER / "fallback.onnx")
    np.savez(FOLDER / "fallback.npz", x=x)
    return FOLDER / "fallback.onnx", FOLDER / "fallback.npz"


def _save(cases: list[Case]) -> tuple[Path, Path]:
    """A model of all cases side by side, and what is fed to it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    nodes, inputs, outputs, constants, feeds = [], [], [], [], {}
    for index, case in enumerate(cases):
        nodes.append(renamed(case.node, index))
        constants += [numpy_helper.from_array(value, f"{name}{index}") for name, value in case.constants.items()]
        for name, value in case.feeds.items():
            feeds[f"{name}{index}"] = value
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(f"{name}{index}", kind, [None] * value.ndim))
        half = any(value.dtype == np.float16 for value in case.feeds.values())
        kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
        outputs.append(helper.make_tensor_value_info(f"y{index}", kind, None))
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions({case.node.op_type for case in cases}, OPSET, ops.OPERATORS | ops.TYPED)
    graph = helper.make_graph(nodes, "operators", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)
    onnx.save(proto, FOLDER / "model.onnx")
    np.savez(FOLDER / "feeds.npz", **feeds)
    return FOLDER / "model.onnx", FOLDER / "feeds.npz"


def _environment(version: str) -> Path:
    home = FOLDER / version
    python = home / "bin" / "python"
    if not (home / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        release = "onnxruntime" if version == "newest" else f"onnxruntime=={version}"
        numpy = "numpy<2" if version.startswith("1.17") else "numpy"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", release, numpy], check=True)
        (home / ".installed").touch()
    return python


if __name__ == "__main__":
    main()

"""One build of the operator library in several releases of ONNX Runtime.

    python -m benchmarks.compatibility [VERSION ...]

Each release gets a virtual environment of its own under ``build/compatibility``, with nothing of regc in it but the
library, and runs a model of every operator twice: with the library, and without it through the function bodies. For
ternary weights with int8 activations both must give the same bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import onnx

from benchmarks.contenders import coded
from benchmarks.stack import model_of
from regc.passes import RF8, Ternary
from regc.runtime_ops import library_path

VERSIONS = ("1.17.3", "1.20.1", "1.23.2", "newest")
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
ours, bodies = outputs(sys.argv[3]), outputs(None)
differences = [float(np.abs(a - b).max()) for a, b in zip(ours, bodies)]
print(json.dumps([ort.__version__, differences]))
"""
OPERATORS = {
    "TernaryMatMul": coded(Ternary()),
    "TernaryMatMul, groups of 64": coded(Ternary(group=64)),
    "Ternary5MatMul": coded(Ternary(storage="1.6bit")),
    "TernaryMatMulFloat": coded(Ternary(group=32, act="float32")),
    "RF8MatMul": coded(RF8()),
}


@click.command()
@click.argument("versions", nargs=-1)
def main(versions: tuple[str, ...]) -> None:
    """Check the library in each release of ONNX Runtime (default: 1.17, 1.20, 1.23 and the newest)."""
    model, feeds = _model()
    for version in versions or VERSIONS:
        python = _environment(version)
        command = [str(python), "-c", CHECK, str(model), str(feeds), str(library_path())]
        # In float32 as the bodies: above this instruction set RF8 weights may be multiplied in float16.
        bound = {**os.environ, "REGC_ISA": "avx512"}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=bound)
        if result.returncode:
            raise SystemExit(f"onnxruntime {version}: {result.stderr.strip().splitlines()[-1]}")
        _judge(result.stdout)


def _judge(output: str) -> None:
    import json  # noqa: PLC0415

    release, differences = json.loads(output)
    words = ", ".join(f"{name}: {d:.2g}" for name, d in zip(OPERATORS, differences, strict=True))
    print(f"onnxruntime {release}: library against bodies, largest difference: {words}")
    exact = differences[:2]
    if any(exact) or max(differences) > 1e-3:
        raise SystemExit(f"onnxruntime {release}: the library and the function bodies disagree")


def _model() -> tuple[Path, Path]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    layers = [build(rng.standard_normal((200, 320), np.float32)) for build in OPERATORS.values()]
    onnx.save(model_of([(layer, layer.constants) for layer in layers], 7, 320), FOLDER / "model.onnx")
    feeds = {f"x{index}": rng.standard_normal((7, 320), np.float32) for index in range(len(layers))}
    np.savez(FOLDER / "feeds.npz", **feeds)  # type: ignore[arg-type]
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

"""What one model costs a process of its own: seconds to load it, and resident memory after that and in use.

    python -m benchmarks.memory MODEL FEEDS.npz THREADS [OPTIMIZER-TO-LEAVE-OUT ...]

prints one JSON line. Memory counts from before the session is made, when ONNX Runtime is already loaded.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from regc import runtime_ops

RUNS = 3


def session_of(path: Path, threads: int, left_out: Sequence[str] = ()) -> Any:
    """A session with our operators known, without the graph optimizers named in ``left_out``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    runtime_ops.register(options)
    providers = ["CPUExecutionProvider"]
    return ort.InferenceSession(str(path), options, providers=providers, disabled_optimizers=list(left_out))


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def main(model: str, feeds: str, threads: str, *left_out: str) -> None:
    """Load the model, run it, and print what that took."""
    with np.load(feeds) as archive:
        feed = dict(archive)
    ort.SessionOptions()
    before, start = resident(), time.perf_counter()
    session = session_of(Path(model), int(threads), left_out)
    seconds, loaded = time.perf_counter() - start, resident()
    for _ in range(RUNS):
        session.run(None, feed)
    used = resident()
    print(json.dumps({"load_seconds": seconds, "loaded": loaded - before, "in_use": used - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])

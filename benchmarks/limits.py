"""What this machine can do at most, measured by a small C program that is compiled on the spot."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("limits.c")

Limits = dict[str, float]
"""``read``: bytes from memory; ``float32``, ``int8``, ...: multiply-adds; each per second."""


@cache
def measure(threads: int, megabytes: int) -> Limits:
    """The limits with some threads, reading ``megabytes``; empty where the program does not compile."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limits"
        command = [compiler, "-O3", "-march=native", "-pthread", str(SOURCE), "-o", str(program)]
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            return {}
        done = subprocess.run([program, str(threads), str(megabytes)], check=True, capture_output=True, text=True)
    found: Limits = json.loads(done.stdout)
    return found


def cache_bytes() -> int:
    """Bytes of the last-level cache; 32 MiB where the system does not say."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(path.read_text().strip().rstrip("K")) << 10 for path in sizes), default=32 << 20)

"""For benchmarks.gpu_check: steps in processes of their own, so that a fault or a hang takes nothing but its own step.

After a fault of the device nothing more works in a process: what comes then, and what had been found, would be lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

KEPT = 30
"""Lines of output that are kept of a step."""
PASSED, FAILED, TIMED_OUT, SKIPPED = "passed", "failed", "timed out", "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of a step: one of the words above, why if it did not pass, and the last lines that it printed."""

    name: str
    status: str
    seconds: float = 0
    why: str = ""
    output: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people: a line, and the output of what failed."""
        reason = f": {self.why}" if self.why else ""
        lines = [f"{self.status:>9}  {self.name} ({self.seconds:.0f} s){reason}"]
        shown = self.output if self.status in (FAILED, TIMED_OUT) else []
        return "\n".join([*lines, *(f"           | {line}" for line in shown)])


def run_step(name: str, command: Sequence[str], limit: float, folder: Path) -> Outcome:
    """Run a command, printing what it prints; after ``limit`` seconds it is killed with all that it started."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    output: deque[str] = deque(maxlen=KEPT)
    reader = threading.Thread(target=_read, args=(process, output), daemon=True)
    reader.start()
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        _kill(process)
        return Outcome(name, TIMED_OUT, time.monotonic() - began, f"killed after {limit:.0f} s", list(output))
    except BaseException:  # Ctrl-C, too, which a group of its own does not hear
        _kill(process)
        raise
    reader.join(5)
    seconds = time.monotonic() - began
    if code == 0:
        return Outcome(name, PASSED, seconds, output=list(output))
    return Outcome(name, FAILED, seconds, _end(code), list(output))


def _read(process: subprocess.Popen[str], output: deque[str]) -> None:
    for line in process.stdout or ():
        print(line, end="", flush=True)
        output.append(line.rstrip("\n"))


def _kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} does not end: it waits in the driver", flush=True)


def _end(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

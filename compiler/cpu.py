"""What this machine's CPU has."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def name() -> str:
    """What the CPU is called; what the system knows of it where Linux does not tell."""
    told = next((line.partition(":")[2].strip() for line in _lines() if line.startswith("model name")), "")
    return told or platform.processor() or platform.machine()


def flags() -> frozenset[str]:
    """The instructions that the CPU has, as Linux names them; empty on other systems, which do not tell so."""
    return frozenset(next((line for line in _lines() if line.startswith(("flags", "Features"))), "").split())


def _lines() -> list[str]:
    return CPUINFO.read_text("utf-8").splitlines() if CPUINFO.exists() else []

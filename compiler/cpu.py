"""What this machine's CPU has."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def flags() -> frozenset[str]:
    """The instructions that the CPU has, as Linux names them; empty on other systems, which do not tell so."""
    if not CPUINFO.exists():
        return frozenset()
    lines = CPUINFO.read_text("utf-8").splitlines()
    return frozenset(next((line for line in lines if line.startswith(("flags", "Features"))), "").split())

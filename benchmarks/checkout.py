"""Makes ``regc`` importable from the checkout where it is not installed: on a bare machine with Python and NumPy."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("compiler", "passes", "runtime_ops")

if importlib.util.find_spec("regc") is None:
    package = ROOT / "build" / "checkout" / "regc"
    package.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        if not (package / room).exists():
            (package / room).symlink_to(ROOT / room)
    sys.path.insert(0, str(package.parent))

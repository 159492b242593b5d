"""The programs of tests/native."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "runtime_ops" / "csrc"
FOLDER = ROOT / "build" / "tests"
"""Kept from run to run: to compile all kernels takes 40 s, and what has not changed is not compiled again."""


def built(*targets: str, needs: str = "") -> Path:
    """The folder with some targets, up to date. Of the workers of pytest-xdist one builds at a time.

    Skips the test where there is no compiler, or where it lacks what the entry ``needs`` of CMake's cache is for.
    """
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget_another_checkout()
        _run(cmake, "-S", str(SOURCES), "-B", str(FOLDER), "-DREGC_TESTS=ON", "-DREGC_CUDA=OFF")
        if needs not in _cache():
            pytest.skip(f"the compiler or the system lacks what {needs} stands for in CMakeLists.txt")
        _run(cmake, "--build", str(FOLDER), "-j2", "--target", *targets)
    return FOLDER


def _cache() -> str:
    cache = FOLDER / "CMakeCache.txt"
    return cache.read_text(encoding="utf-8") if cache.exists() else ""


def _forget_another_checkout() -> None:
    """CMake refuses a folder that was made for sources elsewhere, as they are once a checkout has moved."""
    if _cache() and f"CMAKE_HOME_DIRECTORY:INTERNAL={SOURCES}\n" not in _cache():
        for made in FOLDER.iterdir():
            if made.is_dir():
                shutil.rmtree(made)
            elif made.name != "lock":
                made.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

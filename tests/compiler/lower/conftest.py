"""What is tested here is which nodes there are, by comparing what they compute: in float32, so that it can be exact."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def float32_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """No instruction set that multiplies RF8 weights in float16."""
    monkeypatch.setenv("REGC_ISA", "avx512")

from pathlib import Path

import onnx
import pytest

from support import two_layers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model of two layers in a folder of its own."""
    onnx.save(two_layers(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"

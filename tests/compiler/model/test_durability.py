"""Saving that goes wrong leaves everything as it was."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import onnx
import pytest
from onnx import helper

from onnx_models import sums
from regc.compiler.errors import RegcError
from regc.compiler.model import Model, files, from_proto, save, saving
from regc.compiler.model.storage import StoredValues


class FailingValues(StoredValues):
    """Values whose second chunk cannot be written."""

    def __init__(self, values: StoredValues, error: BaseException) -> None:
        super().__init__(values.header)
        self.error = error

    def chunks(self) -> Iterator[bytes]:
        yield b"first"
        raise self.error


def failing(error: BaseException) -> Model:
    model = from_proto(sums())
    big = model.graph.tensors()["big"]
    big._values = FailingValues(big._values, error)
    return model


def earlier(folder: Path) -> dict[str, bytes]:
    """Files that were at the destination before."""
    (folder / "m.onnx").write_bytes(b"old model")
    (folder / "m.onnx.data").write_bytes(b"old data")
    return listing(folder)


def listing(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("external_data", [False, True])
@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "full"), RegcError, "no room to save the model: 1[0-9]{6} bytes are needed"),
        (OSError(errno.EIO, "broken"), RegcError, "cannot be saved there"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_failures_leave_everything_as_it_was(
    external_data: bool, error: BaseException, raised: type[BaseException], words: str | None, tmp_path: Path
) -> None:
    before = earlier(tmp_path)
    with pytest.raises(raised, match=words):
        save(failing(error), tmp_path / "m.onnx", external_data=external_data)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("links", [True, False])
def test_a_failed_rename_is_undone(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = earlier(tmp_path)
    replace = Path.replace

    def second_fails(self: Path, target: Path) -> Path:
        if (self.name, target.name) == (saving.STAGED, "m.onnx"):
            raise KeyboardInterrupt
        return replace(self, target)

    def no_links(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(Path, "replace", second_fails)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(KeyboardInterrupt):
        save(from_proto(sums()), tmp_path / "m.onnx", external_data=True)
    assert listing(tmp_path) == before


def test_a_first_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Path) -> NoReturn:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files, "_sync_folder", fails)
    with pytest.raises(RegcError, match="broken"):
        save(from_proto(sums()), tmp_path / "m.onnx", external_data=True)
    assert not listing(tmp_path)


def test_a_model_that_the_checker_refuses_is_not_saved(tmp_path: Path) -> None:
    model = from_proto(sums())
    model.graph.nodes[0].op = "NoSuchOperator"
    with pytest.raises(RegcError, match="refuses the new model"):
        save(model, tmp_path / "m.onnx")
    assert not listing(tmp_path)


def test_a_model_that_was_refused_before_may_be_saved(tmp_path: Path) -> None:
    odd = sums()
    odd.graph.node[0].attribute.append(helper.make_attribute("no_such_attribute", 1))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(odd)
    assert onnx.load(save(from_proto(odd), tmp_path / "m.onnx").model) == odd

"""Saving: layout and streaming, and that files appear complete or not at all."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_models import sums, weights
from regc.compiler.errors import RegcError, UsageError
from regc.compiler.model import from_proto, load, load_values, save, saving, sha256, writer
from regc.compiler.model.storage import FileValues
from support import run


def result(model: Path | ModelProto) -> float:
    return float(run(model, {"x": np.array(1, np.float32), "flag": np.array(False)})[0])


def listing(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The model with external data, in a folder of its own."""
    folder = tmp_path / "input"
    folder.mkdir()
    save(from_proto(sums()), folder / "model.onnx", external_data=True)
    return folder / "model.onnx"


def test_a_single_file_is_the_same_message(tmp_path: Path) -> None:
    saved = save(from_proto(sums()), tmp_path / "m.onnx")
    assert saved.paths == (tmp_path / "m.onnx",)
    assert saved.nbytes == saved.model.stat().st_size
    assert onnx.load(saved.model) == sums()
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_external_data_is_aligned_and_complete(stored: Path) -> None:
    model = onnx.load(stored, load_external_data=False)
    data = stored.with_name("model.onnx.data")
    places = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            places[tensor.name] = {entry.key: entry.value for entry in tensor.external_data}
    assert set(places) == {"big", "page", "odd"}
    assert int(places["big"]["offset"]) % 4096 == 0
    assert all(int(place["offset"]) % 64 == 0 and place["location"] == data.name for place in places.values())
    assert set(listing(stored.parent)) == {"model.onnx", "model.onnx.data"}
    assert result(stored) == result(sums())
    onnx.checker.check_model(str(stored))
    loaded = onnx.load(stored)
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), weights()["big"])


def test_values_stay_where_they_came_from(stored: Path, tmp_path: Path) -> None:
    model = load(stored)
    assert model.has_external_data
    assert model.nbytes == sum(len(content) for content in listing(stored.parent).values())
    again = save(model, tmp_path / "again.onnx")
    assert again.data == (tmp_path / "again.onnx.data",)
    assert again.data[0].read_bytes() == stored.with_name("model.onnx.data").read_bytes()
    single = save(model, tmp_path / "single.onnx", external_data=False)
    assert single.data == ()
    assert result(again.model) == result(single.model) == result(sums())
    big = model.graph.tensors()["big"]
    assert isinstance(big._values, FileValues)
    np.testing.assert_array_equal(load_values(big), weights()["big"])


def test_new_constants_are_streamed_from_where_they_are_parked(tmp_path: Path) -> None:
    model = from_proto(sums())
    parked = model.add_constant(model.fresh_name("big"), np.full(200_000, 0.5, np.float32))
    for node in model.graph.nodes:
        node.inputs = [parked if tensor.name == "big" else tensor for tensor in node.inputs]
    model.unused.clear()
    expected = result(sums()) - weights()["big"].sum(dtype=np.float64) + 100_000
    for external in (True, False):
        saved = save(model, tmp_path / f"{external}.onnx", external_data=external)
        assert result(saved.model) == pytest.approx(expected, rel=1e-4)


def test_tied_weights_share_their_place(stored: Path, tmp_path: Path) -> None:
    model = load(stored)
    node = next(node for node in model.graph.nodes if node.inputs and node.inputs[0].name == "page")
    node.inputs[0] = type(node.inputs[0])("twin", model.graph.tensors()["big"]._values)
    saved = save(model, tmp_path / "tied.onnx")
    tensors = {tensor.name: tensor for tensor in onnx.load(saved.model, load_external_data=False).graph.initializer}
    assert tensors["twin"].external_data == tensors["big"].external_data
    assert result(saved.model) == pytest.approx(
        result(sums()) + float(weights()["big"].sum() - weights()["page"].sum()), rel=1e-4
    )


def test_large_totals_become_external_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "EXTERNAL_ABOVE", 1_000_000)
    assert save(from_proto(sums()), tmp_path / "m.onnx").data


def test_single_files_end_where_protobuf_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PROTOBUF_LIMIT", 1_000_000)
    with pytest.raises(RegcError, match="save with external data"):
        save(from_proto(sums()), tmp_path / "m.onnx")
    assert not listing(tmp_path)


def test_typed_fields_are_streamed_as_raw_data(tmp_path: Path) -> None:
    typed = sums()
    tensor = typed.graph.initializer[0]
    tensor.CopyFrom(helper.make_tensor("big", 1, tensor.dims, weights()["big"]))
    saved = save(from_proto(typed), tmp_path / "m.onnx")
    assert onnx.load(saved.model) == sums()


def hard(target: Path, link: Path) -> None:
    link.hardlink_to(target)


def soft(target: Path, link: Path) -> None:
    link.symlink_to(target)


@pytest.mark.parametrize("link", [hard, soft])
@pytest.mark.parametrize("victim", ["model.onnx", "model.onnx.data"])
def test_the_input_is_never_written_to(stored: Path, link: Callable[[Path, Path], None], victim: str) -> None:
    before = listing(stored.parent)
    model = load(stored)
    link(stored.with_name(victim), stored.parent / "alias.onnx")
    link(stored.with_name("model.onnx.data"), stored.parent / "other.onnx.data")
    for name in (victim, "alias.onnx", "other.onnx", f"../{stored.parent.name}/{victim}"):
        with pytest.raises(UsageError, match="choose another name"):
            save(model, stored.parent / name)
    assert {name: listing(stored.parent)[name] for name in before} == before


def test_an_old_data_file_is_left_alone_by_a_single_file(stored: Path) -> None:
    old = stored.with_name("model.onnx.data").read_bytes()
    save(from_proto(sums()), stored, external_data=False)
    assert onnx.load(stored) == sums()
    assert stored.with_name("model.onnx.data").read_bytes() == old


def test_destinations_that_cannot_be(tmp_path: Path) -> None:
    model = from_proto(sums())
    with pytest.raises(UsageError, match="is a folder"):
        save(model, tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        save(model, tmp_path / "gone" / "m.onnx")
    (tmp_path / "m.onnx.data").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        save(model, tmp_path / "m.onnx", external_data=True)


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.onnx"))
        for name in ("pipe.onnx", "socket.onnx"):
            before = (tmp_path / name).lstat()
            with pytest.raises(UsageError, match="is no regular file"):
                save(from_proto(sums()), tmp_path / name)
            assert (tmp_path / name).lstat() == before


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_neither_followed_nor_replaced(there: bool, tmp_path: Path) -> None:
    if there:
        (tmp_path / "real.onnx").write_text("real")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    with pytest.raises(UsageError, match=r"is a link to real\.onnx; give that name, or remove the link"):
        save(from_proto(sums()), tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink()
    assert (tmp_path / "real.onnx").exists() == there


def test_a_folder_that_takes_no_files_is_refused_up_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(UsageError, match=r"cannot be written to \(Read-only file system\)"):
        save(from_proto(sums()), tmp_path / "m.onnx")


def test_opaque_models_take_their_data_files_along(stored: Path, tmp_path: Path) -> None:
    odd = onnx.load(stored, load_external_data=False)
    node = helper.make_node("Foreign", ["x"], ["z"], domain="d", graphs=[helper.make_graph([], "inner", [], [])])
    odd.graph.node.append(node)
    odd.opset_import.append(helper.make_opsetid("d", 1))
    stored.write_bytes(odd.SerializeToString())
    model = load(stored)
    before = listing(stored.parent)
    saved = save(model, tmp_path / "copy.onnx")
    assert saved.paths == (tmp_path / "copy.onnx", tmp_path / "model.onnx.data")
    assert saved.model.read_bytes() == before["model.onnx"]
    assert saved.data[0].read_bytes() == before["model.onnx.data"]
    save(model, stored.with_name("beside.onnx"))
    assert listing(stored.parent) == before | {"beside.onnx": before["model.onnx"]}
    with pytest.raises(UsageError, match="passed through as it came"):
        save(model, tmp_path / "copy.onnx", external_data=False)


def test_digest(stored: Path) -> None:
    data = stored.with_name("model.onnx.data")
    assert load(stored).digest() == sha256(stored, data) != sha256(stored)
    assert from_proto(sums()).digest() == from_proto(sums()).digest()

"""What must hold of a model before it is worth opening.

Every complaint names the file, the place and the remedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import AttributeProto, ModelProto, TensorProto

from regc.compiler.errors import ModelError
from regc.compiler.model import dtypes
from regc.compiler.model.protos import STANDARD, describe, nodes, standard_opset, tensors
from regc.compiler.model.storage import Region, Stamp, stamp_of

OLDEST_IR = 3
OLDEST_OPSET = 9


@dataclass
class Origin:
    """Where a model came from: words for messages, and the folder that locations of external data refer to.

    ``files`` collects the files, that of the model first, if there is one, and those of external data in the order in
    which they are met.
    """

    name: str
    folder: Path | None
    real_folder: Path | None = None
    files: dict[Path, Stamp] = field(default_factory=dict)

    def error(self, message: str) -> ModelError:
        """A ModelError about this model."""
        return ModelError(f"{self.name}: {message}")

    def region(self, tensor: TensorProto, where: str) -> Region:
        """The bytes of an external tensor.

        Raises ModelError when they are not all there, or not in the folder of the model.
        """
        keys = {entry.key: entry.value for entry in tensor.external_data}
        path = self._data_file(keys.get("location", ""), where)
        expected = dtypes.payload_bytes(tensor.data_type, tensor.dims)
        offset, length = self._number(keys, "offset", 0, where), self._number(keys, "length", expected, where)
        if length != expected:
            raise self.error(
                f"{where}: {_form(tensor)} takes {expected} bytes, but {path.name} has {length} of it; "
                "export the model again"
            )
        stamp = self.files[path]
        if offset + length > stamp.size:
            missing = f"ends at byte {offset + length} of {path.name}, which has {stamp.size}"
            raise self.error(f"{where}: {missing}; the data file is cut short or of another model: fetch it again")
        return Region(path, offset, length, stamp)

    def _number(self, keys: dict[str, str], key: str, default: int, where: str) -> int:
        text = keys.get(key, "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self.error(
                f"{where}: external data has {key} '{text}', which is no byte count; export the model again"
            )
        return int(text) if text else default

    def _data_file(self, location: str, where: str) -> Path:
        if self.folder is None or self.real_folder is None:
            raise self.error(
                f"{where}: has external data; open the model from its file, or say in which folder the data is"
            )
        path = self.folder / location
        if path in self.files:
            return path
        windows = PureWindowsPath(location)
        if (
            not location
            or PurePosixPath(location).is_absolute()
            or windows.drive
            or windows.root
            or ".." in windows.parts
        ):
            raise self.error(
                f"{where}: external data '{location}' is not inside the model's folder; put it there and "
                "correct the location"
            )
        self.files[path] = self._stamp(path, where)
        return path

    def _stamp(self, path: Path, where: str) -> Stamp:
        """Links may lead to files in the model's folder, or next to the file that the model is a link to."""
        if not path.is_file():
            raise self.error(f"{where}: external data file {path} is missing; put it next to the model")
        real = path.resolve()
        if self.folder is not None and not any(
            real.is_relative_to(f) for f in (self.folder.resolve(), self.real_folder) if f
        ):
            raise self.error(
                f"{where}: external data file {path} is a link out of the model's folder; put the file itself there"
            )
        try:
            with path.open("rb"):
                return stamp_of(path)
        except OSError as error:
            raise self.error(
                f"{where}: external data file {path} cannot be read ({error.strerror}); check its permissions"
            ) from error


def check(proto: ModelProto, origin: Origin) -> None:
    """Raise ModelError unless versions, payloads and external data are in order; fills ``origin.files``."""
    if not proto.HasField("graph"):
        raise origin.error("holds no graph: not an ONNX model, or a damaged one; export it again")
    _check_versions(proto, origin)
    for tensor, where in tensors(proto):
        _check_tensor(tensor, where, origin)


def opaque_reason(proto: ModelProto) -> str | None:
    """Why the graph must be left as it is, in words; None when GraphSurgeon can hold it and passes may change it."""
    opset = standard_opset(proto.opset_import)
    if opset < OLDEST_OPSET and any(entry.domain in STANDARD for entry in proto.opset_import):
        return f"its opset {opset} is older than {OLDEST_OPSET}; convert it with onnx.version_converter first"
    if proto.training_info:
        return "it holds training information, which refers to the weights by name"
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPHS:
                return f"{describe(node)} holds a list of graphs in attribute '{attribute.name}'"
    return next((f"{where} keeps external data where only a plain tensor may" for where in _odd_external(proto)), None)


def is_external(tensor: TensorProto) -> bool:
    """Whether the values are in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def _odd_external(proto: ModelProto) -> list[str]:
    odd = [
        f"sparse initializer '{s.values.name}'"
        for s in proto.graph.sparse_initializer
        if is_external(s.values) or is_external(s.indices)
    ]
    for node in nodes(proto):
        for attribute in node.attribute:
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            inner = [*attribute.tensors, *(s.values for s in sparse), *(s.indices for s in sparse)]
            odd += [f"{describe(node)}, attribute '{attribute.name}'," for tensor in inner if is_external(tensor)]
    return odd


def _check_versions(proto: ModelProto, origin: Origin) -> None:
    newest_ir, newest_opset = int(onnx.IR_VERSION), onnx.defs.onnx_opset_version()
    remedy = f"is newer than onnx {onnx.__version__} knows"
    if proto.ir_version < OLDEST_IR:
        raise origin.error(
            f"IR version {proto.ir_version} is older than {OLDEST_IR}; export the model again with a newer exporter"
        )
    if proto.ir_version > newest_ir:
        raise origin.error(f"IR version {proto.ir_version} {remedy} ({newest_ir}); upgrade the onnx package")
    for imports in (proto.opset_import, *(function.opset_import for function in proto.functions)):
        if standard_opset(imports) > newest_opset:
            raise origin.error(f"opset {standard_opset(imports)} {remedy} ({newest_opset}); upgrade the onnx package")


def _check_tensor(tensor: TensorProto, where: str, origin: Origin) -> None:
    if not dtypes.known(tensor.data_type):
        raise origin.error(
            f"{where}: element type {tensor.data_type} is unknown to onnx {onnx.__version__}; upgrade the onnx package"
        )
    if any(dim < 0 for dim in tensor.dims):
        raise origin.error(f"{where}: {_form(tensor)} has a negative dimension; export the model again")
    if is_external(tensor):
        if tensor.data_type == TensorProto.STRING:
            raise origin.error(f"{where}: strings cannot be external data; export the model again")
        origin.region(tensor, where)
        return
    found, expected, unit = _payload(tensor)
    if found != expected:
        raise origin.error(f"{where}: {_form(tensor)} takes {expected} {unit}, but has {found}; export the model again")


def _payload(tensor: TensorProto) -> tuple[int, int, str]:
    """How much the tensor holds, how much it must hold, and of what."""
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), dtypes.payload_bytes(tensor.data_type, tensor.dims), "bytes"
    found = len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))
    if dtypes.is_packed(tensor.data_type):
        count = dtypes.payload_bytes(tensor.data_type, tensor.dims)
    elif tensor.data_type in {TensorProto.COMPLEX64, TensorProto.COMPLEX128}:
        count *= 2
    return found, count, "values"


def _form(tensor: TensorProto) -> str:
    return f"{dtypes.type_name(tensor.data_type)} {list(tensor.dims)}"

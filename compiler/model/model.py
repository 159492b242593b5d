"""A model that is open: its graph, and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import FunctionProto, ModelProto, helper

from regc.compiler.model import integrity
from regc.compiler.model.exporter import INPUTS_ARE_INITIALIZERS, Extras, export
from regc.compiler.model.files import sha256
from regc.compiler.model.importer import import_model
from regc.compiler.model.inlining import inline_weighted_calls
from regc.compiler.model.protos import standard_opset
from regc.compiler.model.reader import read
from regc.compiler.model.scratch import Store
from regc.compiler.model.storage import Array, StoredValues, stamp_of
from regc.compiler.model.writer import Draft

FUNCTIONS_SINCE_IR = 8


class Model:
    """An opened ONNX model. Passes change ``graph`` and nothing else; :func:`save` writes what they left.

    - ``path``: the file it was opened from, None for a proto.
    - ``proto``: what was in it, large weights of a file as :func:`regc.compiler.model.reader.read` has them; not to be
      modified.
    - ``files``: that file and its external data files, which lie in ``folder``; ``nbytes``: their bytes.
    - ``graph``: a ``gs.Graph``, from which subgraphs and functions are reached.
    - ``unused``: initializers of the main graph that nothing reads; saved again unless taken off the list.
    - ``overridable``: names of initializers that callers may feed at run time: only defaults.
    - ``opset``: version of the standard domain, 0 when the model does not import it.
    - ``metadata``: the model's key-value pairs, free to extend.
    - ``opaque``: mostly None; why the model must be left as it is, in words. Its ``graph`` is empty then,
      and it is saved as it came.
    """

    def __init__(self, proto: ModelProto, origin: integrity.Origin, path: Path | None = None) -> None:
        """``proto`` has passed :func:`regc.compiler.model.integrity.check` and is never modified."""
        self.path = path
        self.folder = origin.folder
        self.files: tuple[Path, ...] = tuple(origin.files)
        self.nbytes: int = (0 if path else proto.ByteSize()) + sum(stamp.size for stamp in origin.files.values())
        self.has_external_data = any(file != path for file in origin.files)
        self.opset = standard_opset(proto.opset_import)
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.opaque = integrity.opaque_reason(proto)
        self.graph: gs.Graph = gs.Graph(ir_version=proto.ir_version)
        self.unused: list[gs.Constant] = []
        if not self.opaque:
            self.graph, self.unused = import_model(proto, origin)
        self.overridable = _overridable(proto)
        self.proto = proto
        self._functions: list[FunctionProto] = []
        self._store = Store()
        self._names: set[str] | None = None

    @property
    def ir_version(self) -> int:
        """The IR version that the model will be saved with."""
        return int(self.graph.ir_version)

    def require_ir(self, version: int) -> None:
        """Raise the IR version to at least ``version``.

        From 4 on, initializers that were inputs by convention are plain constants.
        """
        self.graph.ir_version = max(self.ir_version, version)

    def add_functions(self, functions: Iterable[FunctionProto], version: int = 1) -> None:
        """Add model-local functions and import their domains at ``version``.

        One whose domain and name the model has already is left out.
        """
        for function in functions:
            key = (function.domain, function.name)
            added = {(other.domain, other.name) for other in self._functions}
            if key in added | {other.unique_id for other in self.graph.functions}:
                continue
            self.require_ir(FUNCTIONS_SINCE_IR)
            self._functions.append(function)
            if function.domain not in {entry.domain for entry in self.graph.import_domains}:
                self.graph.import_domains.append(helper.make_opsetid(function.domain, version))

    def spill(self, array: Array) -> StoredValues:
        """Park an array in the model's temporary file, which is freed with the model."""
        return self._store.spill(array)

    def add_constant(self, name: str, array: Array) -> gs.Constant:
        """A constant with parked values, for nodes to read. ``name`` comes from :meth:`fresh_name`."""
        return gs.Constant(name, self.spill(np.asarray(array)))

    def fresh_name(self, hint: str) -> str:
        """A name like ``hint`` that no tensor of the model has, and that is not given away twice."""
        if self._names is None:
            self._names = set(_names(self.graph)) | {c.name for c in self.unused}
        name, count = hint, 0
        while name in self._names or not name:
            count += 1
            name = f"{hint}_{count}"
        self._names.add(name)
        return name

    def to_proto(self) -> ModelProto:
        """The model as it is now, whole, in memory; for models that are small enough.

        Raises RegcError when it does not hold together.
        """
        if not self.opaque:
            return self.export(lambda _: False).proto
        if self.path is not None:
            return onnx.load(self.path, load_external_data=False)
        copy = ModelProto()
        copy.CopyFrom(self.proto)
        return copy

    def export(self, leave_out: Callable[[StoredValues], bool]) -> Draft:
        """The model without the values for which ``leave_out`` is true."""
        extras = Extras(self.metadata, self._functions, self.unused, self.overridable)
        return export(self.graph, self.proto, extras, leave_out)

    def digest(self) -> str:
        """SHA-256 of the input: model file (or serialized proto), then external data in the order of use."""
        head = b"" if self.path is not None else self.proto.SerializeToString(deterministic=True)
        return sha256(*self.files, head=head)


def load(path: str | Path) -> Model:
    """Open a model file.

    Large weights stay where they are. Raises ModelError for a file that is no sound ONNX model.
    """
    path = Path(path)
    proto = read(path)
    origin = integrity.Origin(str(path), path.parent, path.resolve().parent, {path: stamp_of(path)})
    return _opened(proto, origin, path)


def from_proto(proto: ModelProto, folder: str | Path | None = None) -> Model:
    """Use a model in memory, which is not modified and must not be while the Model lives.

    ``folder`` is where its external data is, if it has any. Raises ModelError for a model that is not sound.
    """
    home = None if folder is None else Path(folder)
    return _opened(proto, integrity.Origin(f"model '{proto.graph.name}' in memory", home, home and home.resolve()))


def _opened(proto: ModelProto, origin: integrity.Origin, path: Path | None = None) -> Model:
    integrity.check(proto, origin)
    return Model(inline_weighted_calls(proto), origin, path)


def _overridable(proto: ModelProto) -> frozenset[str]:
    if proto.ir_version <= INPUTS_ARE_INITIALIZERS:
        return frozenset()
    stored_names = {tensor.name for tensor in proto.graph.initializer} | {
        s.values.name for s in proto.graph.sparse_initializer
    }
    return frozenset(info.name for info in proto.graph.input if info.name in stored_names)


def _names(graph: gs.Graph) -> Iterator[str]:
    yield from graph.tensors()
    for subgraph in graph.subgraphs(recursive=True):
        yield from subgraph.tensors()

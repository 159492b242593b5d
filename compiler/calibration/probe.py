"""The model as it came, cut down to what some tensors need, and made to give them out.

Weights that are compressed already can be put in place of the originals: decoded, for the standard operators.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from regc.compiler.calibration.filtering import along_channels, output_of, put_filter, put_offset, straight
from regc.compiler.calibration.taps import Tap
from regc.compiler.filters import Filtered
from regc.compiler.model import Model
from regc.compiler.model.protos import subgraphs, tensors
from regc.compiler.model.scratch import scratch_folder
from regc.compiler.model.storage import Array, StoredValues, stored
from regc.compiler.model.writer import EXTERNAL_FROM, Draft, place_external, write_data
from regc.compiler.sites import Site
from regc.compiler.terms import Float32, Term

PREFIX = "regc.tap."
"""How the names of what a probe gives out begin."""
REPEATS = frozenset({"Loop", "Scan"})
"""Operators that run their body several times: what is given out of it has one more axis in front, for the runs."""
Path_ = tuple[tuple[str, str], ...]
"""The way from the main graph into a body: an output of each node on it, and the attribute that holds the body."""


class Probe:
    """Makes models that give out tensors of ``model``, which must not have been changed yet. ``sites`` are its
    weights.
    """

    def __init__(self, model: Model, sites: Sequence[Site]) -> None:
        weights = {id(stored(holder.constant._values)) for site in sites for holder in site.holders}
        draft = model.export(lambda values: values.nbytes >= EXTERNAL_FROM or id(values) in weights)
        self._model = model
        self._values: list[StoredValues] = []
        positions: dict[int, int] = {}
        for tensor, values in draft.payloads():
            positions[id(values)] = len(self._values)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=str(len(self._values)))
            self._values.append(values)
        self._bare = draft.proto.SerializeToString()
        self._places = {
            id(holder): positions.get(id(stored(holder.constant._values))) for site in sites for holder in site.holders
        }
        self._paths = dict(_bodies(model.graph, ()))
        self._filters: dict[tuple[Path_, str], Filtered] = {}
        self._offsets: dict[tuple[Path_, str], Float32] = {}

    def sees(self, tap: Tap) -> bool:
        """Whether the tensor can be given out: it is not inside a function, or a body of an unknown operator."""
        return id(tap.graph) in self._paths

    def inside(self, tap: Tap) -> bool:
        """Whether the tensor is in the body of an If, a Loop or a Scan."""
        return bool(self._paths[id(tap.graph)])

    def repeats(self, tap: Tap) -> int:
        """How many loops the tensor is inside of."""
        return sum(kind in REPEATS for kind in self._kinds(tap))

    def replace(self, site: Site, matrix: Float32) -> None:
        """From now on, let the weight have this matrix ``[N, K]``."""
        for holder in site.holders:
            place = self._places[id(holder)]
            if place is not None:
                moved: Array = matrix
                for move in holder.layout.inverse():
                    moved = move.apply(moved)
                self._values[place] = self._model.spill(moved.astype(self._values[place].dtype))

    def compress(self, site: Site, term: Term, offset: Float32 | None = None) -> None:
        """From now on, let the weight be what has become of it, with the offset ``[N]`` behind.

        A filter whose place cannot be found keeps the weight as it was: what it holds may be made for filtered inputs.
        Filters within products and sums let everything pass.
        """
        if isinstance(term, Filtered):
            if not all(straight(reader) and id(reader.graph) in self._paths for reader in site.readers):
                return
            for reader in site.readers:
                self._filters[self._paths[id(reader.graph)], output_of(reader)] = term
        self.replace(site, term.dense())
        for reader in site.readers:
            if offset is not None and id(reader.graph) in self._paths:
                self._offsets[self._paths[id(reader.graph)], output_of(reader)] = along_channels(offset, reader)

    @contextmanager
    def written(
        self, taps: Sequence[Tap], asked: Sequence[str] = (), given: Mapping[str, np.dtype[Any]] | None = None
    ) -> Iterator[Path]:
        """A model file whose outputs are the tensors of the taps, float32, in this order.

        After them come the tensors ``asked`` for by name, as they are. Those ``given``, of these types, become inputs,
        and what computes only them is left out.
        """
        proto = ModelProto.FromString(self._bare)
        graph = proto.graph
        for (body, output), term in self._filters.items():
            put_filter(_body(graph, body), output, term)
        for (body, output), offset in self._offsets.items():
            put_offset(_body(graph, body), output, offset)
        names = [_expose(graph, self._paths[id(tap.graph)], tap.name, f"{PREFIX}{i}") for i, tap in enumerate(taps)]
        del graph.output[:]
        graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
        graph.output.extend(ValueInfoProto(name=name) for name in asked)
        kinds = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in (given or {}).items()}
        _prune(graph, kinds.keys())
        graph.input.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
        left_out = [(t, self._values[int(t.external_data[0].value)]) for t, _ in tensors(proto) if t.external_data]
        for tensor, _ in left_out:
            del tensor.external_data[:]
        draft = Draft(proto, {}, left_out)
        with tempfile.TemporaryDirectory(prefix="regc-", dir=scratch_folder()) as folder:
            path = Path(folder) / "probe.onnx"
            layout = place_external(draft, "probe.data")
            with (path.parent / "probe.data").open("wb") as file:
                write_data(file, layout)
            path.write_bytes(proto.SerializeToString())
            yield path

    def _kinds(self, tap: Tap) -> Iterator[str]:
        graph = self._model.graph
        for output, attribute in self._paths[id(tap.graph)]:
            node = next(node for node in graph.nodes if any(t.name == output for t in node.outputs))
            yield node.op
            graph = node.attrs[attribute]


def _bodies(graph: gs.Graph, path: Path_) -> Iterator[tuple[int, Path_]]:
    yield id(graph), path
    for node in graph.nodes:
        if node.op in REPEATS | {"If"} and not node.domain:
            output = next(tensor.name for tensor in node.outputs if tensor.name)
            for attribute, value in node.attrs.items():
                if isinstance(value, gs.Graph):
                    yield from _bodies(value, (*path, (output, attribute)))


def _body(graph: GraphProto, path: Path_) -> GraphProto:
    """The body at ``path``."""
    for output, attribute in path:
        node = next(node for node in graph.node if output in node.output)
        graph = next(body for a in node.attribute if a.name == attribute for body in subgraphs(a))
    return graph


def _expose(graph: GraphProto, path: Path_, name: str, fresh: str) -> str:
    """Let a graph compute the tensor ``name`` of the body at ``path`` under a new name, float32."""
    if not path:
        graph.node.append(helper.make_node("Cast", [name], [fresh], to=TensorProto.FLOAT))
        return fresh
    (output, attribute), *rest = path
    node = next(node for node in graph.node if output in node.output)
    bodies = {a.name: body for a in node.attribute for body in subgraphs(a)}
    inner = _expose(bodies[attribute], tuple(rest), name, f"{fresh}.{len(rest)}")
    for key, body in bodies.items():
        given = inner if key == attribute else _nothing(body, f"{inner}.{key}")
        body.output.append(helper.make_tensor_value_info(given, TensorProto.FLOAT, None))
    carried = len(bodies[attribute].output) - (node.op_type == "Loop")
    node.output.extend(f"{fresh}.unused.{i}" for i in range(len(node.output), carried - 1))
    node.output.append(fresh)
    for attribute_ in node.attribute:
        if attribute_.name in ("scan_output_axes", "scan_output_directions"):
            attribute_.ints.append(0)
    return fresh


def _nothing(body: GraphProto, name: str) -> str:
    """An empty tensor: what an If gives out of the branch that it does not take."""
    empty = numpy_helper.from_array(np.empty(0, np.float32), name)
    body.node.append(helper.make_node("Constant", [], [name], value=empty))
    return name


def _prune(graph: GraphProto, given: Set[str]) -> None:
    """Take out nodes, and values of weights, that no output needs. Nodes are in an order in which they can run.

    Tensors that are given need no node.
    """
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(name for name in node.output if name not in given):
            kept.append(node)
            needed.update(_reads(node))
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    stored_names = {tensor.name for tensor in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    _keep(graph.input, [info for info in graph.input if info.name in needed or info.name not in stored_names])
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _keep(graph.sparse_initializer, [tensor for tensor in graph.sparse_initializer if tensor.values.name in needed])
    _keep(graph.value_info, [info for info in graph.value_info if info.name in needed - given])
    del graph.node[:]
    graph.node.extend(nodes)


def _keep(field: Any, kept: Iterable[Message]) -> None:
    """Let a repeated field have only some of its messages."""
    copies = [type(message).FromString(message.SerializeToString()) for message in kept]
    del field[:]
    field.extend(copies)


def _reads(node: NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for body in subgraphs(attribute):
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from _reads(inner)

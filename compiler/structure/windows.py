"""Positions of convolution kernels as units: what is left of a kernel is a window.

A 3x3 kernel without its outer rows is one of 1x3, without every second position one of 2x2 that is dilated: in both
cases a smaller Conv, with other pads. A window takes positions of each axis, one as far from the next as all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.errors import UsageError
from regc.compiler.lower.window import Window, window
from regc.compiler.model import Model
from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import STANDARD, trace
from regc.compiler.structure.group import Group, Place
from regc.compiler.structure.walk import Dims

KIND = "positions"
_SLICE = 10
"""Opset from which on a Slice takes its bounds as inputs."""


class Taps(Place):
    """The kernel of a Conv, whose units are its positions, in the order in which they lie in it."""


def find_windows(model: Model, graphs: Iterable[gs.Graph], dims: Mapping[str, Dims]) -> list[Group]:
    """The kernels of more than one position. ``dims`` are shapes by name, as far as they are known."""
    found = []
    for node in (node for graph in graphs for node in graph.nodes):
        chain = trace(node.inputs[1]) if node.op == "Conv" and node.domain in STANDARD else None
        kernel = () if chain is None else tuple(int(size) for size in chain.layout.shape[2:])
        taps = int(np.prod(kernel))
        if chain is None or taps < 2:
            continue
        group = Group(f"{node.name or chain.source.name} kernel", KIND, taps, 1, consumers=[Taps(node, 1, 2)])
        group.kernel, group.dims = kernel, dims
        if chain.source.name in model.overridable:
            group.refusal = f"'{chain.source.name}' is listed as an input of the graph, so a caller may replace it"
        elif _attributes(node, kernel, dims) is None:
            group.refusal = f"{describe(node)} pads by what follows from sizes that are not known"
        elif model.opset < _SLICE:
            group.refusal = f"to cut what it reads takes a Slice of opset {_SLICE}, the model has {model.opset}"
        found.append(group)
    return found


def axes_of(keep: npt.NDArray[np.intp], kernel: tuple[int, ...]) -> list[npt.NDArray[np.intp]]:
    """The positions of each axis that a window of these positions takes.

    Raises:
        UsageError: they are no window.
    """
    places = [np.unique(places) for places in np.unravel_index(keep, kernel)]
    even = all(len(set(np.diff(axis).tolist())) < 2 for axis in places)
    if not even or int(np.prod([len(axis) for axis in places])) != len(keep):
        raise UsageError(f"positions {keep.tolist()} of a kernel of {'x'.join(map(str, kernel))} are no window")
    return places


def shrink(model: Model, graph: gs.Graph, node: gs.Node, axes: list[npt.NDArray[np.intp]], group: Group) -> None:
    """Give a Conv, whose kernel was cut already, the attributes of the window that takes ``axes`` of the old one."""
    kernel = group.kernel
    attributes = _attributes(node, kernel, group.dims)
    assert attributes is not None, "such kernels are refused"
    rank, steps = len(kernel), attributes["dilations"]
    lost = [int(axis[0]) * step for axis, step in zip(axes, steps, strict=True)]
    lost += [(size - 1 - int(axis[-1])) * step for size, axis, step in zip(kernel, axes, steps, strict=True)]
    pads = [pad - less for pad, less in zip(attributes["pads"], lost, strict=True)]
    attributes["kernel_shape"] = [len(axis) for axis in axes]
    attributes["dilations"] = [
        step * int(axis[1] - axis[0]) if len(axis) > 1 else 1 for axis, step in zip(axes, steps, strict=True)
    ]
    attributes["pads"] = [max(pad, 0) for pad in pads]
    node.attrs.pop("auto_pad", None)
    node.attrs.update(attributes)
    if min(pads) < 0:
        _crop(model, graph, node, [max(-pad, 0) for pad in pads[:rank]], [max(-pad, 0) for pad in pads[rank:]])


def _attributes(node: gs.Node, kernel: tuple[int, ...], dims: Mapping[str, Dims]) -> Window | None:
    sizes = dims.get(node.inputs[0].name)
    return window(node.attrs, kernel, None if sizes is None else sizes[2:])


def _crop(model: Model, graph: gs.Graph, node: gs.Node, first: list[int], last: list[int]) -> None:
    """What a smaller window does not reach of an input that is not padded."""
    x = node.inputs[0]
    axes = [axis for axis in range(len(first)) if first[axis] or last[axis]]
    bounds = {
        "starts": [first[axis] for axis in axes],
        "ends": [-last[axis] if last[axis] else np.iinfo(np.int64).max for axis in axes],
        "axes": [axis + 2 for axis in axes],
    }
    given = [
        model.add_constant(model.fresh_name(f"{x.name}.{key}"), np.array(b, np.int64)) for key, b in bounds.items()
    ]
    part = gs.Variable(model.fresh_name(f"{x.name}.within"), x.dtype)
    at = next(i for i, other in enumerate(graph.nodes) if other is node)
    graph.nodes.insert(at, gs.Node("Slice", part.name, {}, [x, *given], [part]))
    node.inputs[0] = part

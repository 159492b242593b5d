"""Which tensors of a graph a student is held to: the residual stream, or what flows into weights, and the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.recovery.network import reads, unsupported
from regc.compiler.sites import Site


@dataclass(frozen=True)
class Features:
    """Tensors to compare: ``hidden`` ones, and ``outputs`` of the model.

    ``unreached`` says of weights that none of them depends on why they cannot be trained, by name.
    """

    hidden: tuple[gs.Tensor, ...]
    outputs: tuple[gs.Tensor, ...]
    unreached: dict[str, str]

    @property
    def all(self) -> tuple[gs.Tensor, ...]:
        """Hidden tensors, then outputs."""
        return (*self.hidden, *self.outputs)

    def some(self, wanted: Callable[[gs.Tensor], bool]) -> Features:
        """Without the tensors that are not ``wanted``."""
        return replace(self, hidden=tuple(filter(wanted, self.hidden)), outputs=tuple(filter(wanted, self.outputs)))

    def by_name(self, tensors: Mapping[str, gs.Tensor]) -> Features:
        """The tensors of the same names in another graph."""
        return replace(
            self,
            hidden=tuple(tensors[t.name] for t in self.hidden),
            outputs=tuple(tensors[t.name] for t in self.outputs),
        )


def find_features(graph: gs.Graph, sites: Sequence[Site], broken: dict[int, str]) -> Features:
    """What a student whose ``sites`` are compressed can be held to. ``broken`` has nodes that cannot be run, and why.

    Where layers are joined by additions these sums are taken; with fewer than two, the inputs of all weights. Weights
    that none of these and no output depends on are held to their own products.
    """
    lost = _lost(graph.nodes, broken)
    changed = {id(holder.tensor): site.info.name for site in sites for holder in site.holders}
    behind = _behind(graph.nodes, changed)
    seen = [t for node in graph.nodes for t in node.outputs if id(t) in behind and id(t) not in lost]
    hidden = [tensor for tensor in seen if _is_joint(tensor)]
    if len(hidden) < 2:
        read = {id(t) for site in sites for reader in site.readers for t in reader.node.inputs}
        hidden = [tensor for tensor in seen if id(tensor) in read]
    outputs = [t for t in graph.outputs if id(t) in behind and id(t) not in lost and _is_float(t)]
    named = {id(t) for t in outputs}
    hidden = [tensor for tensor in hidden if id(tensor) not in named]
    reached = _reached(behind, (*hidden, *outputs))
    last = {id(t) for site in sites if site.info.name not in reached for r in site.readers for t in r.node.outputs}
    hidden += [tensor for tensor in seen if id(tensor) in last]
    reached = _reached(behind, (*hidden, *outputs))
    reason = next(iter(lost.values()), "no output that can be compared depends on it")
    unreached = {site.info.name: reason for site in sites if site.info.name not in reached}
    return Features(tuple(hidden), tuple(outputs), unreached)


def _reached(behind: dict[int, set[str]], tensors: Iterable[gs.Tensor]) -> set[str]:
    return {name for tensor in tensors for name in behind[id(tensor)]}


def _is_joint(tensor: gs.Tensor) -> bool:
    """Whether a tensor is read by an addition and by something else."""
    users = list({id(node): node for node in tensor.outputs}.values())
    return len(users) > 1 and any(node.op in ("Add", "Sum") for node in users)


def _is_float(tensor: gs.Tensor) -> bool:
    return tensor.dtype is None or (not isinstance(tensor.dtype, int) and np.issubdtype(tensor.dtype, np.floating))


def _lost(nodes: Iterable[gs.Node], broken: dict[int, str]) -> dict[int, str]:
    """Tensors that depend on a node that cannot be run, and why, by identity."""
    found: dict[int, str] = {}
    for node in nodes:
        name = unsupported(node)
        reason = broken.get(id(node)) or (f"recovery does not know the operator {name}" if name else None)
        reason = reason or next((found[id(t)] for t in reads(node) if id(t) in found), None)
        if reason is not None:
            found.update((id(output), reason) for output in node.outputs)
    return found


def _behind(nodes: Iterable[gs.Node], changed: dict[int, str]) -> dict[int, set[str]]:
    """The changed weights that each tensor depends on, for those that depend on any."""
    found = {tensor: {name} for tensor, name in changed.items()}
    for node in nodes:
        names = set[str]().union(*(found.get(id(tensor), set()) for tensor in reads(node)))
        if names:
            found.update((id(output), names) for output in node.outputs if not output.is_empty())
    return found

"""Recurrent operators: what they read can go, their states stay.

A unit of a state is a row in each gate of W and of R, a column of R and elements of the bias, of the initial states and
of all outputs. It may be left out when it never varies or is there twice. In the voice activity network by which this
was weighed, over a minute of speech, no state of 128 units does: the least standard deviation is 0.028 of a range of 2,
no two units correlate by more than 0.97, and no two rows are equal.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import trace
from regc.compiler.structure.group import Group
from regc.compiler.structure.walk import Lane, RefusedError, Walk

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def recurrent(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Units are read by the columns of W ``[directions, gates * units, inputs]``."""
    if index != 0 or lane.axis != -1:
        raise RefusedError(f"{describe(node)} has them in a state, or along its steps or its batch")
    bias = node.inputs[3] if len(node.inputs) > 3 else None
    if bias is not None and not bias.is_empty() and trace(bias) is None:
        raise RefusedError(f"{describe(node)} has a bias that is computed at run time")
    walk.place(walk.group.consumers, node, 1, 2, lane)


def states(node: gs.Node) -> Group:
    """The units of a state, which stay."""
    units = int(node.attrs.get("hidden_size", 0))
    refusal = f"{describe(node)} has them in a state, and units of a state are not removed"
    return Group(str(node.name or node.outputs[0].name), "states", units, 1, refusal=refusal)

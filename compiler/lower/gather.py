"""Embeddings: the rows that are asked for, instead of the whole weight decoded when the model is loaded."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.emit import Emitter
from regc.compiler.sites import Holder, Reader, Site, gatherable, readers_of
from regc.compiler.terms import Coded, Term
from regc.runtime_ops.ops import OPERATORS

_FLOAT32 = np.dtype(np.float32)


def row_operator(term: Term, opset: int, *, by_rows: bool) -> str | None:
    """The operator that decodes rows of a term; None where there is none, or only for a newer opset.

    ``by_rows`` chooses the one for codes that nothing else reads, with every row in one piece. The other one reads what
    the matrix product does, so that a tied embedding is stored once; it touches 16 rows to get one.
    """
    if not isinstance(term, Coded) or term.gathers is None:
        return None
    operator = term.gathers[0 if by_rows else 1]
    return operator if OPERATORS[operator].since_opset <= opset else None


def only_gathered(site: Site) -> bool:
    """Whether all that reads a weight looks up its rows."""
    gathers = [reader for holder in site.holders for reader in holder.readers if gatherable(holder, reader)]
    nodes = {id(reader.node) for reader in gathers}
    return all(id(node) in nodes for holder in site.holders for node in readers_of(holder.tensor))


def gather(emitter: Emitter, holder: Holder, reader: Reader, term: Term, *, by_rows: bool) -> gs.Tensor | None:
    """Emit the rows of a term that a Gather asks for; None when its node cannot be replaced."""
    operator = row_operator(term, emitter.operands.model.opset, by_rows=by_rows)
    if operator is None or not gatherable(holder, reader):
        return None
    assert isinstance(term, Coded), "only these have such an operator"
    operands = emitter.operands
    constants = operands.rows(term, emitter.name) if by_rows else operands.of(term, emitter.name)
    inputs: dict[str, gs.Tensor] = {"indices": reader.node.inputs[1], **constants}
    rows = emitter.ours(operator, [inputs[key] for key in OPERATORS[operator].inputs])
    return emitter.cast(rows, _FLOAT32, reader.dtype)

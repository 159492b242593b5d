"""Embeddings: the rows that are asked for, instead of the whole weight decoded when the model is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.emit import Emitter
from regc.compiler.sites import Holder, Reader, Site, gatherable, readers_of
from regc.compiler.terms import Coded, Dense, Product, Term
from regc.runtime_ops.ops import OPERATORS
from regc.runtime_ops.typed import GIVEN

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
    if not gatherable(holder, reader):
        return None
    return _rows(emitter, term, reader.node.inputs[1], reader.dtype, by_rows=by_rows)


def _rows(emitter: Emitter, term: Term, indices: gs.Tensor, dtype: np.dtype[Any], *, by_rows: bool) -> gs.Tensor | None:
    """The rows of a term at some indices; None where nothing but the whole matrix gives them.

    Those of a product are rows of its first factor times the second. Where the first is also multiplied by it must be
    coded: as values it would be stored a second time.
    """
    if isinstance(term, Product):
        rows = _rows(emitter, term.first, indices, _FLOAT32, by_rows=by_rows)
        if rows is None:
            return None
        return emitter.cast(emitter.op("MatMul", [rows, emitter.decode(term.second)]), _FLOAT32, dtype)
    if isinstance(term, Dense) and by_rows:
        table = emitter.operands.dense(term, "factor", emitter.name, term.values.astype(term.dtype))
        return emitter.cast(emitter.op("Gather", [table, indices], axis=0), term.dtype, dtype)
    operator = row_operator(term, emitter.operands.model.opset, by_rows=by_rows)
    if operator is None:
        return None
    assert isinstance(term, Coded), "only these have such an operator"
    operands = emitter.operands
    read = emitter.widened(operands.rows(term, emitter.name)) if by_rows else emitter.operands_of(term)
    inputs = {"indices": indices, **read}
    ordered = [inputs[key] for key in OPERATORS[operator].inputs]
    if dtype.name in GIVEN and operands.takes(dtype):
        return emitter.ours(operator + GIVEN[dtype.name].suffix, ordered)
    return emitter.cast(emitter.ours(operator, ordered), _FLOAT32, dtype)

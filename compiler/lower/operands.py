"""The constants that emitted terms read, and the operators that they need."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.filters import Filtered
from regc.compiler.model import Model, load_values
from regc.compiler.target import Target
from regc.compiler.terms import Coded, Dense, NBits, Operated, Product, Term

HALVES_FROM = 128
"""Scales that are worth a node: it and its names take some 130 bytes."""
_SAMPLE = 1 << 12
"""Bytes by which constants are told apart before all of their bytes are."""


class Operands:
    """The constants of emitted terms, each stored once however many nodes read it, and the operators used."""

    def __init__(self, model: Model, target: Target) -> None:
        self.model = model
        self.target = target
        self.operators: set[str] = set()
        self._by_leaf: dict[tuple[int, str], gs.Constant] = {}
        self._alike: dict[Hashable, list[gs.Constant]] = {}
        self._leaves: list[Term] = []
        self._by_taps: dict[tuple[int, int], Coded] = {}

    def by_taps(self, leaf: Coded, taps: int) -> Coded:
        """The leaf of a kernel of so many taps, in the order in which our convolutions take it."""
        if (id(leaf), taps) not in self._by_taps:
            self._leaves.append(leaf)
            self._by_taps[id(leaf), taps] = leaf.by_taps(taps)
        return self._by_taps[id(leaf), taps]

    def of(self, leaf: Operated, name: str) -> dict[str, gs.Constant]:
        """The packed operands of a term as constants, by input name; ``name`` is the weight's.

        Scales may be float16, which :meth:`regc.compiler.lower.emit.Emitter.operands_of` widens.
        """
        self._leaves.append(leaf)
        return {key: self._once(leaf, key, name, _stored(key, values)) for key, values in leaf.operands().items()}

    def takes(self, dtype: np.dtype[Any]) -> bool:
        """Whether our products take and give activations of a type."""
        return self.target.takes(dtype, self.model.opset)

    def ends_in_ours(self, term: Term) -> bool:
        """Whether an operator of ours gives the product with a term, so that an epilogue can be its own."""
        match term:
            case Product():
                return self.ends_in_ours(term.first)
            case Filtered():
                return self.ends_in_ours(term.operand or term.inner)
            case Operated():
                return self.target.operator(term, self.model.opset) is not None
        return False

    def nbits(self, term: Operated, form: NBits, name: str) -> tuple[gs.Constant, gs.Constant]:
        """Codes and scales of a term in the form of MatMulNBits; ``name`` is the weight's."""
        self._leaves.append(term)
        keys = (f"{form.bits}bit", f"{form.bits}bit.scale")
        known = [self._by_leaf.get((id(term), key)) for key in keys]
        if known[0] is not None and known[1] is not None:
            return known[0], known[1]
        codes, scales = form.pack()
        return self._once(term, keys[0], name, codes), self._once(term, keys[1], name, scales)

    def rows(self, leaf: Coded, name: str) -> dict[str, gs.Constant]:
        """As :meth:`of`, those of a coded leaf with every row in one piece."""
        self._leaves.append(leaf)
        return {
            key: self._once(leaf, key if key == "shape" else f"rows.{key}", name, _stored(key, values))
            for key, values in leaf.rows().items()
        }

    def dense(self, leaf: Dense, key: str, name: str, values: npt.NDArray[Any]) -> gs.Constant:
        """A moved copy ``key`` of the values of a dense leaf."""
        self._leaves.append(leaf)
        return self._once(leaf, key, name, values)

    def shared(self, values: npt.NDArray[Any], hint: str) -> gs.Constant:
        """The constant of these values, of any dtype and shape, stored once; ``hint`` names it if it is the first.

        Several weights may have a part in common, as they do a shape, a bias or a factor.
        """
        raw = _bytes_of(values)
        alike = self._alike.setdefault((values.dtype, values.shape, _sample(raw)), [])
        for constant in alike:
            if np.array_equal(_bytes_of(load_values(constant)), raw):
                return constant
        alike.append(self.model.add_constant(self.model.fresh_name(hint), values))
        return alike[-1]

    def end_of_weight(self) -> None:
        """Let go of the leaves of a weight that is written: held on, the codes of all weights would be in memory."""
        self._by_leaf.clear()
        self._by_taps.clear()
        self._leaves.clear()

    def _once(self, leaf: Term, key: str, name: str, values: npt.NDArray[Any]) -> gs.Constant:
        if key == "shape":
            return self.shared(values, "regc.shape")
        found = self._by_leaf.get((id(leaf), key))
        if found is None:
            found = self._by_leaf[id(leaf), key] = self.shared(values, f"{name}.{key}")
        return found


def _bytes_of(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _sample(raw: npt.NDArray[np.uint8]) -> bytes:
    """What tells most arrays apart, all of a small one. A digest of all of a large one takes as long as writing it."""
    return raw[:: 1 + len(raw) // _SAMPLE].tobytes()


def _stored(key: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Scales as float16 where that holds each of them exactly, and saves more than the node takes that widens them."""
    if key != "scale" or values.dtype != np.float32 or values.size < HALVES_FROM:
        return values
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return halves if (halves == values).all() else values

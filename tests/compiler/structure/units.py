"""Removing units that nothing reads, which must change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from regc.compiler.model import from_proto
from regc.compiler.structure import Group, find_groups, remove
from tests.support import run


def _dead(group: Group, units: list[int]) -> dict[Any, Any]:
    """The weights that read units, with nothing read from some of them."""
    new = {}
    for place in group.consumers:
        values = place.values().copy()
        np.moveaxis(values, place.axis, 0)[place.elements(np.array(units), group.units)] = 0
        new[place] = values
    return new


def check(proto: onnx.ModelProto, name: str, gone: list[int], x: Any, kind: str = "neurons") -> onnx.ModelProto:
    """Removing units that nothing reads changes no output; the smaller model. ``x`` is an input, or all of them."""
    feeds = x if isinstance(x, dict) else {"x": x}

    def group_of(opened: Any) -> Group:
        return next(g for g in find_groups(opened) if g.name == name)

    whole = from_proto(proto)
    group = group_of(whole)
    assert (group.refusal, group.kind) == (None, kind)
    remove(whole, group, np.arange(group.units), _dead(group, gone))
    expected = run(whole.to_proto(), feeds)[0]

    smaller = from_proto(proto)
    group = group_of(smaller)
    remove(smaller, group, np.setdiff1d(np.arange(group.units), gone), _dead(group, gone))
    result = smaller.to_proto()
    onnx.checker.check_model(result, full_check=True)
    np.testing.assert_allclose(run(result, feeds)[0], expected, rtol=1e-5, atol=1e-5)
    return result


def refusals(proto: onnx.ModelProto) -> dict[str, str | None]:
    return {group.name: group.refusal for group in find_groups(from_proto(proto))}

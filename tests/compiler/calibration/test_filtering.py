from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pytest

from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.filters import Filtered, Writer
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Float32
from support import model, normal

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Halved(Filtered):
    """Inputs of half the size."""

    def enter(self, rows: Float32) -> Float32:
        return rows / np.float32(2)

    def write(self, writer: Writer[T], x: T) -> T:
        return writer.op("Mul", [x, writer.constant(np.float32([0.5]), "half")])

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes

    @property
    def label(self) -> str:
        return "halved"


IN_LINE = "g (float[n,8] x) => (float[n,4] y) { h = MatMul(x, first) y = MatMul(h, second) }"
AS_GEMM = "g (float[n,8] x) => (float[n,4] y) { h = Gemm<transB = 1>(x, first, bias) y = MatMul(h, second) }"
SCALED = "g (float[n,8] x) => (float[n,4] y) { h = Gemm<transB = 1, alpha = 3.0>(x, first) y = MatMul(h, second) }"
INSIDE = """g (float[n,8] x, bool c) => (float[n,4] y) {
    y = If (c) <
        then_branch = t () => (float[n,4] a) { h = MatMul(x, first) a = MatMul(h, second) },
        else_branch = e () => (float[n,4] a) { a = MatMul(x, third) }
    >
}"""


@pytest.mark.parametrize("text", [IN_LINE, AS_GEMM, SCALED, INSIDE])
def test_weights_behind_a_filter_see_what_it_leaves(text: str) -> None:
    first = normal(6, 8)
    turned = first if "Gemm" in text else np.ascontiguousarray(first.T)
    weights = {"first": turned, "second": normal(6, 4, seed=1)}
    weights |= {"bias": normal(1, 6)[0]} if "bias" in text else {}
    weights |= {"third": normal(8, 4, seed=2)} if "third" in text else {}
    x = normal(40, 8, seed=3)
    feeds = [{"x": x, "c": np.array(True)} if "third" in text else {"x": x}]
    opened = from_proto(model(text, **weights))
    sites = {site.info.name: site for site in find_sites(opened)}
    wanted = [(site, frozenset({"quantiles", "gram"})) for site in sites.values()]
    gathering = Gathering(opened, wanted, open_feeds(feeds, None, 0), Options(sequential=True))  # type: ignore[arg-type]
    offset = normal(1, 6, seed=4)[0]
    term = Halved(Dense(first * np.float32(3)), offset)
    assert isinstance(gathering.of(sites["first"]), Statistics)
    gathering.put(sites["first"], term)
    found = gathering.of(sites["second"])
    assert isinstance(found, Statistics)
    assert found.sample is not None
    assert found.rows == 40
    expected = 3 * x @ first.T if text == SCALED else term.multiply(x) + weights.get("bias", np.float32(0))
    order = np.argsort(expected[:, 0])
    np.testing.assert_allclose(found.sample[np.argsort(found.sample[:, 0])], expected[order], rtol=1e-4, atol=1e-5)

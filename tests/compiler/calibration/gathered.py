"""Statistics gathered from small models, and what they should be."""

from typing import Any

import numpy as np
import onnx

from regc.compiler.calibration.gather import Gathering, Options
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Need, Statistics
from support import model, normal

GRAM: frozenset[Need] = frozenset({"gram"})


def gathering(
    proto: onnx.ModelProto, *feeds: dict[str, Any], needs: frozenset[Need] = GRAM, **options: Any
) -> Gathering:
    opened = from_proto(proto)
    wanted = [(site, GRAM) for site in find_sites(opened)]
    return Gathering(opened, wanted, open_feeds(list(feeds)), Options(**options))


def found(gathered: Gathering) -> dict[str, Statistics | str]:
    return {site.info.name: gathered.of(site) for site, _ in gathered.wanted}


def assert_rows(statistics: Statistics | str | None, rows: np.ndarray) -> None:
    assert isinstance(statistics, Statistics), statistics
    expected = Statistics.of(rows)
    assert statistics.count == expected.count
    np.testing.assert_allclose(statistics.mean, expected.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics.peak, expected.peak, rtol=1e-4)
    if statistics.gram is not None:
        np.testing.assert_allclose(statistics.gram, expected.gram, rtol=1e-3, atol=1e-4)


CHAIN = """g (float[b,s,8] x) => (float[b,s,5] y) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    a = Add(q, k)
    r = Relu(a)
    y = MatMul(r, wo)
}"""


def chain(inner: int = 6) -> onnx.ModelProto:
    return model(CHAIN, wq=normal(8, inner), wk=normal(8, inner, seed=1), wo=normal(inner, 5, seed=2))


def hidden(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ normal(8, 6) + x @ normal(8, 6, seed=1), 0)

import inspect
import sys

from regc.compiler.model import from_proto
from regc.compiler.sites import find_sites
from support import model, normal


def test_chains_longer_than_python_can_recurse() -> None:
    chain = " ".join(f"t{i + 1} = Identity(t{i})" for i in range(400))
    proto = model(
        f"g (float[n,40] x) => (float y) {{ t0 = Identity(w) {chain} y = MatMul(x, t400) }}", w=normal(40, 24)
    )
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        (site,) = find_sites(from_proto(proto))
        assert site.info.multiplied
    finally:
        sys.setrecursionlimit(usual)

import numpy as np
import pytest

from regc.compiler.errors import UsageError
from regc.compiler.passes import SiteInfo
from regc.compiler.select import Selection


def site(name: str, op: str = "MatMul", shape: tuple[int, int] = (100, 50), user: str = "") -> SiteInfo:
    return SiteInfo(name, (op,), (user or f"{name}/node",), shape, np.dtype(np.float32), True, True)


SITES = [
    site("encoder.0.mlp.weight"),
    site("encoder.0.attn.weight"),
    site("head", "Gemm", (10, 10)),
    site("conv1", "Conv"),
]


def chosen(*include: str, exclude: tuple[str, ...] = ()) -> list[str]:
    selection = Selection(include, exclude)
    selection.check(SITES)
    return [info.name for info in SITES if selection.refuses(info) is None]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("*.mlp.*", ["encoder.0.mlp.weight"]),
        ("op:Gemm", ["head"]),
        ("op:Conv", ["conv1"]),
        ("size:>=1K", ["encoder.0.mlp.weight", "encoder.0.attn.weight", "conv1"]),
        ("size:<0.2k", ["head"]),
        ("head/node", ["head"]),
    ],
)
def test_include(selector: str, names: list[str]) -> None:
    assert chosen(selector) == names


def test_exclude_wins() -> None:
    assert chosen("encoder.*", exclude=("*attn*",)) == ["encoder.0.mlp.weight"]
    assert Selection(exclude=("*attn*",)).refuses(SITES[1]) == 'excluded by "*attn*"'


@pytest.mark.parametrize(
    ("selector", "hint"),
    [("op:Gem", "op:Gemm"), ("encoder.0.mpl.weight", "encoder.0.mlp.weight"), ("heat", "head")],
)
def test_no_match_is_an_error_that_names_the_nearest(selector: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f'matches no weight; did you mean "{hint}"'):
        chosen(selector)


def test_operators_of_another_model_are_answered_with_those_of_this() -> None:
    with pytest.raises(UsageError, match="matches no weight; those of this model are op:Conv, op:Gemm, op:MatMul"):
        chosen("op:Attention")


def test_a_size_without_comparison_is_an_error() -> None:
    with pytest.raises(UsageError, match="size:>=1M"):
        chosen("size:big")

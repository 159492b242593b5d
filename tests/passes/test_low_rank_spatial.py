"""Convolutions by the better of two splits: k x k and 1 x 1, or k x 1 and 1 x k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.compiler.statistics import Statistics
from regc.compiler.terms import Dense, Product, Separable, Term, relative_error
from regc.passes import LowRank, Ternary
from regc.passes.low_rank.fit import DAMPING, damped, exact_rank, spectrum
from regc.passes.low_rank.spatial import Spatial
from support import model, normal, op_types, run

Float32 = npt.NDArray[np.float32]
MakeSite = Callable[..., SiteInfo]


def separable(outputs: int, channels: int, rank: int, height: int, width: int) -> Float32:
    """A kernel ``[N, C, kh, kw]`` that is a kernel of the rows to ``rank`` channels, then one of the columns."""
    first, second = normal(outputs, rank, width), normal(rank, channels, height, seed=1)
    return np.einsum("nrw,rch->nchw", first, second).astype(np.float32)


def through_channels(outputs: int, channels: int, rank: int) -> Float32:
    """A kernel of size 3 to ``rank`` channels, then a pointwise one."""
    values = normal(outputs, rank) @ normal(rank, channels * 9, seed=1)
    return values.reshape(outputs, channels, 3, 3)


def fitted(pass_: LowRank, kernel: Float32, site: MakeSite, inputs: Statistics | None = None, stride: int = 1) -> Term:
    weight = kernel.reshape(len(kernel), -1)
    place = replace(site(weight.shape, kernel=kernel.shape[2:]), strides=(1, stride))
    term = pass_.fit(Dense(weight), place, inputs)
    assert not isinstance(term, Refusal)
    return term


def patches(channels: int, width: int, count: int = 2000) -> Float32:
    """Rows of inputs whose neighbours are alike, of channels of different size."""
    smooth = normal(count, channels, 3, width + 4, seed=5)
    smooth = np.stack([smooth[..., at : at + 5].mean(-1) for at in range(width)], -1)
    return (smooth * np.logspace(0, -1, channels)[:, None, None]).reshape(count, -1).astype(np.float32)


# --- factors ------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 5), st.integers(2, 5), st.data())
@settings(max_examples=30, deadline=None)
def test_factors_leave_the_tail_of_the_singular_values(
    outputs: int, channels: int, height: int, width: int, data: st.DataObject
) -> None:
    kernel = normal(outputs, channels, height, width)
    turned = kernel.transpose(0, 3, 1, 2).reshape(outputs * width, channels * height).astype(np.float64)
    rank = data.draw(st.integers(1, min(turned.shape)))
    weight = kernel.reshape(outputs, -1)
    term = Separable(*map(Dense, Spatial(weight.shape, (height, width)).factors(weight, rank)), (height, width))
    assert (term.shape, term.rank) == (weight.shape, rank)
    tail = np.linalg.svd(turned, compute_uv=False)[rank:]
    assert np.linalg.norm(term.dense() - weight) == pytest.approx(np.linalg.norm(tail), rel=1e-4, abs=1e-4)


def test_with_a_gram_matrix_the_outputs_have_less_error() -> None:
    weight, rows = normal(24, 16 * 9), patches(16, 3)
    gram = rows.T @ rows / np.float32(len(rows))
    split = Spatial(weight.shape, (3, 3))
    plain, weighted = (
        Separable(*map(Dense, split.factors(weight, 12, given)), (3, 3)).dense() for given in (None, gram)
    )
    lost, before = (np.linalg.norm(rows @ (found - weight).T) for found in (weighted, plain))
    assert lost < 0.8 * before
    first, second = split.factors(weight, 12, gram)
    for scale in (0.99, 1.01):
        other = Separable(Dense(first * np.float32(scale)), Dense(second), (3, 3)).dense()
        assert np.linalg.norm(rows @ (other - weight).T) > lost


def test_inputs_that_never_come_are_no_obstacle() -> None:
    for gram in (np.zeros((18, 18), np.float32), np.diag(np.arange(18) < 3).astype(np.float32)):
        for factor in Spatial((8, 18), (3, 3)).factors(normal(8, 18), 3, gram):
            assert np.isfinite(factor).all()
    for factor in Spatial((8, 18), (3, 3)).factors(np.zeros((8, 18), np.float32), 3, np.eye(18, dtype=np.float32)):
        assert not factor.any()


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_of_all_ranks_are_those_of_the_factors(weighted: bool) -> None:
    weight, rows = normal(24, 16 * 9) * np.geomspace(1, 9, 24)[:, None].astype(np.float32), patches(16, 3)
    gram = (rows.T @ rows / np.float32(len(rows))).astype(np.float32) if weighted else None
    split = Spatial(weight.shape, (3, 3))
    metric = np.eye(16 * 9) if gram is None else damped(gram)
    energy = np.einsum("nk,nk->n", weight @ metric, weight)
    found = split.left_out(weight, gram)
    assert len(found) == split.most + 1
    assert found[0] == pytest.approx((energy / (energy + DAMPING * energy.mean())).sum())
    for rank in (1, 7, 16, split.most):
        term = Separable(*map(Dense, split.factors(weight, rank, gram)), (3, 3))
        lost = np.einsum("nk,nk->n", (term.dense() - weight) @ metric, term.dense() - weight)
        assert found[rank] == pytest.approx((lost / (energy + DAMPING * energy.mean())).sum(), rel=1e-4)


def test_errors_of_weights_and_inputs_that_are_not_there() -> None:
    split = Spatial((8, 18), (3, 3))
    assert not split.left_out(np.zeros((8, 18), np.float32), np.eye(18, dtype=np.float32)).any()
    assert np.isfinite(split.left_out(normal(8, 18), np.zeros((18, 18), np.float32))).all()
    assert np.isfinite(split.left_out(normal(8, 18), np.diag(np.arange(18) < 3).astype(np.float32))).all()


@pytest.mark.parametrize(("stride", "rank"), [(1, 16), (2, 11), (3, 8)])
def test_both_splits_take_the_same_work(stride: int, rank: int) -> None:
    split = Spatial((32, 32 * 9), (3, 3), stride)
    places = 4 * 5
    other = 10 * 32 * 9 * places + 10 * 32 * places
    assert split.rank(10) == rank
    for count, fits in ((rank, True), (rank + 1, False)):
        assert (count * 32 * 3 * places * stride + count * 3 * 32 * places <= other) == fits
    assert split.other(rank) == 10


# --- the choice ---------------------------------------------------------------------------------------------


def test_the_split_of_less_error_is_taken(site: MakeSite) -> None:
    noise = np.float32(0.05) * normal(32, 32, 3, 3, seed=9)
    columns, channels = separable(32, 32, 12, 3, 3) + noise, through_channels(32, 32, 8) + noise
    assert isinstance(fitted(LowRank(rank=8), columns, site), Separable)
    assert isinstance(fitted(LowRank(rank=8), channels, site), Product)
    asked = fitted(LowRank(rank=8, split="channels"), columns, site)
    assert isinstance(asked, Product)
    other = fitted(LowRank(rank=13, split="spatial"), channels, site)
    assert isinstance(other, Separable)
    assert other.label == "rank 13 by 3x1 and 1x3 (float32 x float32)"
    assert other.work == other.rank * 6 * 32 <= asked.work
    weight = channels.reshape(32, -1)
    assert relative_error(fitted(LowRank(rank=8), channels, site), weight) < relative_error(other, weight)


def test_with_calibration_it_is_the_error_of_the_outputs(site: MakeSite) -> None:
    """Half of the channels, which are silent, ask for one split, the others for the other."""
    kernel = np.concatenate([through_channels(32, 16, 6), 3 * separable(32, 16, 8, 3, 3)], axis=1)
    rows = normal(3000, 32, 9) * np.where(np.arange(32) < 16, 1, 1e-3).astype(np.float32)[:, None]
    inputs, weight = Statistics.of(rows.reshape(3000, -1)), kernel.reshape(32, -1)
    splits = {split: fitted(LowRank(rank=6, split=split), kernel, site, inputs) for split in ("channels", "spatial")}
    errors = {split: inputs.output_error(term, weight) for split, term in splits.items()}
    assert (errors["channels"] or 1) < (errors["spatial"] or 0)
    assert isinstance(fitted(LowRank(rank=6), kernel, site, inputs), Product)
    assert isinstance(fitted(LowRank(rank=6), kernel, site), Separable)


def test_preview_names_both(site: MakeSite) -> None:
    place = site((32, 288), kernel=(3, 3))
    words = "rank 8, or 13 by 3x1 and 1x3 (float32 x float32)"
    assert LowRank(rank=8).preview((32, 288), place) == Preview(words, None)
    assert LowRank(rank=8, split="channels").preview((32, 288), place) == Preview(
        "rank 8 (float32 x float32)", 8 * 320 * 4
    )
    assert LowRank(rank=8, split="spatial").preview((32, 288), place) == Preview(
        words[11:].replace("13", "rank 8"), None
    )


def test_found_ranks_of_both_splits_are_such_as_kernels_like(site: MakeSite) -> None:
    place = replace(site((64, 576), kernel=(3, 3)), strides=(1, 1))
    found = LowRank(rank="pela", ratio=1.5).preview((64, 576), place)  # 38.4 and 64
    assert found == Preview("rank 40, or 64 by 3x1 and 1x3 (float32 x float32)", None)


@pytest.mark.parametrize("kernel", [(1, 1), (9,), (1, 9), (9, 1), (1, 3, 3)])
def test_other_kernels_have_one_split(site: MakeSite, kernel: tuple[int, ...]) -> None:
    assert isinstance(fitted(LowRank(rank=8), normal(32, 288 // int(np.prod(kernel)), *kernel), site), Product)


@pytest.mark.parametrize("options", [{"rank": "pela"}, {"ratio": 20.0, "rank": "pela"}, {"energy": 0.5}, {"rank": 13}])
def test_a_separable_kernel_is_kept_whatever_is_asked_for(site: MakeSite, options: dict[str, object]) -> None:
    kernel = separable(32, 32, 10, 3, 3)
    weight = kernel.reshape(32, -1)
    assert exact_rank(weight, spectrum(weight)) is None
    term = fitted(LowRank(**options), kernel, site)  # type: ignore[arg-type]
    assert term.label == "rank 10 by 3x1 and 1x3, exact (float32 x float32)"
    assert relative_error(term, weight) < 1e-6
    assert "exact" not in term.map_leaves(lambda leaf, path: Dense(leaf.dense().copy())).label


def test_the_split_of_less_work_is_taken_where_both_are_exact(site: MakeSite) -> None:
    channels = np.einsum("nr,rc,rh,rw->nchw", normal(32, 4), *(normal(4, size, seed=size) for size in (32, 3, 3)))
    term = fitted(LowRank(rank="pela"), channels.astype(np.float32), site)
    assert term.label == "rank 4 by 3x1 and 1x3, exact (float32 x float32)"
    term = fitted(LowRank(rank="pela"), through_channels(32, 32, 4), site)
    assert term.label == "rank 4, exact (float32 x float32)"


# --- in models ----------------------------------------------------------------------------------------------

WINDOWS = {
    "plain": "",
    "kernel's size": "<kernel_shape=[3,5]>",
    "pads": "<pads=[1,0,2,3]>",
    "strides": "<strides=[2,3], pads=[1,2,1,2]>",
    "dilations": "<dilations=[2,1], strides=[1,2]>",
    "all": "<dilations=[1,2], strides=[3,1], pads=[0,1,3,2], group=1>",
    "valid": '<auto_pad="VALID", strides=[2,1]>',
    "same, upper": '<auto_pad="SAME_UPPER", strides=[2,2]>',
    "same, lower": '<auto_pad="SAME_LOWER", strides=[3,2]>',
}


def conv(attributes: str, kernel: Float32, *, sizes: str = "13,17") -> onnx.ModelProto:
    text = f"g (float[2,{kernel.shape[1]},{sizes}] x) => (float[2,{len(kernel)},h,w] y)"
    return model(f"{text} {{ c = Conv{attributes}(x, w, b) y = Relu(c) }}", w=kernel, b=normal(len(kernel), seed=3))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("sizes", ["13,17", "height,width"])
def test_models_compute_what_they_did(window: str, sizes: str) -> None:
    proto = conv(WINDOWS[window], separable(32, 24, 6, 3, 5), sizes=sizes)
    result = compile_model(proto, "low-rank")
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    assert op_types(small) == ["Conv", "Conv", "Relu"]
    assert result.records[0].after == "rank 6 by 3x1 and 1x5, exact (float32 x float32)"
    x = normal(2, 24, 13, 17, seed=4)
    (found,), (expected,) = run(small, {"x": x}), run(proto, {"x": x})
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_what_is_chosen_is_what_runs() -> None:
    kernel = separable(32, 24, 10, 3, 3) + np.float32(0.1) * normal(32, 24, 3, 3, seed=8)
    proto, x = conv("<pads=[1,1,1,1], strides=[1,2]>", kernel), normal(2, 24, 13, 17, seed=4)
    result = compile_model(proto, "low-rank{rank=10}", calibration=[{"x": normal(2, 24, 13, 17, seed=6)}])
    (record,) = result.records
    assert record.after == "rank 10 by 3x1 and 1x3 (float32 x float32)"
    small = result.model.to_proto()
    (second, first) = (t for t in small.graph.initializer if len(t.dims) == 4)
    assert sorted([list(first.dims), list(second.dims)]) == [[10, 24, 3, 1], [32, 10, 1, 3]]
    (found,), (expected,) = run(small, {"x": x}), run(proto, {"x": x})
    assert 0.01 < np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.3


def test_factors_may_be_coded() -> None:
    proto, x = conv("<pads=[1,1,1,1]>", separable(64, 64, 16, 3, 3)), normal(2, 64, 13, 17, seed=4)
    result = compile_model(proto, [LowRank(), Ternary(act="float32")])
    small = result.model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    term = result.records[0].after
    assert term is not None and term.startswith("rank 16 by 3x1 and 1x3 (ternary")
    for library in (False, True):
        (found,), (expected,) = run(small, {"x": x}, library=library), run(proto, {"x": x})
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1


def test_decoded_for_a_convolution_of_another_kernel() -> None:
    kernel = separable(32, 24, 6, 3, 5)
    text = "g (float[1,24,7,8] x, float[1,360,2,2] z) => (float[1,32,h,w] y, float[1,32,2,2] v)"
    proto = model(
        f"{text} {{ y = Conv(x, w) r = Reshape(w, s) v = Conv(z, r) }}", w=kernel, s=np.array([32, 360, 1, 1])
    )
    result = compile_model(proto, "low-rank")
    assert result.records[0].after == "rank 6 by 3x1 and 1x5, exact (float32 x float32)"
    small, feeds = result.model.to_proto(), {"x": normal(1, 24, 7, 8, seed=4), "z": normal(1, 360, 2, 2, seed=5)}
    onnx.checker.check_model(small, full_check=True)
    assert op_types(small).count("Conv") == 3
    for found, expected in zip(run(small, feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())

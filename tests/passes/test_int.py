from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regc.compiler import compile_model
from regc.compiler.errors import UsageError
from regc.compiler.passes import Refusal, SiteInfo
from regc.compiler.terms import Dense
from regc.passes import RF8, Int
from regc.passes.integer import fit
from regc.passes.integer.term import IntTerm
from support import Array, model, normal, op_types, run

Site = Callable[..., SiteInfo]


def fitted(weight: Array, site: Site, **options: int) -> IntTerm:
    return Int(**options).fit(Dense(weight), site(weight.shape))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 90), bits=st.sampled_from([4, 8]), block=st.sampled_from([16, 32])
)
def test_every_value_is_within_half_a_step(rows: int, columns: int, bits: int, block: int) -> None:
    """But the extreme of the other sign, for which there is one level less."""
    weight = normal(rows, columns, seed=columns)
    levels, scale = fit.encode(weight, bits, block)
    half = 1 << (bits - 1)
    assert levels.min() >= -half
    assert levels.max() < half
    spread = np.repeat(scale, block, axis=1)[:, :columns]
    inner = levels < half - 1
    assert (np.abs(levels * spread - weight) <= 0.5001 * np.abs(spread))[inner & (levels > -half)].all()


def test_no_scale_near_it_does_better() -> None:
    weight = normal(20, 64)
    levels, scale = fit.encode(weight, 4, 32)
    error = np.square(levels * np.repeat(scale, 32, axis=1) - weight).sum()
    for factor in (0.97, 1.03):
        assert np.square(levels * np.repeat(scale * factor, 32, axis=1) - weight).sum() > error


def test_zeros_and_single_values() -> None:
    weight = np.zeros((2, 40), np.float32)
    weight[1, 3] = -0.75
    levels, scale = fit.encode(weight, 8, 32)
    np.testing.assert_array_equal(levels * np.repeat(scale, 32, axis=1)[:, :40], weight)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.1), (8, 0.008)])
@pytest.mark.parametrize("columns", [256, 70])
def test_the_term_and_its_decoder_agree(
    bits: int, most: float, columns: int, site: Site, decode: Callable[[IntTerm], Array]
) -> None:
    weight = normal(37, columns)
    term = fitted(weight, site, bits=bits)
    assert term.nbytes == term.codes.nbytes + term.scale.nbytes
    assert np.linalg.norm(term.dense() - weight) < most * np.linalg.norm(weight)
    np.testing.assert_array_equal(decode(term), term.dense())


def test_preview_foretells(site: Site) -> None:
    term = fitted(normal(64, 200), site, bits=4, block=64)
    preview = Int(bits=4, block=64).preview((64, 200), site((64, 200)))
    assert not isinstance(preview, Refusal)
    assert (preview.label, preview.nbytes) == (term.label, term.nbytes) == ("int4/64", 64 * 4 * 36)
    assert isinstance(Int().preview((4, 4), site((4, 4))), Refusal)


@pytest.mark.parametrize(("bits", "block"), [(2, None), (8, 48), (4, 512)])
def test_options_out_of_range(bits: int, block: int | None) -> None:
    with pytest.raises(UsageError, match=r"int: (bits|block) must be"):
        Int(bits=bits, block=block)


@pytest.mark.parametrize("target", ["cpu", "stock"])
@pytest.mark.parametrize(("bits", "block"), [(8, None), (4, None), (4, 128)])
def test_products(bits: int, block: int | None, target: str) -> None:
    proto = model("g (float[n,200] x) => (float[n,384] y) { y = Gemm(x, w, b) }", w=normal(200, 384), b=normal(384))
    result = compile_model(proto, [Int(bits=bits, block=block)], target=target)
    compiled = result.model.to_proto()
    onnx.checker.check_model(compiled, full_check=True)
    assert op_types(compiled) == ["com.microsoft::MatMulNBits", "Add"]
    x = normal(5, 200, seed=7)
    expected = run(proto, {"x": x})[0]
    most = (0.15 if bits == 4 else 0.03) * np.abs(expected).max()
    np.testing.assert_allclose(run(compiled, {"x": x})[0], expected, atol=most)


def test_other_readers_decode_and_lookups_are_left_to_others() -> None:
    text = """g (int64[n] i, float[1,8,9,9] x) => (float[n,64] y, float[1,64,7,7] z) {
        y = Gather(table, i) z = Conv(x, k)
    }"""
    proto = model(text, table=normal(100, 64), k=normal(64, 8, 3, 3))
    result = compile_model(proto, [Int(), RF8()])
    emitted = {record.info.name: (record.after, record.emitted) for record in result.records}
    assert emitted["table"] == ("rf8", "ai.regc::RF8Gather")
    assert emitted["k"] == ("int8/128", "decoded in front of Conv")
    feeds = {"i": np.array([1, 2]), "x": normal(1, 8, 9, 9)}
    for got, expected in zip(run(result.model.to_proto(), feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(got, expected, atol=0.1 * np.abs(expected).max())

"""Packing and unpacking in NumPy."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regc.runtime_ops.formats import block_sparse, gated, rf8, ternary, ternary5

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@pytest.mark.parametrize("layout", [ternary, ternary5])
@settings(max_examples=50, deadline=None)
@given(trits=hnp.arrays(np.int8, SHAPES, elements=st.integers(-1, 1)))
def test_trits_round_trip(layout: ModuleType, trits: np.ndarray) -> None:
    packed = layout.pack_trits(trits)
    tiles, blocks = -(-trits.shape[0] // 16), -(-trits.shape[1] // layout.BLOCK)
    assert packed.shape == (tiles, blocks, 16, 4)
    np.testing.assert_array_equal(layout.unpack_trits(packed, trits.shape), trits)
    padded = layout.unpack_trits(packed, (16 * tiles, layout.BLOCK * blocks))
    assert not padded[trits.shape[0] :].any()
    assert not padded[:, trits.shape[1] :].any()
    total = packed.nbytes + 16 * tiles + 4 * trits.shape[0]
    assert layout.packed_nbytes(trits.shape, groups=1) == total


@settings(max_examples=50, deadline=None)
@given(multipliers=hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 64)))
def test_multipliers_round_trip(multipliers: np.ndarray) -> None:
    packed = ternary.pack_multipliers(multipliers)
    np.testing.assert_array_equal(ternary.unpack_multipliers(packed, multipliers.shape[0]), multipliers)
    assert (ternary.unpack_multipliers(packed, 16 * packed.shape[0])[multipliers.shape[0] :] == 1).all()


@settings(max_examples=50, deadline=None)
@given(codes=hnp.arrays(np.uint8, SHAPES))
def test_rf8_codes_round_trip(codes: np.ndarray) -> None:
    packed = rf8.pack_codes(codes)
    np.testing.assert_array_equal(rf8.unpack_codes(packed, codes.shape), codes)
    assert rf8.packed_nbytes(codes.shape) == packed.nbytes + 4 * codes.shape[0]


def test_field_of_a_trit() -> None:
    trits = np.zeros((20, 40), np.int8)
    trits[18, 16 + 4 * 3 + 2] = -1
    packed = ternary.pack_trits(trits)
    assert packed[1, 1, 2, 2] == 0b00_01_01_01
    packed[1, 1, 2, 2] = 0b01_01_01_01
    assert (packed == 0b01_01_01_01).all()


def test_place_of_a_fifth_of_a_byte() -> None:
    trits = np.zeros((20, 40), np.int8)
    trits[18, 20 + 4 * 3 + 2] = -1
    packed = ternary5.pack_trits(trits)
    assert packed[1, 1, 2, 2] == -(-256 * (81 + 27 + 9 + 0 + 1) // 243)
    packed[1, 1, 2, 2] = packed[0, 0, 0, 0]
    assert (packed == 128).all()


def test_every_byte_is_five_trits() -> None:
    """The 243 bytes that packing emits are all different, and each byte has the digits of the fraction it is."""
    digits = ternary5.TRITS + 1
    fractions = digits @ np.array([81, 27, 9, 3, 1])
    np.testing.assert_array_equal(fractions, np.arange(256) * 243 // 256)
    assert len(set(fractions)) == 243


def test_place_of_an_rf8_code() -> None:
    codes = np.zeros((20, 10), np.uint8)
    codes[16 + 4 * 0 + 3, 4 * 1 + 2 * 1 + 1] = 77
    assert rf8.pack_codes(codes)[1, 1, 0, 1, 3, 1] == 77


@settings(max_examples=50, deadline=None)
@given(codes=hnp.arrays(np.uint8, SHAPES), block=st.sampled_from(block_sparse.BLOCKS), data=st.data())
def test_blocks_round_trip(codes: np.ndarray, block: int, data: st.DataObject) -> None:
    keep = data.draw(hnp.arrays(np.bool_, block_sparse.grid_shape(codes.shape, block)))
    packed = block_sparse.pack(codes, keep, block)
    assert packed.values.shape == (keep.sum(), block, 16)
    rows, cols = codes.shape
    wide = np.repeat(np.repeat(keep, 16, axis=0), block, axis=1)[:rows, :cols]
    np.testing.assert_array_equal(block_sparse.unpack(packed, codes.shape), np.where(wide, codes, 0))
    nbytes = sum(array.nbytes for array in packed) + 4 * rows
    assert block_sparse.packed_nbytes(codes.shape, block, len(packed.columns), value_bytes=1) == nbytes


@settings(max_examples=50, deadline=None)
@given(codes=hnp.arrays(np.uint8, SHAPES))
def test_gated_weights_round_trip(codes: np.ndarray) -> None:
    packed = gated.pack(codes)
    outputs, inputs = codes.shape
    assert packed.shape == (inputs, -(-outputs // 16) * 16)
    assert not packed[:, outputs:].any()
    np.testing.assert_array_equal(gated.unpack(packed, outputs), codes)
    assert gated.packed_nbytes(codes.shape, value_bytes=1) == packed.nbytes + 4 * (inputs + outputs)


def test_norms_of_inputs() -> None:
    np.testing.assert_array_equal(gated.input_norms(np.array([[3, 1e30], [4, 0]], np.float32)), np.float32([5, 1e30]))


def test_place_of_a_block() -> None:
    weight = np.zeros((40, 20), np.float32)
    weight[16 + 3, 2 * 8 + 1] = 7
    keep = np.zeros((3, 3), bool)
    keep[0, 1] = keep[1, 2] = True
    values, index, start = block_sparse.pack(weight, keep, 8)
    assert values[1, 1, 3] == 7
    assert index.tolist() == [1, 2]
    assert start.tolist() == [0, 1, 2, 2]


def test_rf8_values_are_the_set_in_order() -> None:
    positive = rf8.VALUES[8:128]
    assert (np.diff(positive) > 0).all()
    assert (rf8.VALUES[:8] == 0).all()
    np.testing.assert_array_equal(rf8.VALUES[128:], -rf8.VALUES[:128])
    significands = np.frexp(positive)[0] * 2
    assert set(significands) == {1, 1.0625, 1.125, 1.25, 1.5, 1.75, 1.875, 1.9375}
    assert rf8.VALUES[15 << 3] == 1


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="trits must be -1, 0 or 1"):
        ternary.pack_trits(np.full((1, 1), 2, np.int8))
    with pytest.raises(ValueError, match="not 3"):
        block_sparse.grid_shape((4, 4), 3)
    with pytest.raises(ValueError, match=r"keep has shape \(1, 1\), the weight has \(1, 2\)"):
        block_sparse.pack(np.zeros((4, 8), np.float32), np.ones((1, 1), bool), 4)
    with pytest.raises(ValueError, match="at most 64"):
        ternary.pack_multipliers(np.full((1, 1), 65, np.uint8))

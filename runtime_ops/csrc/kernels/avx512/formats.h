// Decoding 64 bytes of codes in AVX-512 registers.
#pragma once

#include "kernels/avx512/simd.h"

namespace regc::kernels::REGC_ISA {

// The multipliers of sixteen outputs as a table of bytes for each 128-bit lane: -m, 0, m, 0 for each of its
// four outputs.
REGC_INLINE B64 ternary_table(const uint8_t* multiplier) {
  const I16 m = widen(multiplier);
  const I16 minus = _mm512_and_si512(sub_i(zero_i(), m), fill_i(0xFF));
  return _mm512_or_si512(_mm512_slli_epi32(m, 16), minus);
}

// multiplier * trit of field p, as int8: the field and the number of its output in its lane are the place in
// the table.
REGC_INLINE B64 ternary_bytes(B64 codes, int p, B64 table) {
  const B64 output = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
  const B64 field = _mm512_srli_epi16(codes, static_cast<unsigned>(2 * p));
  constexpr int kAndOr = 0xEA;  // a & b | c
  return _mm512_shuffle_epi8(table, _mm512_ternarylogic_epi32(field, fill_b(3), output, kAndOr));
}

// multiplier * trit of the field that starts at a bit of each 32-bit lane, as float32.
REGC_INLINE F16 ternary_floats(I16 codes, int bit, F16 multiplier) {
  // The permutation reads four bits of an index: this field and the next, which the table ignores.
  const F16 trits = _mm512_setr_ps(-1, 0, 1, 2, -1, 0, 1, 2, -1, 0, 1, 2, -1, 0, 1, 2);
  const I16 field = _mm512_srli_epi32(codes, static_cast<unsigned>(bit));
  return mul_f(_mm512_permutexvar_ps(field, trits), multiplier);
}

// sums[t] += sum of code * q over some blocks of T tiles. A field stays where it is in its byte, so that one
// AND selects it; the factor 4**p is shifted out once at the end.
template <int T, class Streams>
REGC_INLINE void ternary_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  I16 field[T][4];
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    field[t][0] = sums[t];
    field[t][1] = field[t][2] = field[t][3] = zero_i();
  }
  for (size_t block = 0; block < blocks; ++block, q += 16) {
    streams.fetch(block);
    const B64 x[4] = {fill_4(q), fill_4(q + 4), fill_4(q + 8), fill_4(q + 12)};
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const B64 code = load_b(streams.at(block, t));
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        field[t][p] =
            dot(field[t][p], _mm512_and_si512(code, fill_b(static_cast<uint8_t>(3 << 2 * p))), x[p]);
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    const I16 low = add_i(field[t][0], _mm512_srai_epi32(field[t][1], 2));
    const I16 high = add_i(_mm512_srai_epi32(field[t][2], 4), _mm512_srai_epi32(field[t][3], 6));
    sums[t] = add_i(low, high);
  }
}

// multiplier * (digit - 1) for the first ternary digit of the fractions v / 256, as int8. The digit is 1 from
// 256/3 and 2 from 512/3 on.
REGC_INLINE B64 ternary5_bytes(B64 v, B64 multiplier) {
  const B64 plus_or_zero = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(v, fill_b(171)), multiplier);
  return _mm512_mask_sub_epi8(plus_or_zero, _mm512_cmplt_epu8_mask(v, fill_b(86)), zero_i(), multiplier);
}

// The first ternary digit of v / 256 in bits 6 and 7 of each byte: 3/4 of v - 1, rounded up.
REGC_INLINE B64 ternary5_digits(B64 v) {
  const B64 less = _mm512_subs_epu8(v, fill_b(1));
  return _mm512_avg_epu8(less, _mm512_avg_epu8(less, zero_i()));
}

// The four inputs of an RF8 block, sixteen outputs each. The bits of a code s EEEE RRR become the bfloat16 s
// 0111EEEE ffff000, whose high byte depends on the code's upper nibble and whose low byte on its lower
// nibble: one byte shuffle each, and E = 0 masked to zero. Interleaving the two gives pairs of inputs in
// 32-bit lanes.
REGC_INLINE void rf8_unit(B64 code, F16 (&weight)[4]) {
  const B64 high_table =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F,  //
                                           -0x48, -0x47, -0x46, -0x45, -0x44, -0x43, -0x42, -0x41));
  const B64 low_table =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0x00, 0x08, 0x10, 0x20, 0x40, 0x60, 0x70, 0x78,  //
                                           -0x80, -0x78, -0x70, -0x60, -0x40, -0x20, -0x10, -0x08));
  const B64 nibble = fill_b(0x0F);
  const __mmask64 nonzero = _mm512_test_epi8_mask(code, fill_b(0x78));
  const B64 upper = _mm512_and_si512(_mm512_srli_epi16(code, 4), nibble);
  const B64 high = _mm512_maskz_shuffle_epi8(nonzero, high_table, upper);
  const B64 low = _mm512_maskz_shuffle_epi8(nonzero, low_table, _mm512_and_si512(code, nibble));
  const B64 pair[2] = {_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)};
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    weight[2 * i] = _mm512_castsi512_ps(_mm512_slli_epi32(pair[i], 16));
    weight[2 * i + 1] =
        _mm512_castsi512_ps(_mm512_and_si512(pair[i], fill_i(static_cast<int32_t>(0xFFFF0000))));
  }
}

REGC_INLINE void rf8_floats(const uint8_t* codes, F16 (&weight)[4]) { rf8_unit(load_b(codes), weight); }

// Four rows of sixteen bytes in the order of a unit.
REGC_INLINE B64 unit_of_rows(B64 rows) {
  const I16 transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const B64 pairs =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(transposed, rows), pairs);
}

// Four rows of RF8 codes, sixteen outputs each, one after the other.
REGC_INLINE void rf8_rows(const uint8_t* codes, F16 (&weight)[4]) {
  rf8_unit(unit_of_rows(load_b(codes)), weight);
}

}  // namespace regc::kernels::REGC_ISA

// Decoding 64 bytes of codes in AVX2 registers; the layouts and the ideas are those of avx512/formats.h.
#pragma once

#include "kernels/avx2/simd.h"

namespace regc::kernels::avx2 {

REGC_INLINE __m256i ternary_half(__m256i codes, int p, __m256i multiplier) {
  const __m256i field = _mm256_and_si256(_mm256_srli_epi16(codes, 2 * p), _mm256_set1_epi8(3));
  return _mm256_sign_epi8(multiplier, _mm256_sub_epi8(field, _mm256_set1_epi8(1)));
}

// multiplier * trit of field p, as int8.
REGC_INLINE B64 ternary_bytes(B64 codes, int p, B64 multiplier) {
  return {ternary_half(codes.lo, p, multiplier.lo), ternary_half(codes.hi, p, multiplier.hi)};
}

// multiplier * trit of the field that starts at a bit of each 32-bit lane, as float32.
REGC_INLINE F16 ternary_floats(I16 codes, int bit, F16 multiplier) {
  // The permutation reads three bits of an index: this field and one bit of the next, which the table
  // ignores.
  const __m256 trits = _mm256_setr_ps(-1, 0, 1, 2, -1, 0, 1, 2);
  const F16 trit = {_mm256_permutevar8x32_ps(trits, _mm256_srli_epi32(codes.lo, bit)),
                    _mm256_permutevar8x32_ps(trits, _mm256_srli_epi32(codes.hi, bit))};
  return mul_f(trit, multiplier);
}

// Sum of code * q over at most 8 blocks of one half of a tile. Fields 0 and 2 (after a shift) share one int16
// accumulator, fields 1 and 3, which count four times, the other: |4 * sum| <= 8 * 2 * 2032 still fits.
REGC_INLINE __m256i ternary_half_sums(const uint8_t* codes, size_t blocks, const uint8_t* q) {
  const __m256i even_mask = _mm256_set1_epi8(0x03);
  const __m256i odd_mask = _mm256_set1_epi8(0x0C);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();
  for (size_t block = 0; block < blocks; ++block, codes += 64, q += 16) {
    const __m256i code = load_half(codes);
    const __m256i next = _mm256_srli_epi16(code, 4);
    const __m256i x0 = fill_4(q).lo, x1 = fill_4(q + 4).lo, x2 = fill_4(q + 8).lo, x3 = fill_4(q + 12).lo;
    even = _mm256_add_epi16(even, _mm256_maddubs_epi16(_mm256_and_si256(code, even_mask), x0));
    odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(_mm256_and_si256(code, odd_mask), x1));
    even = _mm256_add_epi16(even, _mm256_maddubs_epi16(_mm256_and_si256(next, even_mask), x2));
    odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(_mm256_and_si256(next, odd_mask), x3));
  }
  const __m256i ones = _mm256_set1_epi16(1);
  return _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_srai_epi32(_mm256_madd_epi16(odd, ones), 2));
}

// sums[t] += sum of code * q over some blocks of T tiles that are `stride` bytes apart.
template <int T>
REGC_INLINE void ternary_sums(const uint8_t* codes, size_t stride, size_t blocks, const uint8_t* q,
                              I16 (&sums)[T]) {
  constexpr size_t kBlocks = 8;
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) {
    const uint8_t* tile = codes + static_cast<size_t>(t) * stride;
    for (size_t done = 0; done < blocks; done += kBlocks) {
      const size_t some = blocks - done < kBlocks ? blocks - done : kBlocks;
      sums[t] = add_i(sums[t], {ternary_half_sums(tile + 64 * done, some, q + 16 * done),
                                ternary_half_sums(tile + 64 * done + 32, some, q + 16 * done)});
    }
  }
}

REGC_INLINE void rf8_half(__m256i code, __m256 (&weight)[4]) {
  const __m256i high_table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F,  //
                                                -0x48, -0x47, -0x46, -0x45, -0x44, -0x43, -0x42, -0x41));
  const __m256i low_table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0x00, 0x08, 0x10, 0x20, 0x40, 0x60, 0x70, 0x78,  //
                                                -0x80, -0x78, -0x70, -0x60, -0x40, -0x20, -0x10, -0x08));
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  // A shuffle gives zero where bit 7 of the index is set.
  const __m256i zero =
      _mm256_cmpeq_epi8(_mm256_and_si256(code, _mm256_set1_epi8(0x78)), _mm256_setzero_si256());
  const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(code, 4), nibble);
  const __m256i high = _mm256_shuffle_epi8(high_table, _mm256_or_si256(upper, zero));
  const __m256i low = _mm256_shuffle_epi8(low_table, _mm256_or_si256(_mm256_and_si256(code, nibble), zero));
  const __m256i pair[2] = {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    weight[2 * i] = _mm256_castsi256_ps(_mm256_slli_epi32(pair[i], 16));
    weight[2 * i + 1] =
        _mm256_castsi256_ps(_mm256_and_si256(pair[i], _mm256_set1_epi32(static_cast<int32_t>(0xFFFF0000))));
  }
}

REGC_INLINE void rf8_unit(B64 code, F16 (&weight)[4]) {
  __m256 lo[4];
  __m256 hi[4];
  rf8_half(code.lo, lo);
  rf8_half(code.hi, hi);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) weight[i] = {lo[i], hi[i]};
}

// The four inputs of an RF8 block, sixteen outputs each.
REGC_INLINE void rf8_floats(const uint8_t* codes, F16 (&weight)[4]) { rf8_unit(load_b(codes), weight); }

// Four rows of RF8 codes, sixteen outputs each, one after the other, brought into the order of a unit.
REGC_INLINE void rf8_rows(const uint8_t* codes, F16 (&weight)[4]) {
  __m128i row[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) row[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + 16 * i));
  const __m128i lo01 = _mm_unpacklo_epi8(row[0], row[1]), hi01 = _mm_unpackhi_epi8(row[0], row[1]);
  const __m128i lo23 = _mm_unpacklo_epi8(row[2], row[3]), hi23 = _mm_unpackhi_epi8(row[2], row[3]);
  rf8_unit({_mm256_set_m128i(_mm_unpackhi_epi64(lo01, lo23), _mm_unpacklo_epi64(lo01, lo23)),
            _mm256_set_m128i(_mm_unpackhi_epi64(hi01, hi23), _mm_unpacklo_epi64(hi01, hi23))},
           weight);
}

}  // namespace regc::kernels::avx2

// Decoding 64 bytes of codes in AVX2 registers; the layouts and the ideas are those of avx512/formats.h.
#pragma once

namespace regc::kernels::REGC_ISA {

REGC_INLINE __m256i ternary_half(__m256i codes, int p, __m256i multiplier) {
  const __m256i field = _mm256_and_si256(_mm256_srli_epi16(codes, 2 * p), _mm256_set1_epi8(3));
  return _mm256_sign_epi8(multiplier, _mm256_sub_epi8(field, _mm256_set1_epi8(1)));
}

// What ternary_bytes needs to know of the multipliers of sixteen outputs.
REGC_INLINE B64 ternary_table(const uint8_t* multiplier) { return spread(multiplier); }

// multiplier * trit of field p, as int8.
REGC_INLINE B64 ternary_bytes(B64 codes, int p, B64 multiplier) {
  return {ternary_half(codes.lo, p, multiplier.lo), ternary_half(codes.hi, p, multiplier.hi)};
}

// The first ternary digit of the fractions v / 256 in bits 6 and 7 of each byte: 3/4 of v - 1, rounded up.
REGC_INLINE __m256i ternary5_digits(__m256i v) {
  const __m256i less = _mm256_subs_epu8(v, _mm256_set1_epi8(1));
  return _mm256_avg_epu8(less, _mm256_avg_epu8(less, _mm256_setzero_si256()));
}
REGC_INLINE B64 ternary5_digits(B64 v) { return {ternary5_digits(v.lo), ternary5_digits(v.hi)}; }

// multiplier * (digit - 1) for that digit, as int8.
REGC_INLINE B64 ternary5_bytes(B64 v, B64 multiplier) {
  return ternary_bytes(ternary5_digits(v), 3, multiplier);
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

}  // namespace regc::kernels::REGC_ISA

// Float16 in AVX-512 registers: sixteen lanes, one an output of a tile, of two halves each.
#pragma once

#include "kernels/avx512/simd.h"

namespace regc::kernels::REGC_ISA {

using H32 = __m512h;

REGC_INLINE H32 halves(B64 v) { return _mm512_castsi512_ph(v); }
REGC_INLINE H32 zero_h() { return _mm512_setzero_ph(); }
REGC_INLINE H32 fma_h(H32 a, H32 b, H32 sum) { return _mm512_fmadd_ph(a, b, sum); }

// The sum of the two halves of each lane.
REGC_INLINE F16 lane_sums(H32 v) {
  const H32 swapped = halves(_mm512_rol_epi32(_mm512_castph_si512(v), 16));
  const __m512i both = _mm512_castph_si512(_mm512_add_ph(v, swapped));
  return _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm512_cvtepi32_epi16(both)));
}

// Up to sixteen floats to as many halves, to the nearest, ties to even.
REGC_INLINE void store_halves(uint16_t* p, const float* x, float scale, size_t count) {
  const auto some = static_cast<__mmask16>((1U << count) - 1);
  const F16 scaled = mul_f(_mm512_maskz_loadu_ps(some, x), fill_f(scale));
  _mm256_mask_storeu_epi16(p, some, _mm256_castph_si256(_mm512_cvtxps_ph(scaled)));
}

// A byte for every value of the six low bits of a code, of which three are R and three belong to E.
struct HalfTable {
  alignas(64) uint8_t byte[64];
  constexpr HalfTable(const uint8_t (&of_residual)[8], int of_exponent) : byte() {
    for (int i = 0; i < 64; ++i) byte[i] = static_cast<uint8_t>(of_residual[i % 8] + of_exponent * (i / 8));
  }
};
constexpr HalfTable kHighTable({0, 0, 0, 1, 2, 3, 3, 3}, 4);
constexpr HalfTable kLowTable({0, 0x40, 0x80, 0, 0, 0, 0x80, 0xC0}, 0);

// The four inputs of an RF8 block as two pairs. A code s EEEE RRR is the half s 0EEEE ffff000000: the exponent
// bias is the same. One table gives the bits of E and f in the high byte but for the first of E, one those in the low.
REGC_INLINE void rf8_pairs(B64 code, B64* pair) {
  constexpr int kOrAnd = 0xF8;  // a | (b & c)
  const __mmask64 nonzero = _mm512_test_epi8_mask(code, fill_b(0x78));
  const B64 low = _mm512_maskz_permutexvar_epi8(nonzero, code, load_b(kLowTable.byte));
  const B64 magnitude = _mm512_ternarylogic_epi32(_mm512_permutexvar_epi8(code, load_b(kHighTable.byte)),
                                                  _mm512_srli_epi16(code, 1), fill_b(0x20), kOrAnd);
  const B64 high = _mm512_maskz_mov_epi8(nonzero, _mm512_ternarylogic_epi32(magnitude, code, fill_b(0x80), kOrAnd));
  pair[0] = _mm512_unpacklo_epi8(low, high);
  pair[1] = _mm512_unpackhi_epi8(low, high);
}

// Four rows of RF8 codes, sixteen outputs each, one after the other, as two pairs.
REGC_INLINE void rf8_row_pairs(const uint8_t* codes, B64* pair) { rf8_pairs(unit_of_rows(load_b(codes)), pair); }

// Two rows of RF8 codes, of sixteen outputs of four tiles, as pairs: vector j holds outputs 4 j .. 4 j + 3 of every
// tile, a tile in 128 bits, which saves turning them.
REGC_INLINE void rf8_tile_pairs(const uint8_t* first, const uint8_t* second, B64 (&pair)[4]) {
  const B64 a = load_b(first), b = load_b(second);
  rf8_pairs(_mm512_unpacklo_epi8(a, b), pair);
  rf8_pairs(_mm512_unpackhi_epi8(a, b), pair + 2);
}

// From vectors of four outputs of each of four tiles to a vector a tile, and back.
REGC_INLINE void turn_tiles(F16 (&v)[4]) {
  const F16 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44), b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
  const F16 c = _mm512_shuffle_f32x4(v[0], v[1], 0xEE), d = _mm512_shuffle_f32x4(v[2], v[3], 0xEE);
  v[0] = _mm512_shuffle_f32x4(a, b, 0x88);
  v[1] = _mm512_shuffle_f32x4(a, b, 0xDD);
  v[2] = _mm512_shuffle_f32x4(c, d, 0x88);
  v[3] = _mm512_shuffle_f32x4(c, d, 0xDD);
}

}  // namespace regc::kernels::REGC_ISA

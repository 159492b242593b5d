// Sixteen lanes, one an output of a tile, in AVX-512 registers. F16 floats, I16 int32, B64 four bytes a lane.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define REGC_INLINE static inline __attribute__((always_inline))

namespace regc::kernels::REGC_ISA {

using F16 = __m512;
using I16 = __m512i;
using B64 = __m512i;

// Register tile of the panel kernels: 6 rows of 4 tiles are 24 of 32 registers, with 4 for weights and 1 for
// activations.
constexpr int kPanelRows = 6;
constexpr int kPanelTiles = 4;
// Tiles side by side in the stream kernels: enough chains to hide the latency of a multiply-add.
constexpr int kStreamTiles = 4;
// Rows that are streamed, of each pair of kernels. With 3 rows, 2048x5632 takes 350 us streamed and 320
// decoded.
constexpr size_t kTernaryStreamRows = 2;
constexpr size_t kTernary5StreamRows = 2;
constexpr size_t kFloatStreamRows = 3;
// Rows of a block-sparse register tile whose lanes are outputs, and panels of sixteen rows of one whose lanes are rows.
constexpr size_t kSparseRows = 12;
constexpr size_t kLanePanels = 3;

REGC_INLINE F16 zero_f() { return _mm512_setzero_ps(); }
REGC_INLINE F16 load_f(const float* p) { return _mm512_loadu_ps(p); }
REGC_INLINE void store_f(float* p, F16 v) { _mm512_storeu_ps(p, v); }
REGC_INLINE F16 fill_f(float v) { return _mm512_set1_ps(v); }
REGC_INLINE F16 add_f(F16 a, F16 b) { return _mm512_add_ps(a, b); }
REGC_INLINE F16 mul_f(F16 a, F16 b) { return _mm512_mul_ps(a, b); }
REGC_INLINE F16 div_f(F16 a, F16 b) { return _mm512_div_ps(a, b); }
REGC_INLINE F16 min_f(F16 a, F16 b) { return _mm512_min_ps(a, b); }
REGC_INLINE F16 max_f(F16 a, F16 b) { return _mm512_max_ps(a, b); }
REGC_INLINE F16 fma_f(F16 a, F16 b, F16 sum) { return _mm512_fmadd_ps(a, b, sum); }
REGC_INLINE F16 power_of_2(F16 rounded) {
  const I16 biased = _mm512_add_epi32(_mm512_castps_si512(rounded), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
}
REGC_INLINE F16 to_float(I16 v) { return _mm512_cvtepi32_ps(v); }

REGC_INLINE I16 zero_i() { return _mm512_setzero_si512(); }
REGC_INLINE I16 load_i(const void* p) { return _mm512_loadu_si512(p); }
REGC_INLINE void store_i(void* p, I16 v) { _mm512_storeu_si512(p, v); }
REGC_INLINE I16 fill_i(int32_t v) { return _mm512_set1_epi32(v); }
REGC_INLINE I16 add_i(I16 a, I16 b) { return _mm512_add_epi32(a, b); }
REGC_INLINE I16 sub_i(I16 a, I16 b) { return _mm512_sub_epi32(a, b); }
REGC_INLINE I16 shift_right_8(I16 v) { return _mm512_srai_epi32(v, 8); }
REGC_INLINE I16 mul_i(I16 a, I16 b) { return _mm512_mullo_epi32(a, b); }
// sum + a * b for lanes that fit int16, b not negative.
REGC_INLINE I16 mul_add_narrow(I16 sum, I16 a, I16 b) { return _mm512_dpwssd_epi32(sum, a, b); }
// Sixteen bytes to int32.
REGC_INLINE I16 widen(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

REGC_INLINE B64 load_b(const uint8_t* p) { return _mm512_loadu_si512(p); }
REGC_INLINE void store_b(uint8_t* p, B64 v) { _mm512_storeu_si512(p, v); }
REGC_INLINE B64 fill_b(uint8_t v) { return _mm512_set1_epi8(static_cast<char>(v)); }
// The same four bytes in every lane.
REGC_INLINE B64 fill_4(const uint8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm512_set1_epi32(word);
}
// Byte r of sixteen in all four bytes of lane r.
REGC_INLINE B64 spread(const uint8_t* p) {
  return _mm512_mullo_epi32(widen(p), _mm512_set1_epi32(0x01010101));
}
REGC_INLINE I16 lanes_of(B64 v) { return v; }
// Modulo 256.
REGC_INLINE B64 times_3(B64 v) { return _mm512_add_epi8(v, _mm512_add_epi8(v, v)); }
// sum + the four products of each lane, unsigned times signed.
REGC_INLINE I16 dot(I16 sum, B64 u8, B64 s8) { return _mm512_dpbusd_epi32(sum, u8, s8); }

// Element j of vector i becomes element i of vector j: in 128-bit lanes, then between them.
REGC_INLINE void turn_16(F16 (&v)[16]) {
  F16 a[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    const F16 low[2] = {_mm512_unpacklo_ps(v[i], v[i + 1]), _mm512_unpacklo_ps(v[i + 2], v[i + 3])};
    const F16 high[2] = {_mm512_unpackhi_ps(v[i], v[i + 1]), _mm512_unpackhi_ps(v[i + 2], v[i + 3])};
    a[i] = _mm512_shuffle_ps(low[0], low[1], 0x44);
    a[i + 1] = _mm512_shuffle_ps(low[0], low[1], 0xEE);
    a[i + 2] = _mm512_shuffle_ps(high[0], high[1], 0x44);
    a[i + 3] = _mm512_shuffle_ps(high[0], high[1], 0xEE);
  }
#pragma GCC unroll 16
  for (int j = 0; j < 4; ++j) {
    const F16 even[2] = {_mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88)};
    const F16 odd[2] = {_mm512_shuffle_f32x4(a[j], a[4 + j], 0xDD), _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xDD)};
    v[j] = _mm512_shuffle_f32x4(even[0], even[1], 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(even[0], even[1], 0xDD);
    v[4 + j] = _mm512_shuffle_f32x4(odd[0], odd[1], 0x88);
    v[12 + j] = _mm512_shuffle_f32x4(odd[0], odd[1], 0xDD);
  }
}

}  // namespace regc::kernels::REGC_ISA

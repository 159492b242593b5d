// Sixteen lanes, one an output of a tile, in pairs of AVX2 registers. F16 floats, I16 int32, B64 four bytes a
// lane. For every REGC_ISA that has AVX2.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define REGC_INLINE static inline __attribute__((always_inline))

namespace regc::kernels::REGC_ISA {

struct F16 {
  __m256 lo, hi;
};
struct I16 {
  __m256i lo, hi;
};
struct B64 {
  __m256i lo, hi;
};

// Tiles side by side in the stream kernels.
constexpr int kStreamTiles = 2;
constexpr size_t kFloatStreamRows = 3;
// Rows of the block-sparse register tile, whose lanes are outputs: with few registers, others are no better.
constexpr size_t kSparseRows = 4;
constexpr size_t kLanePanels = 0;

REGC_INLINE F16 zero_f() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
REGC_INLINE F16 load_f(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
REGC_INLINE void store_f(float* p, F16 v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}
REGC_INLINE F16 fill_f(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
REGC_INLINE F16 add_f(F16 a, F16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
REGC_INLINE F16 mul_f(F16 a, F16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
REGC_INLINE F16 div_f(F16 a, F16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
REGC_INLINE F16 min_f(F16 a, F16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
REGC_INLINE F16 max_f(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
REGC_INLINE F16 fma_f(F16 a, F16 b, F16 sum) {
  return {_mm256_fmadd_ps(a.lo, b.lo, sum.lo), _mm256_fmadd_ps(a.hi, b.hi, sum.hi)};
}
REGC_INLINE __m256 half_power_of_2(__m256 rounded) {
  const __m256i biased = _mm256_add_epi32(_mm256_castps_si256(rounded), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
REGC_INLINE F16 power_of_2(F16 rounded) { return {half_power_of_2(rounded.lo), half_power_of_2(rounded.hi)}; }
REGC_INLINE F16 to_float(I16 v) { return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)}; }

REGC_INLINE __m256i load_half(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
REGC_INLINE void store_half(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

REGC_INLINE I16 zero_i() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
REGC_INLINE I16 load_i(const void* p) { return {load_half(p), load_half(static_cast<const char*>(p) + 32)}; }
REGC_INLINE void store_i(void* p, I16 v) {
  store_half(p, v.lo);
  store_half(static_cast<char*>(p) + 32, v.hi);
}
REGC_INLINE I16 fill_i(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
REGC_INLINE I16 add_i(I16 a, I16 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
REGC_INLINE I16 sub_i(I16 a, I16 b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
REGC_INLINE I16 shift_right_8(I16 v) { return {_mm256_srai_epi32(v.lo, 8), _mm256_srai_epi32(v.hi, 8)}; }
REGC_INLINE I16 mul_i(I16 a, I16 b) {
  return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}
// sum + a * b for lanes that fit int16, b not negative.
REGC_INLINE I16 mul_add_narrow(I16 sum, I16 a, I16 b) {
  return add_i(sum, {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)});
}
// Sixteen bytes to int32.
REGC_INLINE I16 widen(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}

REGC_INLINE B64 load_b(const uint8_t* p) { return {load_half(p), load_half(p + 32)}; }
REGC_INLINE void store_b(uint8_t* p, B64 v) {
  store_half(p, v.lo);
  store_half(p + 32, v.hi);
}
REGC_INLINE B64 fill_b(uint8_t v) {
  const __m256i all = _mm256_set1_epi8(static_cast<char>(v));
  return {all, all};
}
REGC_INLINE B64 and_b(B64 a, B64 b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
// The same four bytes in every lane.
REGC_INLINE B64 fill_4(const uint8_t* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  const __m256i all = _mm256_set1_epi32(word);
  return {all, all};
}
// Byte r of sixteen in all four bytes of lane r.
REGC_INLINE B64 spread(const uint8_t* p) {
  const I16 bytes = mul_i(widen(p), fill_i(0x01010101));
  return {bytes.lo, bytes.hi};
}
REGC_INLINE I16 lanes_of(B64 v) { return {v.lo, v.hi}; }
// Modulo 256.
REGC_INLINE __m256i times_3(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }
REGC_INLINE B64 times_3(B64 v) { return {times_3(v.lo), times_3(v.hi)}; }

}  // namespace regc::kernels::REGC_ISA

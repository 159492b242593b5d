// Sixteen lanes, one an output of a tile, in fours of NEON registers. F16 floats, I16 int32, B64 four bytes a
// lane.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define REGC_INLINE static inline __attribute__((always_inline))

namespace regc::kernels::neon {

struct F16 {
  float32x4_t q[4];
};
struct I16 {
  int32x4_t q[4];
};
struct B64 {
  uint8x16_t q[4];
};

// Register tile of the panel kernels: 6 rows of 1 tile are 24 of 32 registers, with 4 for weights and 1 for
// activations. What is here was chosen by counting registers, and never timed.
constexpr int kPanelRows = 6;
constexpr int kPanelTiles = 1;
// Tiles side by side in the stream kernels.
constexpr int kStreamTiles = 2;
// Rows that are streamed, of each pair of kernels.
constexpr size_t kTernaryStreamRows = 4;
constexpr size_t kTernary5StreamRows = 4;
constexpr size_t kFloatStreamRows = 3;
// Rows of the block-sparse register tile, whose lanes are outputs: with few registers, others are no better.
constexpr size_t kSparseRows = 4;
constexpr size_t kLanePanels = 0;

// function(0) .. function(3), one a register.
template <class Result, class Function>
REGC_INLINE Result fours(const Function& function) {
  return {{function(0), function(1), function(2), function(3)}};
}

REGC_INLINE F16 fill_f(float v) {
  return fours<F16>([=](size_t) { return vdupq_n_f32(v); });
}
REGC_INLINE F16 zero_f() { return fill_f(0); }
REGC_INLINE F16 load_f(const float* p) {
  return fours<F16>([=](size_t i) { return vld1q_f32(p + 4 * i); });
}
REGC_INLINE void store_f(float* p, const F16& v) {
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.q[i]);
}
REGC_INLINE F16 add_f(const F16& a, const F16& b) {
  return fours<F16>([&](size_t i) { return vaddq_f32(a.q[i], b.q[i]); });
}
REGC_INLINE F16 mul_f(const F16& a, const F16& b) {
  return fours<F16>([&](size_t i) { return vmulq_f32(a.q[i], b.q[i]); });
}
REGC_INLINE F16 div_f(const F16& a, const F16& b) {
  return fours<F16>([&](size_t i) { return vdivq_f32(a.q[i], b.q[i]); });
}
// b where one is NaN, as on other CPUs; the instructions for minima and maxima would give NaN.
REGC_INLINE F16 min_f(const F16& a, const F16& b) {
  return fours<F16>([&](size_t i) { return vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]); });
}
REGC_INLINE F16 max_f(const F16& a, const F16& b) {
  return fours<F16>([&](size_t i) { return vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]); });
}
REGC_INLINE F16 fma_f(const F16& a, const F16& b, const F16& sum) {
  return fours<F16>([&](size_t i) { return vfmaq_f32(sum.q[i], a.q[i], b.q[i]); });
}
// 2^n from the float 1.5 * 2^23 + n, in whose low bits n is.
REGC_INLINE F16 power_of_2(const F16& rounded) {
  return fours<F16>([&](size_t i) {
    const int32x4_t biased = vaddq_s32(vreinterpretq_s32_f32(rounded.q[i]), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
  });
}
REGC_INLINE F16 to_float(const I16& v) {
  return fours<F16>([&](size_t i) { return vcvtq_f32_s32(v.q[i]); });
}

REGC_INLINE I16 fill_i(int32_t v) {
  return fours<I16>([=](size_t) { return vdupq_n_s32(v); });
}
REGC_INLINE I16 zero_i() { return fill_i(0); }
REGC_INLINE I16 add_i(const I16& a, const I16& b) {
  return fours<I16>([&](size_t i) { return vaddq_s32(a.q[i], b.q[i]); });
}
REGC_INLINE I16 sub_i(const I16& a, const I16& b) {
  return fours<I16>([&](size_t i) { return vsubq_s32(a.q[i], b.q[i]); });
}
REGC_INLINE I16 mul_i(const I16& a, const I16& b) {
  return fours<I16>([&](size_t i) { return vmulq_s32(a.q[i], b.q[i]); });
}
REGC_INLINE I16 mul_add_narrow(const I16& sum, const I16& a, const I16& b) {
  return fours<I16>([&](size_t i) { return vmlaq_s32(sum.q[i], a.q[i], b.q[i]); });
}

REGC_INLINE B64 load_b(const uint8_t* p) {
  return fours<B64>([=](size_t i) { return vld1q_u8(p + 16 * i); });
}
REGC_INLINE void store_b(uint8_t* p, const B64& v) {
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) vst1q_u8(p + 16 * i, v.q[i]);
}
REGC_INLINE B64 fill_b(uint8_t v) {
  return fours<B64>([=](size_t) { return vdupq_n_u8(v); });
}
// The same four bytes in every lane.
REGC_INLINE B64 fill_4(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return fours<B64>([=](size_t) { return vreinterpretq_u8_u32(vdupq_n_u32(word)); });
}
REGC_INLINE I16 load_i(const void* p) {
  const B64 bytes = load_b(static_cast<const uint8_t*>(p));
  return fours<I16>([&](size_t i) { return vreinterpretq_s32_u8(bytes.q[i]); });
}
REGC_INLINE void store_i(void* p, const I16& v) {
  store_b(static_cast<uint8_t*>(p), fours<B64>([&](size_t i) { return vreinterpretq_u8_s32(v.q[i]); }));
}
// Byte r of sixteen in all four bytes of lane r.
REGC_INLINE B64 spread(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  const uint8x16_t lanes = vreinterpretq_u8_u32(vmulq_n_u32(uint32x4_t{0, 1, 2, 3}, 0x01010101));
  return fours<B64>([=](size_t i) {
    return vqtbl1q_u8(bytes, vaddq_u8(lanes, vdupq_n_u8(static_cast<uint8_t>(4 * i))));
  });
}
// Sixteen bytes to int32.
REGC_INLINE I16 widen(const uint8_t* p) {
  const B64 bytes = spread(p);
  return fours<I16>(
      [&](size_t i) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_u8(bytes.q[i]), 24)); });
}
REGC_INLINE I16 lanes_of(const B64& v) {
  return fours<I16>([&](size_t i) { return vreinterpretq_s32_u8(v.q[i]); });
}
// Modulo 256.
REGC_INLINE B64 times_3(const B64& v) {
  return fours<B64>([&](size_t i) { return vmulq_u8(v.q[i], vdupq_n_u8(3)); });
}
// sum + the four products of each lane of u8 - 128 and s8, for the instruction knows no unsigned factor. The
// panel kernels take off 128 times the sum of the weights by dot() with 128, which is nothing here: so their
// results are those of the other instruction sets.
REGC_INLINE I16 dot(const I16& sum, const B64& u8, const B64& s8) {
  return fours<I16>([&](size_t i) {
    const int8x16_t less_128 = vreinterpretq_s8_u8(veorq_u8(u8.q[i], vdupq_n_u8(0x80)));
    return vdotq_s32(sum.q[i], less_128, vreinterpretq_s8_u8(s8.q[i]));
  });
}

}  // namespace regc::kernels::neon

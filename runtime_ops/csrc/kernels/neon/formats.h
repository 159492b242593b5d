// Decoding 64 bytes of codes in NEON registers; the layouts and the ideas are those of avx512/formats.h.
#pragma once

#include "kernels/neon/simd.h"

namespace regc::kernels::neon {

// What ternary_bytes needs to know of the multipliers of sixteen outputs.
REGC_INLINE B64 ternary_table(const uint8_t* multiplier) { return spread(multiplier); }

// multiplier * trit of field p, as int8.
REGC_INLINE B64 ternary_bytes(const B64& codes, int p, const B64& multiplier) {
  const int8x16_t right = vdupq_n_s8(static_cast<int8_t>(-2 * p));
  return fours<B64>([&](size_t i) {
    const uint8x16_t field = vandq_u8(vshlq_u8(codes.q[i], right), vdupq_n_u8(3));
    return vmulq_u8(vsubq_u8(field, vdupq_n_u8(1)), multiplier.q[i]);
  });
}

// The first ternary digit of the fractions v / 256 in bits 6 and 7 of each byte: 3/4 of v - 1, rounded up.
REGC_INLINE B64 ternary5_digits(const B64& v) {
  return fours<B64>([&](size_t i) {
    const uint8x16_t less = vqsubq_u8(v.q[i], vdupq_n_u8(1));
    return vrhaddq_u8(less, vrhaddq_u8(less, vdupq_n_u8(0)));
  });
}

// multiplier * (digit - 1) for that digit, as int8.
REGC_INLINE B64 ternary5_bytes(const B64& v, const B64& multiplier) {
  return ternary_bytes(ternary5_digits(v), 3, multiplier);
}

// multiplier * trit of the field that starts at a bit of each 32-bit lane, as float32.
REGC_INLINE F16 ternary_floats(const I16& codes, int bit, const F16& multiplier) {
  const int32x4_t right = vdupq_n_s32(-bit);
  return fours<F16>([&](size_t i) {
    const uint32x4_t field = vandq_u32(vshlq_u32(vreinterpretq_u32_s32(codes.q[i]), right), vdupq_n_u32(3));
    const int32x4_t trit = vsubq_s32(vreinterpretq_s32_u32(field), vdupq_n_s32(1));
    return vmulq_f32(vcvtq_f32_s32(trit), multiplier.q[i]);
  });
}

// sums[t] += sum of code * q over some blocks of T tiles. Fields 0 and 2 (after a shift) share one accumulator,
// fields 1 and 3, which count four times, the other. A register of q holds the four inputs of each field in a
// lane, which the product selects.
template <int T, class Streams>
REGC_INLINE void ternary_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  const uint8x16_t even_mask = vdupq_n_u8(0x03);
  const uint8x16_t odd_mask = vdupq_n_u8(0x0C);
  const auto masked = [](uint8x16_t code, uint8x16_t mask) { return vreinterpretq_s8_u8(vandq_u8(code, mask)); };
  I16 even[T];
  I16 odd[T];
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) even[t] = odd[t] = zero_i();
  for (size_t block = 0; block < blocks; ++block, q += 16) {
    streams.fetch(block);
    const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(q));
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      const B64 code = load_b(streams.at(block, t));
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) {
        const uint8x16_t next = vshrq_n_u8(code.q[i], 4);
        even[t].q[i] = vdotq_laneq_s32(even[t].q[i], masked(code.q[i], even_mask), x, 0);
        odd[t].q[i] = vdotq_laneq_s32(odd[t].q[i], masked(code.q[i], odd_mask), x, 1);
        even[t].q[i] = vdotq_laneq_s32(even[t].q[i], masked(next, even_mask), x, 2);
        odd[t].q[i] = vdotq_laneq_s32(odd[t].q[i], masked(next, odd_mask), x, 3);
      }
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) {
    const I16 quarter = fours<I16>([&](size_t i) { return vshrq_n_s32(odd[t].q[i], 2); });
    sums[t] = add_i(sums[t], add_i(even[t], quarter));
  }
}

// sums[t] += sum of digit * q over some blocks of T tiles.
template <int T, class Streams>
REGC_INLINE void ternary5_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  for (size_t block = 0; block < blocks; ++block, q += 20) {
    streams.fetch(block);
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      B64 fraction = load_b(streams.at(block, t));
#pragma GCC unroll 5
      for (size_t p = 0; p < 5; ++p) {
        const B64 digits = ternary5_digits(fraction);
        const B64 x = fill_4(q + 4 * p);
        sums[t] = fours<I16>([&](size_t i) {
          const int8x16_t digit = vreinterpretq_s8_u8(vshrq_n_u8(digits.q[i], 6));
          return vdotq_s32(sums[t].q[i], digit, vreinterpretq_s8_u8(x.q[i]));
        });
        fraction = times_3(fraction);
      }
    }
  }
}

// The four inputs of an RF8 block, sixteen outputs each. A place beyond the tables gives zero.
REGC_INLINE void rf8_unit(const B64& codes, F16 (&weight)[4]) {
  const uint8x16_t high_table = {0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F,
                                 0xB8, 0xB9, 0xBA, 0xBB, 0xBC, 0xBD, 0xBE, 0xBF};
  const uint8x16_t low_table = {0x00, 0x08, 0x10, 0x20, 0x40, 0x60, 0x70, 0x78,
                                0x80, 0x88, 0x90, 0xA0, 0xC0, 0xE0, 0xF0, 0xF8};
  const uint32x4_t upper_half = vdupq_n_u32(0xFFFF0000);
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    const uint8x16_t code = codes.q[i];
    const uint8x16_t zero = vceqzq_u8(vandq_u8(code, vdupq_n_u8(0x78)));
    const uint8x16_t high = vqtbl1q_u8(high_table, vorrq_u8(vshrq_n_u8(code, 4), zero));
    const uint8x16_t low = vqtbl1q_u8(low_table, vorrq_u8(vandq_u8(code, vdupq_n_u8(0x0F)), zero));
    const uint32x4_t pair[2] = {vreinterpretq_u32_u8(vzip1q_u8(low, high)),
                                vreinterpretq_u32_u8(vzip2q_u8(low, high))};
    weight[0].q[i] = vreinterpretq_f32_u32(vshlq_n_u32(pair[0], 16));
    weight[1].q[i] = vreinterpretq_f32_u32(vandq_u32(pair[0], upper_half));
    weight[2].q[i] = vreinterpretq_f32_u32(vshlq_n_u32(pair[1], 16));
    weight[3].q[i] = vreinterpretq_f32_u32(vandq_u32(pair[1], upper_half));
  }
}

REGC_INLINE void rf8_floats(const uint8_t* codes, F16 (&weight)[4]) { rf8_unit(load_b(codes), weight); }

// Four rows of RF8 codes, sixteen outputs each, one after the other, brought into the order of a unit.
REGC_INLINE void rf8_rows(const uint8_t* codes, F16 (&weight)[4]) {
  const B64 row = load_b(codes);
  const uint64x2_t lo01 = vreinterpretq_u64_u8(vzip1q_u8(row.q[0], row.q[1]));
  const uint64x2_t hi01 = vreinterpretq_u64_u8(vzip2q_u8(row.q[0], row.q[1]));
  const uint64x2_t lo23 = vreinterpretq_u64_u8(vzip1q_u8(row.q[2], row.q[3]));
  const uint64x2_t hi23 = vreinterpretq_u64_u8(vzip2q_u8(row.q[2], row.q[3]));
  const uint64x2_t lane[4] = {vzip1q_u64(lo01, lo23), vzip2q_u64(lo01, lo23), vzip1q_u64(hi01, hi23),
                              vzip2q_u64(hi01, hi23)};
  rf8_unit(fours<B64>([&](size_t i) { return vreinterpretq_u8_u64(lane[i]); }), weight);
}

}  // namespace regc::kernels::neon

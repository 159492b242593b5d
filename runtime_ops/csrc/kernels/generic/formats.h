// Decoding 64 bytes of codes in plain C++: what the layouts of runtime_ops/formats mean.
#pragma once

#include "kernels/generic/simd.h"

namespace regc::kernels::generic {

REGC_INLINE int trit(unsigned codes, int bit) { return static_cast<int>(codes >> bit & 3U) - 1; }

// What ternary_bytes needs to know of the multipliers of sixteen outputs.
REGC_INLINE B64 ternary_table(const uint8_t* multiplier) { return spread(multiplier); }

// multiplier * trit of field p, as int8.
REGC_INLINE B64 ternary_bytes(const B64& codes, int p, const B64& multiplier) {
  B64 v;
  for (size_t i = 0; i < 64; ++i)
    v.byte[i] = static_cast<uint8_t>(trit(codes.byte[i], 2 * p) * multiplier.byte[i]);
  return v;
}

// multiplier * trit of the field that starts at a bit of the four bytes of each output, as float32.
REGC_INLINE F16 ternary_floats(const I16& codes, int bit, const F16& multiplier) {
  return lanes<F16>(
      [&](size_t i) { return static_cast<float>(trit(bits(codes.lane[i]), bit)) * multiplier.lane[i]; });
}

// sums[t] += sum of code * q over some blocks of T tiles.
template <int T, class Streams>
REGC_INLINE void ternary_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  for (int t = 0; t < T; ++t) {
    for (size_t block = 0; block < blocks; ++block) {
      const B64 code = load_b(streams.at(block, t));
      for (int p = 0; p < 4; ++p) {
        B64 field;
        for (size_t i = 0; i < 64; ++i) field.byte[i] = static_cast<uint8_t>(code.byte[i] >> 2 * p & 3);
        sums[t] = dot(sums[t], field, fill_4(q + 16 * block + 4 * static_cast<size_t>(p)));
      }
    }
  }
}

// The first ternary digit of the fractions v / 256 in bits 6 and 7 of each byte.
REGC_INLINE B64 ternary5_digits(const B64& v) {
  B64 digits;
  for (size_t i = 0; i < 64; ++i) digits.byte[i] = static_cast<uint8_t>(3 * v.byte[i] / 256 << 6);
  return digits;
}

// multiplier * (digit - 1) for that digit, as int8.
REGC_INLINE B64 ternary5_bytes(const B64& v, const B64& multiplier) {
  return ternary_bytes(ternary5_digits(v), 3, multiplier);
}

// sums[t] += sum of digit * q over some blocks of T tiles.
template <int T, class Streams>
REGC_INLINE void ternary5_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  for (int t = 0; t < T; ++t) {
    for (size_t block = 0; block < blocks; ++block) {
      B64 fraction = load_b(streams.at(block, t));
      for (size_t p = 0; p < 5; ++p) {
        B64 digits = ternary5_digits(fraction);
        for (uint8_t& byte : digits.byte) byte = static_cast<uint8_t>(byte >> 6);
        sums[t] = dot(sums[t], digits, fill_4(q + 20 * block + 4 * p));
        fraction = times_3(fraction);
      }
    }
  }
}

// The value of an RF8 code s EEEE RRR: the bits of the float32 s 0111EEEE ffff0..., or zero for E = 0.
REGC_INLINE float rf8_value(uint32_t code) {
  constexpr uint32_t kFractions[8] = {0, 1, 2, 4, 8, 12, 14, 15};  // sixteenths
  const uint32_t exponent = code >> 3 & 15;
  if (exponent == 0) return 0;
  const uint32_t pattern = (code >> 7) << 31 | (112 + exponent) << 23 | kFractions[code & 7] << 19;
  float value;
  std::memcpy(&value, &pattern, sizeof(value));
  return value;
}

// The four inputs of an RF8 block, sixteen outputs each; codes are [lane, pair, row, odd].
REGC_INLINE void rf8_floats(const uint8_t* codes, F16 (&weight)[4]) {
  for (size_t input = 0; input < 4; ++input) {
    weight[input] = lanes<F16>([=](size_t output) {
      return rf8_value(codes[output / 4 * 16 + input / 2 * 8 + output % 4 * 2 + input % 2]);
    });
  }
}

// Four rows of RF8 codes, sixteen outputs each, one after the other.
REGC_INLINE void rf8_rows(const uint8_t* codes, F16 (&weight)[4]) {
  for (size_t row = 0; row < 4; ++row)
    weight[row] = lanes<F16>([=](size_t output) { return rf8_value(codes[16 * row + output]); });
}

}  // namespace regc::kernels::generic

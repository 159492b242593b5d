// Decoding packed codes, the arithmetic of it: the same on the device and on the host. What the codes mean is told by
// runtime_ops/formats.
#pragma once

#include "cuda/device.h"
#include "cuda/products.h"

namespace regc::cuda {

// The four bytes of a word less the four of another, each modulo 256; no byte of `b` may be above 127.
REGC_HD uint32_t bytes_minus(uint32_t a, uint32_t b) {
  constexpr uint32_t kTop = 0x80808080U;
  return ((a | kTop) - b) ^ (~a & kTop);
}

// The fields of a word of ternary codes, which are a row of a block: byte j of field[p] is trit + 1 of input 4 * p + j.
struct TwoBits {
  static constexpr int kInputs = 16;
  static constexpr int kSteps = 4;
  REGC_HD static void fields(uint32_t word, uint32_t (&field)[kSteps]) {
#pragma unroll
    for (int p = 0; p < kSteps; ++p) field[p] = word >> 2 * p & 0x03030303U;
  }
};

// Digits of fractions f / 256 in base 3: each is the high byte of 3 * f, whose low byte is the fraction of the rest.
struct FiveTrits {
  static constexpr int kInputs = 20;
  static constexpr int kSteps = 5;
  REGC_HD static void fields(uint32_t word, uint32_t (&field)[kSteps]) {
    constexpr uint32_t kLow = 0x00FF00FFU;
    uint32_t even = word & kLow;
    uint32_t odd = word >> 8 & kLow;
#pragma unroll
    for (int p = 0; p < kSteps; ++p) {
      even *= 3;
      odd *= 3;
      field[p] = (even >> 8 & kLow) | (odd & ~kLow);
      even &= kLow;
      odd &= kLow;
    }
  }
};

// multiplier * trit as signed bytes, of four fields 0 to 2 and a multiplier of at most 64.
REGC_HD uint32_t ternary_levels(uint32_t field, uint32_t multiplier) {
  return bytes_minus(field * multiplier, multiplier * 0x01010101U);
}

// Two RF8 codes s EEEE RRR in the low bytes of the halves of a word, and their residuals in nibbles 0 and 2 of
// `residuals` (other bits of the nibbles 0 to 3 clear), as two float16 s 0EEEE ffff000000; what E = 0 stands for is
// denormal, and has to be flushed to zero.
//
// In units of 2^-10 of the significand the pattern is 128 * code + 64 * (f - 2 R), and the sign one place higher.
// f - 2 R is between -2 and 2 and looked up with 2 added to it, which zero nibbles add to the other bytes, too.
REGC_DEVICE uint32_t rf8_halves(uint32_t codes, uint32_t residuals) {
  const uint32_t correction = permute(0x00000102U, 0x03040402U, residuals);
  return (2 * (codes + (codes & 0x00800080U)) + correction - 0x02020202U) << 6;
}

// The codes of a word, two by two, as float16.
REGC_DEVICE void rf8_halves_of(uint32_t word, uint32_t (&halves)[2]) {
  const uint32_t residuals = word & 0x07070707U;
  halves[0] = flushed(rf8_halves(permute(word, 0, 0x4140), residuals & 0xFFFFU));
  halves[1] = flushed(rf8_halves(permute(word, 0, 0x4342), residuals >> 16));
}

// The value of one RF8 code.
REGC_DEVICE float rf8_value(uint32_t code) {
  return half_to_float(static_cast<uint16_t>(flushed(rf8_halves(code, code & 7U)) & 0xFFFFU));
}

// The group of a block of a tile, among those of all tiles. Weights have less than 2^32 blocks a row, and 64-bit
// division takes several times as long.
REGC_HD size_t group_of(const Weight& w, size_t tile, size_t block) {
  return tile * w.groups + static_cast<uint32_t>(block) / static_cast<uint32_t>(w.group_blocks);
}

// The byte of an RF8 block that holds a weight of it.
REGC_HD size_t rf8_place(size_t output, size_t input) {
  return output / 4 * 16 + input / 2 * 8 + output % 4 * 2 + input % 2;
}

}  // namespace regc::cuda

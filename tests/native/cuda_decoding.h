// Decoding (cuda/decode.h): every code, alone and beside others.
#pragma once

#include "cuda/decode.h"
#include "cuda_defined.h"

namespace regc::test {

inline void check_decoding() {
  for (uint32_t code = 0; code < 256; ++code) {
    if (cuda::rf8_value(code) != rf8_defined(code)) fail("rf8_value");
    uint32_t halves[2];
    cuda::rf8_halves_of(code | 0x38U << 8 | (255 - code) << 16 | code << 24, halves);
    const uint32_t parts[4] = {code, 0x38, 255 - code, code};
    for (int i = 0; i < 4; ++i)
      if (cuda::half_to_float(static_cast<uint16_t>(halves[i / 2] >> 16 * (i % 2))) != rf8_defined(parts[i]))
        fail("rf8_halves");
    uint32_t two[4];
    uint32_t five[5];
    const uint32_t word = code | (255 - code) << 8 | code << 16 | 7 * code % 256 << 24;
    cuda::TwoBits::fields(word, two);
    cuda::FiveTrits::fields(word, five);
    for (int j = 0; j < 4; ++j) {
      uint32_t fraction = word >> 8 * j & 255;
      for (int p = 0; p < 4; ++p)
        if ((two[p] >> 8 * j & 255) != (fraction >> 2 * p & 3)) fail("TwoBits");
      for (int p = 0; p < 5; ++p, fraction = 3 * fraction % 256)
        if ((five[p] >> 8 * j & 255) != 3 * fraction / 256) fail("FiveTrits");
    }
    for (uint32_t multiplier = 0; multiplier <= kernels::kMaxMultiplier; ++multiplier) {
      const uint32_t levels = cuda::ternary_levels(0x02010002U, multiplier);
      const int expected[4] = {1, -1, 0, 1};
      for (int j = 0; j < 4; ++j)
        if (static_cast<int8_t>(levels >> 8 * j) != expected[j] * static_cast<int>(multiplier)) fail("ternary_levels");
    }
  }
}

}  // namespace regc::test

// What packed codes mean, by the layouts of runtime_ops/formats: written to be read, apart from cuda/decode.h.
#pragma once

#include "problems.h"

namespace regc::test {

// The value of an RF8 code as runtime_ops/formats/rf8.py defines it.
inline float rf8_defined(unsigned code) {
  constexpr int kFractions[8] = {0, 1, 2, 4, 8, 12, 14, 15};
  const int exponent = static_cast<int>(code >> 3 & 15);
  if (exponent == 0) return 0;
  const float magnitude = std::ldexp(1.0F + static_cast<float>(kFractions[code & 7]) / 16, exponent - 15);
  return code < 128 ? magnitude : -magnitude;
}

// The level of a weight, multiplier times trit, by the layouts of runtime_ops/formats.
inline float ternary_defined(const kernels::Matrix& w, size_t block, size_t n, size_t k) {
  const size_t unit = (n / kTile * w.blocks + k / block) * kernels::kUnit + n % kTile * 4 + k % block % 4;
  uint32_t fraction = w.codes[unit];
  const size_t step = k % block / 4;
  for (size_t i = 0; block == kernels::kTernary5Block && i < step; ++i) fraction = 3 * fraction % 256;
  const uint32_t field = block == kernels::kTernaryBlock ? fraction >> 2 * step & 3 : 3 * fraction / 256;
  const size_t group = k / block / w.group_blocks;
  const uint8_t multiplier = w.multiplier[(n / kTile * w.groups + group) * kTile + n % kTile];
  return static_cast<float>((static_cast<int>(field) - 1) * multiplier);
}

// A value of a sparse or gated weight.
inline float stored(const uint8_t* values, size_t i, bool coded) {
  return coded ? rf8_defined(values[i]) : reinterpret_cast<const float*>(values)[i];
}

}  // namespace regc::test

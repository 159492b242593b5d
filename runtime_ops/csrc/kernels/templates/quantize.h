// Rows of float32 to int8, in plain loops that the compiler vectorizes for each instruction set.
#pragma once

namespace regc::kernels::REGC_ISA {

REGC_INLINE uint32_t float_bits(float v) {
  uint32_t word;
  std::memcpy(&word, &v, sizeof(word));
  return word;
}

// The largest magnitude; infinite with a NaN among the values, whose bit pattern sorts above infinity's.
REGC_INLINE float row_peak(const float* x, size_t count) {
  constexpr int32_t kInfinity = 0x7F800000;
  int32_t peak = 0;
  for (size_t k = 0; k < count; ++k) {
    const int32_t magnitude = static_cast<int32_t>(float_bits(x[k]) & 0x7FFFFFFFU);
    peak = magnitude > peak ? magnitude : peak;
  }
  peak = peak < kInfinity ? peak : kInfinity;
  float value;
  std::memcpy(&value, &peak, sizeof(value));
  return value;
}

// rint(x * inverse), half to even, for |x * inverse| <= 127: the sum with 1.5 * 2^23 rounds to an integer and
// leaves it in the low byte of the pattern.
REGC_INLINE void round_row(const float* x, size_t count, float inverse, uint8_t flip, uint8_t* q) {
  constexpr float kRounder = 12582912.0F;
  for (size_t k = 0; k < count; ++k) {
    const float level = x[k] * inverse;
    q[k] = static_cast<uint8_t>(float_bits(level + kRounder) ^ flip);
  }
}

REGC_INLINE void sum_groups(const uint8_t* q, const QuantizeTask& task, int32_t* sums) {
  for (size_t g = 0; g < task.groups; ++g) {
    const size_t end = min_of((g + 1) * task.group, task.inputs);
    int32_t sum = 0;
    for (size_t k = g * task.group; k < end; ++k) sum += static_cast<int8_t>(q[k]);
    sums[g] = sum;
  }
}

inline void quantize(const QuantizeTask& task) {
  constexpr float kTiny = 1e-30F;
  for (size_t row = 0; row < task.rows; ++row) {
    const float* x = task.x + row * task.inputs;
    uint8_t* q = task.q + row * task.padded;
    const float peak = row_peak(x, task.inputs);
    const float amax = peak > kTiny ? peak : kTiny;
    const float inverse = 127.0F / amax;
    task.row_scale[row] = amax / 127.0F;
    // 127 / infinity is 0, and infinity * 0 is NaN: such a row is all zeros and its infinite scale makes the
    // result NaN.
    const size_t rounded = inverse > 0 ? task.inputs : 0;
    round_row(x, rounded, inverse, task.flip, q);
    std::memset(q + rounded, task.flip, task.padded - rounded);
    if (task.sums != nullptr) sum_groups(q, task, task.sums + row * task.groups);
  }
}

}  // namespace regc::kernels::REGC_ISA

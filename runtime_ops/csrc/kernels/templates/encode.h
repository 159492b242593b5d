// From float32 to RF8; passes/rf8/fit.py has the rule, in which thresholds are integers: those of the 23 bits of a
// significand. Plain loops: the compiler turns them into vectors of the instruction set.
#pragma once

#include <cstring>

#include "kernels/kernels.h"

namespace regc::kernels::REGC_ISA {

constexpr int32_t kFraction = 0x7FFFFF;
constexpr int32_t kLeastMember = (127 - 14) << 23;  // 2**-14, the least but zero, as the bits of a float
constexpr int32_t kHalfLeast = (127 - 15) << 23;    // up to here a magnitude goes to zero
constexpr int32_t kMostMember = (127 << 23) | 0x700000;
constexpr int32_t kLeastCode = 8;
constexpr int32_t kMostCode = 15 << 3 | 6;

REGC_INLINE int32_t bits_of(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// The member nearest to a magnitude, either of two where it lies in the middle. Those of an octave are the multiples of
// 1/16 up to 1.125, of 1/4 from 1.25 to 1.75, and of 1/8 elsewhere, and each of these ranges ends at members.
REGC_INLINE float nearest_member(float magnitude) {
  const int32_t bits = bits_of(magnitude);
  const int32_t fraction = bits & kFraction;
  int32_t half_step = (fraction >= 0x200000) & (fraction < 0x600000) ? 1 << 20 : 1 << 19;
  half_step = fraction < 0x100000 ? 1 << 18 : half_step;
  int32_t member = (bits + half_step) & -2 * half_step;
  member = member < kLeastMember ? kLeastMember : member;
  member = member > kMostMember ? kMostMember : member;
  member = bits > kHalfLeast ? member : 0;
  float value;
  std::memcpy(&value, &member, sizeof(value));
  return value;
}

// Sixteen sums, whatever the width of a vector, so that all instruction sets find the same.
inline void rf8_judge(const JudgeTask& task) {
  for (size_t step = 0; step < task.steps; ++step) {
    float sums[kJudged] = {};
    const float factor = task.factors[step];
    for (size_t k = 0; k < task.count; k += kJudged) {
      for (size_t i = 0; i < kJudged; ++i) {
        const float scaled = task.x[k + i] * factor;
        const float missed = nearest_member(scaled) - scaled;
        sums[i] += missed * missed;
      }
    }
    double total = 0;
    for (const float sum : sums) total += static_cast<double>(sum);
    task.errors[step] = total;
  }
}

inline void rf8_codes(const CodesTask& task) {
  // Copies, for a byte that is written might be one of the task's own: no loop over those becomes vectors.
  const float* x = task.x;
  uint8_t* codes = task.codes;
  const size_t count = task.count;
  const float scale = task.scale;
  int32_t threshold[kResiduals];
  std::memcpy(threshold, task.thresholds, sizeof(threshold));
  for (size_t i = 0; i < count; ++i) {
    const int32_t bits = bits_of(x[i] / scale);
    const int32_t magnitude = bits & 0x7FFFFFFF;
    int32_t residual = 0;
    for (const int32_t least : threshold) residual += (bits & kFraction) >= least ? 1 : 0;
    residual += residual == 7 ? 1 : 0;  // the next octave
    int32_t code = ((magnitude >> 23) - (127 - 15)) * 8 + residual;
    code = code < kLeastCode ? kLeastCode : code;
    code = code > kMostCode ? kMostCode : code;
    code |= bits >> 24 & 0x80;
    codes[i] = static_cast<uint8_t>(magnitude > kHalfLeast ? code : 0);
  }
}

}  // namespace regc::kernels::REGC_ISA

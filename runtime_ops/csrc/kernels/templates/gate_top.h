// A gate for a number of inputs: of each row those of the largest score |x * norm| pass, of equal scores the first.
//
// The least score that passes is found bit by bit, from the highest down: floats that are not negative are ordered as
// their bits are. Each bit takes one count over all scores, without a branch, and mostly about twenty of them leave
// exactly the wanted number. 5632 inputs of which half pass take 9 us on AVX-512 (a threshold 6) and 11 on AVX2;
// std::nth_element takes 38, and 47 with places beside the scores, which tell equal ones apart.
#pragma once

namespace regc::kernels::REGC_ISA {

// NaN counts as infinity.
REGC_INLINE float score_of(float x, float norm) {
  const float score = std::fabs(x * norm);
  return score < INFINITY ? score : INFINITY;
}

REGC_INLINE size_t count_from(const float* score, size_t inputs, float least) {
  uint32_t count = 0;
  for (size_t k = 0; k < inputs; ++k) count += score[k] >= least ? 1U : 0U;
  return count;
}

// The least score that passes. Of inputs that share it, those behind the first `active` ones get a score below it.
REGC_INLINE float select_top(float* score, size_t inputs, size_t active) {
  float least = 0;
  size_t passing = inputs;
  uint32_t bits = 0;
  for (uint32_t bit = 1U << 30; bit != 0 && passing > active; bit >>= 1) {
    const uint32_t wanted_bits = bits | bit;
    float wanted;
    std::memcpy(&wanted, &wanted_bits, sizeof(wanted));
    const size_t count = count_from(score, inputs, wanted);
    if (count < active) continue;
    bits = wanted_bits;
    least = wanted;
    passing = count;
  }
  for (size_t k = inputs; passing > active;) {
    --k;
    const bool surplus = score[k] == least;
    score[k] = surplus ? -1.0F : score[k];
    passing -= surplus ? 1 : 0;
  }
  return least;
}

// Scores lie where the results go: an input is written at its own place or at an earlier one.
inline void gate_top(const GateTask& task) {
  const GatedMatrix& w = *task.weight;
  for (size_t row = 0; row < task.rows; ++row) {
    const size_t first = row * w.inputs;
    const float* x = task.x + first;
    float* score = (task.kept != nullptr ? task.kept : task.gated) + first;
    for (size_t k = 0; k < w.inputs; ++k) score[k] = score_of(x[k], w.norms[k]);
    const float least = select_top(score, w.inputs, w.active);
    for (size_t k = 0; task.gated != nullptr && k < w.inputs; ++k)
      task.gated[first + k] = score[k] < least ? 0.0F : x[k];
    size_t count = 0;
    for (size_t k = 0; task.kept != nullptr && k < w.inputs; ++k) {
      const size_t passes = score[k] < least ? 0 : 1;
      task.kept[first + count] = x[k];
      task.place[first + count] = static_cast<uint32_t>(k);
      count += passes;
    }
    if (task.kept != nullptr) task.count[row] = count;
  }
}

}  // namespace regc::kernels::REGC_ISA

// Which inputs of each row of x pass a gate for a number of them. A block of threads a row.
//
// As on the CPU the least score that passes is found bit by bit, from the highest down, by one count over the row for
// each. The place of the last input that passes of those that share it is found in the same way.
#pragma once

#include "cuda/chain.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kCutThreads = 256;  // at most: each count ends with all of them at a barrier

struct CutArgs {
  ChainArgs chain;
  Cut* cuts;  // [rows]
};

// How many inputs of a row are what `counts(k, score)` asks for, in all threads.
template <class Function>
REGC_DEVICE uint32_t count_inputs(const ChainArgs& a, size_t row, uint32_t* shared, const Function& counts) {
  const Weight& w = a.weight;
  uint32_t count = 0;
  for (size_t k = threadIdx.x; k < w.inputs; k += blockDim.x)
    count += counts(k, score_of(w, k, load_element(a.in.x, row * w.inputs + k, a.in.type))) ? 1U : 0U;
  return block_sum(count, shared);
}

REGC_LAUNCHED(kCutThreads) cut_rows(CutArgs a) {
  REGC_SHARED(uint32_t, shared, kWarp);
  const Weight& w = a.chain.weight;
  const size_t row = blockIdx.x;
  size_t passing = w.inputs;
  uint32_t bits = 0;
  for (uint32_t bit = 1U << 30; bit != 0 && passing > w.active; bit >>= 1) {
    const float wanted = bits_float(bits | bit);
    const uint32_t count = count_inputs(a.chain, row, shared, [=](size_t, float score) { return score >= wanted; });
    if (count < w.active) continue;
    bits |= bit;
    passing = count;
  }
  const float least = bits_float(bits);
  uint32_t last = static_cast<uint32_t>(w.inputs - 1);
  if (passing > w.active) {
    const uint32_t equal = count_inputs(a.chain, row, shared, [=](size_t, float score) { return score == least; });
    const size_t wanted = w.active + equal - passing;  // of the inputs of this score
    last = 0;
    for (uint32_t bit = 1U << 31; bit != 0; bit >>= 1) {
      const uint32_t place = last | bit;
      if (place >= w.inputs) continue;
      const uint32_t before = count_inputs(a.chain, row, shared,
                                           [=](size_t k, float score) { return score == least && k < place; });
      if (before < wanted) last = place;
    }
  }
  if (threadIdx.x == 0) a.cuts[row] = {least, last};
}

}  // namespace regc::cuda

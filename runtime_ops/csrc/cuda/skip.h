// A few rows of weights that are not read as a whole: kept blocks, and inputs that pass a gate.
#pragma once

#include "cuda/chain.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kSkipThreads = 512;
constexpr unsigned kSkipWarps = kSkipThreads / kWarp;

// Block-sparse: a block of threads has a tile, in which a warp adds up two kept inputs of sixteen outputs at a time.
template <bool kCoded>
REGC_LAUNCHED(kSkipThreads) sparse_rows(ChainArgs a) {
  using Blocks = SparseChain<kCoded>;
  REGC_SHARED(float, parts, kSkipWarps* kTile);
  const size_t tile = blockIdx.x;
  const size_t row = blockIdx.y;
  const unsigned output = threadIdx.x % kTile;
  const size_t count = Blocks::count(a.weight, tile);
  float sum = 0;
#pragma unroll 4
  for (size_t i = threadIdx.x / kTile; i < count; i += kSkipThreads / kTile)
    sum = fmaf(Blocks::weight(a.weight, tile, i, output), activation<Blocks>(a, tile, row, i), sum);
  sum = sum_lanes(sum, kTile);
  if (threadIdx.x % kWarp < kTile) parts[threadIdx.x / kWarp * kTile + output] = sum;
  __syncthreads();
  if (threadIdx.x >= kTile || tile * kTile + output >= a.weight.outputs) return;
  float total = 0;
  for (unsigned warp = 0; warp < kSkipWarps; ++warp) total += parts[warp * kTile + output];
  finish(a.weight, a.out, row, tile * kTile + output, total);
}

constexpr unsigned kLaneOutputs = 2;
constexpr unsigned kGatedOutputs = kWarp * kLaneOutputs;  // of a block of threads

// Two neighbouring weights; `i` is even.
template <bool kCoded>
REGC_DEVICE void two_values(const Weight& w, size_t i, float (&value)[2]) {
  if (kCoded) {
    const uint32_t codes = reinterpret_cast<const uint16_t*>(w.codes)[i / 2];
    const uint32_t halves = flushed(rf8_halves(permute(codes, 0, 0x4140), codes & 0x0707U));
    value[0] = half_to_float(static_cast<uint16_t>(halves & 0xFFFFU));
    value[1] = half_to_float(static_cast<uint16_t>(halves >> 16));
  } else {
    value[0] = reinterpret_cast<const float*>(w.codes)[i];
    value[1] = reinterpret_cast<const float*>(w.codes)[i + 1];
  }
}

// Gated: a block of threads has 64 outputs of one row. Each lane of a warp looks at one of 32 inputs; those that pass
// are multiplied by the whole warp, and the weights of the others are not read.
template <bool kCoded>
REGC_LAUNCHED(kSkipThreads) gated_rows(ChainArgs a) {
  REGC_SHARED(float, parts, kSkipWarps* kGatedOutputs);
  const Weight& w = a.weight;
  const size_t row = blockIdx.y;
  const unsigned lane = threadIdx.x % kWarp;
  const size_t padded = (w.outputs + kTile - 1) / kTile * kTile;
  const size_t first = blockIdx.x * kGatedOutputs + lane * kLaneOutputs;
  float sum[kLaneOutputs] = {};
  for (size_t begin = threadIdx.x / kWarp * kWarp; begin < w.inputs; begin += kSkipThreads) {
    const size_t k = begin + lane;
    const float x = k < w.inputs ? load_element(a.in.x, row * w.inputs + k, a.in.type) : 0.0F;
    unsigned left = __ballot_sync(0xFFFFFFFFU, k < w.inputs && passes(w, k, x));
    while (left != 0) {
      const unsigned next = __ffs(static_cast<int>(left)) - 1;
      left &= left - 1;
      const float activation = __shfl_sync(0xFFFFFFFFU, x, next);
      if (first >= padded) continue;
      float value[kLaneOutputs];
      two_values<kCoded>(w, (begin + next) * padded + first, value);
#pragma unroll
      for (unsigned i = 0; i < kLaneOutputs; ++i) sum[i] = fmaf(value[i], activation, sum[i]);
    }
  }
#pragma unroll
  for (unsigned i = 0; i < kLaneOutputs; ++i)
    parts[threadIdx.x / kWarp * kGatedOutputs + lane * kLaneOutputs + i] = sum[i];
  __syncthreads();
  const size_t output = blockIdx.x * kGatedOutputs + threadIdx.x;
  if (threadIdx.x >= kGatedOutputs || output >= w.outputs) return;
  float total = 0;
  for (unsigned warp = 0; warp < kSkipWarps; ++warp) total += parts[warp * kGatedOutputs + threadIdx.x];
  finish(w, a.out, row, output, total);
}

}  // namespace regc::cuda

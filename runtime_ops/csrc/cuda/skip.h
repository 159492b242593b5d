// A few rows of weights that are not read as a whole: kept blocks, and inputs that pass a gate. As in stream.h, several
// loads are on their way at a time: here a thread asks for all that it needs for some inputs before it multiplies.
#pragma once

#include "cuda/chain.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kSkipThreads = 512;
constexpr unsigned kSkipWarps = kSkipThreads / kWarp;
constexpr unsigned kTogether = 4;     // inputs
constexpr unsigned kLaneOutputs = 4;

// Four neighbouring weights from a multiple of four on, as they are stored.
template <bool kCoded>
struct Four;
template <>
struct Four<false> {
  Word4 bits;
  REGC_DEVICE static Four load(const Weight& w, size_t i) {
    return {load_16(reinterpret_cast<const float*>(w.codes) + i)};
  }
  REGC_DEVICE void values(float (&value)[4]) const {
    value[0] = bits_float(bits.x);
    value[1] = bits_float(bits.y);
    value[2] = bits_float(bits.z);
    value[3] = bits_float(bits.w);
  }
};
template <>
struct Four<true> {
  uint32_t bits;
  REGC_DEVICE static Four load(const Weight& w, size_t i) { return {load_4(w.codes + i)}; }
  REGC_DEVICE void values(float (&value)[4]) const {
    uint32_t halves[2];
    rf8_halves_of(bits, halves);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      value[i] = half_to_float(static_cast<uint16_t>(halves[i / 2] >> 16 * (i % 2) & 0xFFFFU));
  }
};

template <bool kCoded>
REGC_DEVICE void add_weighted(const Four<kCoded>& weights, float x, float (&sum)[kLaneOutputs]) {
  float value[4];
  weights.values(value);
#pragma unroll
  for (unsigned j = 0; j < kLaneOutputs; ++j) sum[j] = fmaf(value[j], x, sum[j]);
}

// Block-sparse: a block of threads has a tile, in which a warp adds up eight kept inputs of sixteen outputs at a time,
// a lane four of these.
template <bool kCoded, class X>
REGC_LAUNCHED(kSkipThreads) sparse_rows(ChainArgs a) {
  using Blocks = SparseChain<kCoded>;
  constexpr size_t kLanes = kTile / kLaneOutputs;       // of an input
  constexpr size_t kStep = kSkipThreads / kLanes;       // inputs of a turn
  REGC_SHARED(float, parts, kSkipWarps * kTile);
  const size_t tile = blockIdx.x;
  const size_t row = blockIdx.y;
  const unsigned quad = threadIdx.x % kLanes;
  const size_t begin = Blocks::first(a.weight, tile) << a.weight.block_log2;
  const size_t count = Blocks::count(a.weight, tile);
  float sum[kLaneOutputs] = {};
  for (size_t first = threadIdx.x / kLanes; first < count; first += kTogether * kStep) {
    Four<kCoded> weights[kTogether];
    float x[kTogether];
#pragma unroll
    for (unsigned n = 0; n < kTogether; ++n) {
      const size_t wanted = first + n * kStep;
      const size_t i = wanted < count ? wanted : first;
      const size_t k = Blocks::place(a.weight, tile, i);
      weights[n] = Four<kCoded>::load(a.weight, (begin + i) * kTile + kLaneOutputs * quad);
      x[n] = X::one(a.in, row * a.weight.inputs + (k < a.weight.inputs ? k : 0));
      if (k >= a.weight.inputs) x[n] = 0;
    }
#pragma unroll
    for (unsigned n = 0; n < kTogether; ++n)
      if (first + n * kStep < count) add_weighted(weights[n], x[n], sum);
  }
#pragma unroll
  for (unsigned j = 0; j < kLaneOutputs; ++j) {
    const float part = sum_lanes(sum[j], kLanes);
    if (threadIdx.x % kWarp < kLanes) parts[threadIdx.x / kWarp * kTile + kLaneOutputs * quad + j] = part;
  }
  __syncthreads();
  const size_t output = tile * kTile + threadIdx.x;
  if (threadIdx.x >= kTile || output >= a.weight.outputs) return;
  float total = 0;
  for (unsigned warp = 0; warp < kSkipWarps; ++warp) total += parts[warp * kTile + threadIdx.x];
  finish(a.weight, a.out, row, output, total);
}

constexpr unsigned kGatedOutputs = kWarp * kLaneOutputs;  // of a block of threads

struct GatedArgs {
  ChainArgs chain;
  size_t part_inputs;  // of a block of threads: blockIdx.z tells which; a multiple of kWarp
  float* parts;        // sums [parts][rows][outputs] where there are several parts; else null
};

// Gated: a block of threads has 128 outputs of one row. Each lane of a warp looks at one of 32 inputs; those that pass
// are multiplied by the whole warp, and the weights of the others are not read.
template <bool kCoded, class X>
REGC_LAUNCHED(kSkipThreads) gated_rows(GatedArgs a) {
  REGC_SHARED(float, parts, kSkipWarps * kGatedOutputs);
  const Weight& w = a.chain.weight;
  const size_t row = blockIdx.y;
  const unsigned lane = threadIdx.x % kWarp;
  const size_t padded = (w.outputs + kTile - 1) / kTile * kTile;
  const size_t wanted = blockIdx.x * kGatedOutputs + lane * kLaneOutputs;
  const size_t first = wanted < padded ? wanted : 0;  // of outputs that are none nothing is stored
  const size_t begin_part = blockIdx.z * a.part_inputs;
  const size_t end = w.inputs - begin_part < a.part_inputs ? w.inputs : begin_part + a.part_inputs;
  float sum[kLaneOutputs] = {};
  for (size_t begin = begin_part + threadIdx.x / kWarp * kWarp; begin < end; begin += kSkipThreads) {
    const size_t k = begin + lane;
    const float x = k < end ? X::one(a.chain.in, row * w.inputs + k) : 0.0F;
    unsigned left = __ballot_sync(0xFFFFFFFFU, k < end && passes(w, row, k, x));
    while (left != 0) {
      const int count = __popc(left);
      Four<kCoded> weights[kTogether];
      float activation[kTogether];
#pragma unroll
      for (unsigned n = 0; n < kTogether; ++n) {
        const unsigned next = left != 0 ? __ffs(static_cast<int>(left)) - 1 : 0;
        left &= left - 1;
        activation[n] = __shfl_sync(0xFFFFFFFFU, x, next);
        weights[n] = Four<kCoded>::load(w, (begin + next) * padded + first);
      }
#pragma unroll
      for (unsigned n = 0; n < kTogether; ++n)
        if (static_cast<int>(n) < count) add_weighted(weights[n], activation[n], sum);
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
  if (a.parts != nullptr) {
    a.parts[(blockIdx.z * a.chain.rows + row) * w.outputs + output] = total;
  } else {
    finish(w, a.chain.out, row, output, total);
  }
}

}  // namespace regc::cuda

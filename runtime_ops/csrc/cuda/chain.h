// Exact float32: every output is one chain of fused multiply-adds over ascending inputs, as on the CPU, bit for bit.
// For what split.h and stream.h do not take: many rows on devices without tiles of bfloat16, few that are not in fours.
// A block of threads has a tile of sixteen outputs and kChainRows rows; a thread one output of eight of them.
#pragma once

#include "cuda/decode.h"
#include "cuda/elements.h"

namespace regc::cuda {

constexpr unsigned kChainThreads = 256;
constexpr size_t kThreadRows = 8;
constexpr size_t kChainRows = kChainThreads / kTile * kThreadRows;
constexpr size_t kChainSlice = 32;             // inputs that lie in shared memory at a time
constexpr size_t kChainPitch = kChainRows + 4;  // in shared memory, of the rows of an input

struct ChainArgs {
  Weight weight;
  Input in;
  Out out;
  size_t rows;
};

REGC_DEVICE float value_of(const Weight& w, size_t i, bool coded) {
  return coded ? rf8_value(w.codes[i]) : reinterpret_cast<const float*>(w.codes)[i];
}

// A format has the inputs that count() for a tile, place() in x of the i-th, its weight() of output 16 * tile + r, and
// gated(), what becomes of an activation. A weight is a sum of kPieces of bfloat16, or near enough: see split.h.

template <class Codes>
struct TernaryChain {
  static constexpr int kPieces = 1;
  REGC_DEVICE static size_t count(const Weight& w, size_t) { return w.inputs; }
  REGC_DEVICE static size_t place(const Weight&, size_t, size_t i) { return i; }
  REGC_DEVICE static float gated(const Weight&, size_t, size_t, float x) { return x; }
  REGC_DEVICE static float weight(const Weight& w, size_t tile, size_t i, size_t r) {
    const uint32_t block = static_cast<uint32_t>(i) / Codes::kInputs;
    const uint32_t input = static_cast<uint32_t>(i) % Codes::kInputs;
    const uint32_t code = w.codes[(tile * w.blocks + block) * kUnit + r * 4 + input % 4];
    uint32_t field[Codes::kSteps];
    Codes::fields(code, field);
    int trit = 0;
#pragma unroll
    for (int p = 0; p < Codes::kSteps; ++p)
      if (input / 4 == static_cast<uint32_t>(p)) trit = static_cast<int>(field[p] & 3U) - 1;
    const int multiplier = w.multiplier[group_of(w, tile, block) * kTile + r];
    return static_cast<float>(trit * multiplier);
  }
};

struct RF8Chain {
  static constexpr int kPieces = 1;
  REGC_DEVICE static size_t count(const Weight& w, size_t) { return w.inputs; }
  REGC_DEVICE static size_t place(const Weight&, size_t, size_t i) { return i; }
  REGC_DEVICE static float gated(const Weight&, size_t, size_t, float x) { return x; }
  REGC_DEVICE static float weight(const Weight& w, size_t tile, size_t i, size_t r) {
    return rf8_value(w.codes[(tile * w.blocks + i / 4) * kUnit + rf8_place(r, i % 4)]);
  }
};

template <bool kCoded>
struct SparseChain {
  static constexpr int kPieces = kCoded ? 1 : 2;
  REGC_DEVICE static size_t first(const Weight& w, size_t tile) { return static_cast<size_t>(w.start[tile]); }
  REGC_DEVICE static size_t count(const Weight& w, size_t tile) {
    return (static_cast<size_t>(w.start[tile + 1]) - first(w, tile)) << w.block_log2;
  }
  REGC_DEVICE static size_t place(const Weight& w, size_t tile, size_t i) {
    const auto column = static_cast<size_t>(w.index[first(w, tile) + (i >> w.block_log2)]);
    return (column << w.block_log2) + (i & ((size_t{1} << w.block_log2) - 1));
  }
  REGC_DEVICE static float gated(const Weight&, size_t, size_t, float x) { return x; }
  REGC_DEVICE static float weight(const Weight& w, size_t tile, size_t i, size_t r) {
    return value_of(w, ((first(w, tile) << w.block_log2) + i) * kTile + r, kCoded);
  }
};

// What an input counts in its row; NaN counts as infinity.
REGC_DEVICE float score_of(const Weight& w, size_t k, float x) {
  const float score = fabsf(x * w.norms[k]);
  const float infinity = bits_float(0x7F800000U);
  return score < infinity ? score : infinity;
}

// A NaN passes: it is not less than the threshold.
REGC_DEVICE bool passes(const Weight& w, size_t row, size_t k, float x) {
  if (w.cuts == nullptr) return !(fabsf(x) * w.norms[k] < *w.threshold);
  const Cut cut = w.cuts[row];
  const float score = score_of(w, k, x);
  return score > cut.least || (score == cut.least && k <= cut.last);
}

template <bool kCoded>
struct GatedChain {
  static constexpr int kPieces = kCoded ? 1 : 2;
  REGC_DEVICE static size_t count(const Weight& w, size_t) { return w.inputs; }
  REGC_DEVICE static size_t place(const Weight&, size_t, size_t i) { return i; }
  REGC_DEVICE static float gated(const Weight& w, size_t row, size_t k, float x) {
    return passes(w, row, k, x) ? x : 0.0F;
  }
  REGC_DEVICE static float weight(const Weight& w, size_t tile, size_t i, size_t r) {
    const size_t stride = (w.outputs + kTile - 1) / kTile * kTile;
    return value_of(w, i * stride + tile * kTile + r, kCoded);
  }
};

// The i-th activation that counts for a tile; zero beyond the inputs, in the last block of a sparse weight.
template <class Format>
REGC_DEVICE float activation(const ChainArgs& a, size_t tile, size_t row, size_t i) {
  const size_t k = Format::place(a.weight, tile, i);
  if (k >= a.weight.inputs) return 0.0F;
  return Format::gated(a.weight, row, k, load_element(a.in.x, row * a.weight.inputs + k, a.in.type));
}

// The chain of a single output, by one thread.
template <class Format>
REGC_DEVICE float chain_of(const ChainArgs& a, size_t tile, size_t row, size_t r) {
  const size_t count = Format::count(a.weight, tile);
  float sum = 0;
#pragma unroll 1
  for (size_t i = 0; i < count; ++i)
    sum = fmaf(Format::weight(a.weight, tile, i, r), activation<Format>(a, tile, row, i), sum);
  return sum;
}

template <class Format>
REGC_LAUNCHED(kChainThreads) chain(ChainArgs a) {
  REGC_SHARED(float, weights, kChainSlice* kTile);     // [inputs][kTile]
  REGC_SHARED(float, rows, kChainSlice* kChainPitch);  // [inputs][kChainPitch]
  const size_t tile = blockIdx.x;
  const size_t first_row = blockIdx.y * kChainRows;
  const unsigned output = threadIdx.x % kTile;
  const size_t mine = threadIdx.x / kTile * kThreadRows;
  const size_t count = Format::count(a.weight, tile);
  float sum[kThreadRows] = {};
  for (size_t begin = 0; begin < count; begin += kChainSlice) {
    const size_t slice = count - begin < kChainSlice ? count - begin : kChainSlice;
    for (size_t at = threadIdx.x; at < slice * kTile; at += kChainThreads)
      weights[at] = Format::weight(a.weight, tile, begin + at / kTile, at % kTile);
    for (size_t at = threadIdx.x; at < kChainSlice * kChainRows; at += kChainThreads) {
      const size_t i = at % kChainSlice;
      const size_t row = at / kChainSlice;
      if (i < slice && first_row + row < a.rows)
        rows[i * kChainPitch + row] = activation<Format>(a, tile, first_row + row, begin + i);
    }
    __syncthreads();
    if (first_row + mine < a.rows) {
      for (size_t i = 0; i < slice; ++i) {
        const float weight = weights[i * kTile + output];
#pragma unroll
        for (size_t r = 0; r < kThreadRows; ++r) sum[r] = fmaf(weight, rows[i * kChainPitch + mine + r], sum[r]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (size_t r = 0; r < kThreadRows; ++r) {
    const size_t row = first_row + mine + r;
    if (row < a.rows && tile * kTile + output < a.weight.outputs)
      finish(a.weight, a.out, row, tile * kTile + output, sum[r]);
  }
}

}  // namespace regc::cuda

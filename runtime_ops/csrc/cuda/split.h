// Many rows and float activations: tensor cores multiply activations and weights as sums of two bfloat16, which are as
// large as float32 gets. Two hold a float16 exactly and a float32 but for 2^-18 of it, one a bfloat16 and the value of
// any code; of products of float32 less than 2^-16 is left out. An infinity has no second piece that would do for all
// weights, and the largest float32 round to it: sums that are not finite are computed again, each by one thread.
//
// A block of threads has a tile of sixteen outputs, as only these have the inputs of a sparse weight in common. While
// one slice of inputs is multiplied, the next is on its way into registers, as in panel.h.
#pragma once

#include "cuda/chain.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kSplitThreads = 256;
constexpr size_t kSplitRows = kSplitThreads / kWarp * kTile;
constexpr size_t kSplitInputs = 32;                // of a slice
constexpr size_t kSplitPitch = kSplitInputs + 8;   // in shared memory; see Slabs of panel.h
constexpr int kRowPieces = 2;
constexpr size_t kRowsSplit = kSplitRows * kSplitPitch;   // elements in shared memory, of a piece
constexpr size_t kWeightsSplit = kTile * kSplitPitch;
constexpr unsigned kMyRows = kSplitRows * kSplitInputs / kSplitThreads;  // of a slice, values of a thread
constexpr unsigned kMyWeights = kTile * kSplitInputs / kSplitThreads;

// The next slice of a thread.
struct SplitAhead {
  float x[kMyRows];
  float weight[kMyWeights];
};

// A value as a sum; what is infinity or NaN as a bfloat16 is the first piece alone.
template <int kPieces>
REGC_DEVICE void split(float v, uint16_t (&piece)[kPieces]) {
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    piece[i] = float_to_bfloat16(v);
    v = (piece[i] & 0x7F80U) == 0x7F80U ? 0.0F : v - bfloat16_to_float(piece[i]);
  }
}

// Inputs from the begin-th on, of `count` that a tile has; a thread has one of them in all of its rows. X is Wide or
// Narrow.
template <class Format, class X>
REGC_DEVICE void load_split(const ChainArgs& a, size_t begin, size_t count, SplitAhead& ahead) {
  const size_t tile = blockIdx.x;
  const size_t input = begin + threadIdx.x % kSplitInputs;
  const size_t k = input < count ? Format::place(a.weight, tile, input) : a.weight.inputs;
  const size_t first = blockIdx.y * kSplitRows + threadIdx.x / kSplitInputs;
#pragma unroll
  for (unsigned i = 0; i < kMyRows; ++i) {
    const size_t row = first + i * (kSplitThreads / kSplitInputs);
    const bool there = k < a.weight.inputs && row < a.rows;
    ahead.x[i] = there ? Format::gated(a.weight, row, k, X::one(a.in, row * a.weight.inputs + k)) : 0.0F;
  }
#pragma unroll
  for (unsigned i = 0; i < kMyWeights; ++i) {
    const unsigned at = threadIdx.x + i * kSplitThreads;
    const size_t which = begin + at / kTile;
    ahead.weight[i] = which < count ? Format::weight(a.weight, tile, which, at % kTile) : 0.0F;
  }
}

// Into shared memory: [kRowPieces][kSplitRows][kSplitPitch], then [Format::kPieces][kTile][kSplitPitch].
template <class Format>
REGC_DEVICE void store_split(const SplitAhead& ahead, bfloat_t* slice) {
  const size_t row = threadIdx.x / kSplitInputs;
#pragma unroll
  for (unsigned i = 0; i < kMyRows; ++i) {
    uint16_t piece[kRowPieces];
    split(ahead.x[i], piece);
    const size_t at = (row + i * (kSplitThreads / kSplitInputs)) * kSplitPitch + threadIdx.x % kSplitInputs;
#pragma unroll
    for (int p = 0; p < kRowPieces; ++p) store_2(slice + p * kRowsSplit + at, piece[p]);
  }
#pragma unroll
  for (unsigned i = 0; i < kMyWeights; ++i) {
    const unsigned at = threadIdx.x + i * kSplitThreads;
    uint16_t piece[Format::kPieces];
    split(ahead.weight[i], piece);
#pragma unroll
    for (int p = 0; p < Format::kPieces; ++p)
      store_2(slice + kRowPieces * kRowsSplit + p * kWeightsSplit + at % kTile * kSplitPitch + at / kTile, piece[p]);
  }
}

#if REGC_BFLOAT_TILES
template <class Format>
REGC_DEVICE void multiply_split(const bfloat_t* slice, unsigned warp, TileC<bfloat_t>& sum) {
  const bfloat_t* weights = slice + kRowPieces * kRowsSplit;
#pragma unroll
  for (size_t k = 0; k < kSplitInputs; k += kTile) {
    TileA<bfloat_t> x[kRowPieces];
    TileB<bfloat_t> weight[Format::kPieces];
#pragma unroll
    for (int p = 0; p < kRowPieces; ++p)
      load_tile(x[p], slice + p * kRowsSplit + warp * kTile * kSplitPitch + k, kSplitPitch);
#pragma unroll
    for (int p = 0; p < Format::kPieces; ++p) load_tile(weight[p], weights + p * kWeightsSplit + k, kSplitPitch);
#pragma unroll
    for (int p = 0; p < kRowPieces; ++p) {
#pragma unroll
      for (int q = 0; q < Format::kPieces && p + q < kRowPieces; ++q) multiply_tiles(sum, x[p], weight[q]);
    }
  }
}
#endif

template <class Format, class X>
REGC_LAUNCHED(kSplitThreads) split_rows(ChainArgs a) {
#if REGC_BFLOAT_TILES
  constexpr size_t kSize = kRowPieces * kRowsSplit + Format::kPieces * kWeightsSplit;
  REGC_SHARED(bfloat_t, slices, 2 * kSize);
  const unsigned warp = threadIdx.x / kWarp;
  const size_t count = Format::count(a.weight, blockIdx.x);
  const size_t end = (count + kSplitInputs - 1) / kSplitInputs;
  TileC<bfloat_t> sum;
  clear_tile(sum);
  SplitAhead ahead;
  load_split<Format, X>(a, 0, count, ahead);
  store_split<Format>(ahead, slices);
  __syncthreads();
  for (size_t slice = 0; slice < end; ++slice) {
    const bfloat_t* now = slices + slice % 2 * kSize;
    const bool more = slice + 1 < end;
    if (more) load_split<Format, X>(a, (slice + 1) * kSplitInputs, count, ahead);
    multiply_split<Format>(now, warp, sum);
    // Nobody reads the other half any more: that was before the last barrier.
    if (more) store_split<Format>(ahead, slices + (slice + 1) % 2 * kSize);
    __syncthreads();
  }
  // The slices are done with: their memory takes the results.
  float* own = reinterpret_cast<float*>(slices) + warp * kTile * kTile;
  static_assert(kSplitRows * kTile * sizeof(float) <= 2 * kSize * sizeof(bfloat_t));
  store_tile(own, sum);
  __syncwarp();
  for (unsigned i = threadIdx.x % kWarp; i < kTile * kTile; i += kWarp) {
    const size_t row = blockIdx.y * kSplitRows + warp * kTile + i / kTile;
    const size_t output = blockIdx.x * kTile + i % kTile;
    if (row >= a.rows || output >= a.weight.outputs) continue;
    const bool finite = fabsf(own[i]) < bits_float(0x7F800000U);
    finish(a.weight, a.out, row, output, finite ? own[i] : chain_of<Format>(a, blockIdx.x, row, i % kTile));
  }
#else
  __trap();  // not launched, but where PTX for an older device is all that a library has
#endif
}

}  // namespace regc::cuda

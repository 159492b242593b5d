// Many rows: slices of rows and of decoded weights meet in shared memory and are multiplied by tensor cores. While
// one slice is multiplied, the next is on its way into registers, and from there into the other half of the memory.
#pragma once

#include "cuda/elements.h"
#include "cuda/panel_formats.h"
#include "cuda/warp.h"

namespace regc::cuda {

struct PanelArgs {
  Weight weight;
  const uint8_t* x;        // [rows][x_stride] int8 or halves, zeros beyond the inputs
  size_t x_stride;         // bytes, of whole slices
  const float* row_scale;  // [rows]; of sums in float32, for sum_parts(), null
  Out out;
  size_t rows;
  size_t part_count;
  size_t part_slices;  // of a block of threads: blockIdx.z tells which
  void* parts;         // sums [part_count][rows][outputs] for sum_parts() where there are several parts; else null
};

// kWarpsM x kWarpsN warps, each with kM x kN tiles of 16 x 16 results.
template <int kWarpsM, int kWarpsN, int kM, int kN>
struct Shape {
  static constexpr int kAlong = kWarpsN;
  static constexpr int kTilesM = kM;
  static constexpr int kTilesN = kN;
  static constexpr unsigned kThreads = kWarpsM * kWarpsN * kWarp;
  static constexpr size_t kRows = kWarpsM * kM * kTile;
  static constexpr size_t kOutputs = kWarpsN * kN * kTile;
};
using LargeShape = Shape<2, 4, 4, 2>;
using SmallShape = Shape<1, 4, 2, 1>;

// The shared memory of a slice of some rows, in slabs of some inputs, [slabs][rows][kPitch]. Warps read it in 16x16
// tiles, by eight pieces of 16 bytes of neighbouring rows at a time, which have to lie in different banks: pieces side
// by side, or 80 bytes apart. wmma wants tiles at multiples of 32 bytes, which leaves the first for int8 and the second
// for halves. The gap between slabs of int8 does the same for stores of neighbouring chunks of two rows.
template <class Format, size_t kRows>
struct Slabs {
  using Element = typename Format::Element;
  static constexpr bool kBytes = sizeof(Element) == 1;
  static constexpr size_t kInputs = kBytes ? 16 : Format::kInputs;  // of a slab
  static constexpr size_t kPitch = kBytes ? 16 : kInputs + 8;
  static constexpr size_t kStride = kRows * kPitch + (kBytes ? 32 : 0);  // elements
  static constexpr size_t kSize = Format::kInputs / kInputs * kStride;
  static_assert(kBytes || kPitch * sizeof(Element) == 80);

  REGC_DEVICE static size_t place(size_t row, size_t k) {
    return k / kInputs * kStride + row * kPitch + k % kInputs;
  }
};

// Registers that hold the next slice of a thread.
template <class Format, class S>
struct Ahead {
  static constexpr size_t kChunks = Format::kInputs * sizeof(typename Format::Element) / 16;  // of a row
  static constexpr size_t kMyChunks = (S::kRows * kChunks + S::kThreads - 1) / S::kThreads;
  static constexpr size_t kMyItems = (S::kOutputs / kTile * Format::kItems + S::kThreads - 1) / S::kThreads;
  Word4 x[kMyChunks];
  typename Format::Item codes[kMyItems];
};

template <class Format, class S>
REGC_DEVICE void load_slice(const PanelArgs& a, size_t first_row, size_t first_tile, size_t slice,
                            Ahead<Format, S>& ahead) {
  using A = Ahead<Format, S>;
#pragma unroll
  for (size_t i = 0; i < A::kMyChunks; ++i) {
    const size_t chunk = threadIdx.x + i * S::kThreads;
    const size_t row = first_row + chunk / A::kChunks;
    ahead.x[i] = Word4{0, 0, 0, 0};
    if (chunk < S::kRows * A::kChunks && row < a.rows)
      ahead.x[i] = load_16(a.x + row * a.x_stride + (slice * A::kChunks + chunk % A::kChunks) * 16);
  }
#pragma unroll
  for (size_t i = 0; i < A::kMyItems; ++i) {
    const size_t item = threadIdx.x + i * S::kThreads;
    if (item < S::kOutputs / kTile * Format::kItems)
      ahead.codes[i] = Format::load(a.weight, first_tile + item / Format::kItems, slice, item % Format::kItems);
  }
}

template <class Format, class S>
REGC_DEVICE void store_slice(const Ahead<Format, S>& ahead, typename Format::Element* rows,
                             typename Format::Element* weights) {
  using A = Ahead<Format, S>;
  constexpr size_t kInChunk = 16 / sizeof(typename Format::Element);
#pragma unroll
  for (size_t i = 0; i < A::kMyChunks; ++i) {
    const size_t chunk = threadIdx.x + i * S::kThreads;
    const size_t k = chunk % A::kChunks * kInChunk;
    if (chunk < S::kRows * A::kChunks)
      store_16(rows + Slabs<Format, S::kRows>::place(chunk / A::kChunks, k), ahead.x[i]);
  }
#pragma unroll
  for (size_t i = 0; i < A::kMyItems; ++i) {
    const size_t item = threadIdx.x + i * S::kThreads;
    const size_t first = item / Format::kItems * kTile;
    if (item < S::kOutputs / kTile * Format::kItems) {
      Format::store(ahead.codes[i], item % Format::kItems, [&](size_t n, size_t k) {
        return weights + Slabs<Format, S::kOutputs>::place(first + n, k);
      });
    }
  }
}

template <class Format, class S>
REGC_DEVICE void multiply_slice(const typename Format::Element* rows, const typename Format::Element* weights,
                                unsigned warp, TileC<typename Format::Element> (&sum)[S::kTilesM][S::kTilesN]) {
  using Element = typename Format::Element;
  using RowSlabs = Slabs<Format, S::kRows>;
  using OutputSlabs = Slabs<Format, S::kOutputs>;
  const size_t row = warp / S::kAlong * S::kTilesM * kTile;
  const size_t output = warp % S::kAlong * S::kTilesN * kTile;
#pragma unroll
  for (size_t k = 0; k < Format::kInputs; k += kTile) {
    TileA<Element> x[S::kTilesM];
    TileB<Element> w[S::kTilesN];
#pragma unroll
    for (int m = 0; m < S::kTilesM; ++m) load_tile(x[m], rows + RowSlabs::place(row + m * kTile, k), RowSlabs::kPitch);
#pragma unroll
    for (int n = 0; n < S::kTilesN; ++n) 
      load_tile(w[n], weights + OutputSlabs::place(output + n * kTile, k), OutputSlabs::kPitch);
#pragma unroll
    for (int m = 0; m < S::kTilesM; ++m) {
#pragma unroll
      for (int n = 0; n < S::kTilesN; ++n) multiply_tiles(sum[m][n], x[m], w[n]);
    }
  }
}

// The place of a sum among those of all parts.
REGC_DEVICE size_t part_place(const PanelArgs& a, size_t part, size_t row, size_t output) {
  return (part * a.rows + row) * a.weight.outputs + output;
}

// From the sums of a warp to outputs, or to its part of the sums, a tile at a time through memory of its own.
template <class Format, class S>
REGC_DEVICE void finish_tiles(const PanelArgs& a, size_t first_row, size_t first_output, typename Format::Sum* own,
                              TileC<typename Format::Element> (&sum)[S::kTilesM][S::kTilesN]) {
#pragma unroll
  for (int m = 0; m < S::kTilesM; ++m) {
#pragma unroll
    for (int n = 0; n < S::kTilesN; ++n) {
      __syncwarp();
      store_tile(own, sum[m][n]);
      __syncwarp();
      for (unsigned i = threadIdx.x % kWarp; i < kTile * kTile; i += kWarp) {
        const size_t row = first_row + m * kTile + i / kTile;
        const size_t output = first_output + n * kTile + i % kTile;
        if (row >= a.rows || output >= a.weight.outputs) continue;
        if (a.parts != nullptr) {
          static_cast<typename Format::Sum*>(a.parts)[part_place(a, blockIdx.z, row, output)] = own[i];
        } else {
          finish(a.weight, a.out, row, output, static_cast<float>(own[i]) * a.row_scale[row]);
        }
      }
    }
  }
}

template <class Format, class S>
REGC_LAUNCHED(S::kThreads) panel(PanelArgs a) {
  using Element = typename Format::Element;
  constexpr size_t kRowsSize = Slabs<Format, S::kRows>::kSize;
  constexpr size_t kSize = kRowsSize + Slabs<Format, S::kOutputs>::kSize;
  REGC_SHARED(Element, slices, 2 * kSize);
  const unsigned warp = threadIdx.x / kWarp;
  const size_t first_row = blockIdx.y * S::kRows;
  const size_t first_tile = blockIdx.x * (S::kOutputs / kTile);
  const size_t all = (a.weight.inputs + Format::kInputs - 1) / Format::kInputs;
  const size_t begin = blockIdx.z * a.part_slices;  // of slices, less than all of them
  const size_t end = all - begin < a.part_slices ? all : begin + a.part_slices;
  TileC<Element> sum[S::kTilesM][S::kTilesN];
#pragma unroll
  for (int m = 0; m < S::kTilesM; ++m) {
#pragma unroll
    for (int n = 0; n < S::kTilesN; ++n) clear_tile(sum[m][n]);
  }
  Ahead<Format, S> ahead;
  load_slice(a, first_row, first_tile, begin, ahead);
  store_slice(ahead, slices, slices + kRowsSize);
  __syncthreads();
  for (size_t slice = begin; slice < end; ++slice) {
    const Element* now = slices + (slice - begin) % 2 * kSize;
    Element* next = slices + (slice - begin + 1) % 2 * kSize;
    if (slice + 1 < end) load_slice(a, first_row, first_tile, slice + 1, ahead);
    multiply_slice<Format, S>(now, now + kRowsSize, warp, sum);
    // Nobody reads `next` any more: that was before the last barrier.
    if (slice + 1 < end) store_slice(ahead, next, next + kRowsSize);
    __syncthreads();
  }
  // The slices are done with: their memory takes the results.
  auto* results = reinterpret_cast<typename Format::Sum*>(slices);
  static_assert(S::kThreads / kWarp * kTile * kTile * sizeof(*results) <= 2 * kSize * sizeof(Element));
  finish_tiles<Format, S>(a, first_row + warp / S::kAlong * S::kTilesM * kTile,
                          first_tile * kTile + warp % S::kAlong * S::kTilesN * kTile,
                          results + warp * kTile * kTile, sum);
}

constexpr unsigned kPartThreads = 256;

// Adds the parts up, in the same order whatever the number of rows, and finishes.
template <class Sum>
REGC_LAUNCHED(kPartThreads) sum_parts(PanelArgs a) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kPartThreads + threadIdx.x;
  if (i >= a.rows * a.weight.outputs) return;
  const size_t row = i / a.weight.outputs;
  const size_t output = i % a.weight.outputs;
  const auto* parts = static_cast<const Sum*>(a.parts);
  Sum total = 0;
  for (size_t part = 0; part < a.part_count; ++part) total += parts[part_place(a, part, row, output)];
  const float scale = a.row_scale == nullptr ? 1.0F : a.row_scale[row];
  finish(a.weight, a.out, row, output, static_cast<float>(total) * scale);
}

}  // namespace regc::cuda

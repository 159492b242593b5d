// Many rows: slices of rows and of decoded weights meet in shared memory and are multiplied by tensor cores. While
// one slice is multiplied, the next is on its way into registers, and from there into the other half of the memory.
//
// A slice is held in slabs of sixteen inputs, [slabs][rows or outputs][16]: so every 16x16 tile is one piece, aligned
// as wmma demands, which a warp reads without bank conflicts.
#pragma once

#include "cuda/decode.h"
#include "cuda/elements.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr size_t kSlab = 16;
constexpr size_t kMaxGridY = 65535;

struct PanelArgs {
  Weight weight;
  const uint8_t* x;        // [rows][x_stride] int8 or halves, zeros beyond the inputs
  size_t x_stride;         // bytes, of whole slices
  const float* row_scale;  // [rows]
  Out out;
  size_t rows;
  size_t part_count;
  size_t part_slices;  // of a block of threads: blockIdx.z tells which
  void* parts;         // sums [part_count][rows][outputs] for sum_parts() where there are several parts; else null
};

// A format has its Element and Sum, kInputs of a slice, the kItems that hold a tile's codes of a slice, load() of one
// of them and store() of what it decodes to: weights of output n and input k belong at place(n, k).

// One item is a row of a block of codes.
template <class Codes>
struct TernaryPanel {
  using Element = int8_t;
  using Sum = int32_t;
  static constexpr size_t kUnits = 4;
  static constexpr size_t kInputs = kUnits * Codes::kInputs;
  static constexpr size_t kItems = kUnits * kTile;
  struct Item {
    uint32_t codes;
    uint32_t multiplier;
  };

  REGC_DEVICE static Item load(const Weight& w, size_t tile, size_t slice, size_t item) {
    const size_t block = slice * kUnits + item / kTile;
    if (tile * kTile >= w.outputs || block >= w.blocks) return {0, 0};  // all levels are zero
    return {load_4(w.codes + (tile * w.blocks + block) * kUnit + item % kTile * 4),
            w.multiplied ? w.multiplier[group_of(w, tile, block) * kTile + item % kTile] : 1U};
  }
  template <class Place>
  REGC_DEVICE static void store(const Item& loaded, size_t item, const Place& place) {
    uint32_t field[Codes::kSteps];
    Codes::fields(loaded.codes, field);
#pragma unroll
    for (int p = 0; p < Codes::kSteps; ++p) {
      const uint32_t levels = ternary_levels(field[p], loaded.multiplier);
      store_4(place(item % kTile, item / kTile * Codes::kInputs + 4 * p), levels);
    }
  }
};

// One item is four outputs of a block of codes.
struct RF8Panel {
  using Element = half_t;
  using Sum = float;
  static constexpr size_t kUnits = 8;
  static constexpr size_t kInputs = kUnits * 4;
  static constexpr size_t kItems = kUnits * 4;
  using Item = Word4;

  REGC_DEVICE static Item load(const Weight& w, size_t tile, size_t slice, size_t item) {
    const size_t block = slice * kUnits + item / 4;
    if (tile * kTile >= w.outputs || block >= w.blocks) return Word4{0, 0, 0, 0};
    return load_16(w.codes + (tile * w.blocks + block) * kUnit + item % 4 * 16);
  }
  template <class Place>
  REGC_DEVICE static void store(const Item& loaded, size_t item, const Place& place) {
    const uint32_t word[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
      for (int rows = 0; rows < 2; ++rows) {
        uint32_t halves[2];
        rf8_halves_of(word[2 * pair + rows], halves);
#pragma unroll
        for (int i = 0; i < 2; ++i)
          store_4(place(item % 4 * 4 + 2 * rows + i, item / 4 * 4 + 2 * pair), halves[i]);
      }
    }
  }
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

// The shared memory of a slice of some rows. The gap between slabs lets 16-byte stores of neighbouring chunks of two
// rows fall into different banks.
template <class Format, size_t kRows>
struct Slabs {
  using Element = typename Format::Element;
  static constexpr size_t kStride = kRows * kSlab + 32;  // elements
  static constexpr size_t kCount = Format::kInputs / kSlab;
  static constexpr size_t kSize = kCount * kStride;
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
      store_16(rows + k / kSlab * Slabs<Format, S::kRows>::kStride + chunk / A::kChunks * kSlab + k % kSlab,
               ahead.x[i]);
  }
#pragma unroll
  for (size_t i = 0; i < A::kMyItems; ++i) {
    const size_t item = threadIdx.x + i * S::kThreads;
    const size_t first = item / Format::kItems * kTile;
    if (item < S::kOutputs / kTile * Format::kItems) {
      Format::store(ahead.codes[i], item % Format::kItems, [&](size_t n, size_t k) {
        return weights + k / kSlab * Slabs<Format, S::kOutputs>::kStride + (first + n) * kSlab + k % kSlab;
      });
    }
  }
}

template <class Format, class S>
REGC_DEVICE void multiply_slice(const typename Format::Element* rows, const typename Format::Element* weights,
                                unsigned warp, TileC<typename Format::Element> (&sum)[S::kTilesM][S::kTilesN]) {
  using Element = typename Format::Element;
  rows += warp / S::kAlong * S::kTilesM * kTile * kSlab;
  weights += warp % S::kAlong * S::kTilesN * kTile * kSlab;
#pragma unroll
  for (size_t slab = 0; slab < Format::kInputs / kSlab; ++slab) {
    TileA<Element> x[S::kTilesM];
    TileB<Element> w[S::kTilesN];
#pragma unroll
    for (int m = 0; m < S::kTilesM; ++m)
      load_tile(x[m], rows + slab * Slabs<Format, S::kRows>::kStride + m * kTile * kSlab);
#pragma unroll
    for (int n = 0; n < S::kTilesN; ++n)
      load_tile(w[n], weights + slab * Slabs<Format, S::kOutputs>::kStride + n * kTile * kSlab);
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
  finish(a.weight, a.out, row, output, static_cast<float>(total) * a.row_scale[row]);
}

}  // namespace regc::cuda

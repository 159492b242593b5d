// From products to kernels: which, on what grid, and with what memory beside. For one translation unit of a program.
#pragma once

#include "cuda/chain.h"
#include "cuda/panel.h"
#include "cuda/rows.h"
#include "cuda/skip.h"
#include "cuda/stream.h"
#include "cuda/tables.h"

namespace regc::cuda {

constexpr size_t kManyRows = 64;   // up to which the small shape of panels is used, then the large one
constexpr size_t kMaxGridX = 2147483647;
constexpr size_t kPartRows = 256;  // up to which the inputs may be cut into parts
constexpr size_t kManyThreads = 65536;  // that keep a large GPU busy: 512 for each of its multiprocessors
constexpr size_t kFewSlices = 4;     // that are worth a part of their own
constexpr Error kTooLarge = 1;  // cudaErrorInvalidValue

inline size_t round_up(size_t v, size_t unit) { return ceil_div(v, unit) * unit; }

// The parts of the scratch memory of a product with rows made ready, each from a multiple of 256 bytes on.
struct Scratch {
  size_t stride;     // bytes of a row
  size_t row_scale;  // offsets in bytes
  size_t sums;       // of blocks, or of parts
  size_t size;
};

// `sums` are those of a row, of four bytes each.
inline Scratch scratch_of(size_t rows, size_t stride, size_t sums) {
  constexpr size_t kPart = 256;
  const size_t scale = round_up(rows * stride, kPart);
  const size_t last = scale + round_up(rows * sizeof(float), kPart);
  return {stride, scale, last, last + round_up(rows * sums * sizeof(int32_t), kPart)};
}

// How the inputs are cut into parts, where outputs alone would not keep a GPU busy. Of rows it matters only which shape
// they have: so that a row's result does not depend on the others.
struct Parts {
  size_t count;
  size_t slices;  // of each but the last
};

template <class S>
Parts parts_of_shape(size_t outputs, size_t slices) {
  const size_t threads = ceil_div(outputs, S::kOutputs) * S::kThreads;
  const size_t wanted = kernels::min_of(ceil_div(kManyThreads, threads), ceil_div(slices, kFewSlices));
  const size_t each = ceil_div(slices, wanted);
  return {ceil_div(slices, each), each};
}

template <class Format>
Parts parts_of(const Weight& w, size_t rows) {
  const size_t slices = ceil_div(w.inputs, Format::kInputs);
  if (rows > kPartRows) return {1, slices};
  return rows > kManyRows ? parts_of_shape<LargeShape>(w.outputs, slices)
                          : parts_of_shape<SmallShape>(w.outputs, slices);
}

// Sums of a row that a product in parts keeps.
template <class Format>
size_t part_sums(const Weight& w, size_t rows) {
  const size_t count = parts_of<Format>(w, rows).count;
  return count > 1 ? count * w.outputs : 0;
}

template <class Codes>
Scratch ternary_scratch(const Weight& w, size_t rows) {
  const size_t stride = round_up(w.inputs, TernaryPanel<Codes>::kInputs);
  return scratch_of(rows, stride, rows <= kStreamRows ? w.blocks : part_sums<TernaryPanel<Codes>>(w, rows));
}

inline Scratch rf8_scratch(const Weight& w, size_t rows) {
  const size_t stride = round_up(w.inputs, RF8Panel::kInputs) * sizeof(uint16_t);
  return scratch_of(rows, stride, part_sums<RF8Panel>(w, rows));
}

// The grid of products of `across` by `down` pieces; down is bounded by CUDA.
inline Error check_grid(size_t across, size_t down) { return across <= kMaxGridX && down <= kMaxGridY ? 0 : kTooLarge; }

template <class Format>
Error launch_stream(const StreamArgs& a, Stream on) {
  const Weight& w = a.weight;
  const Grid grid{static_cast<unsigned>(ceil_div(w.outputs, kTile))};
  const size_t warps = kernels::min_of(ceil_div(w.blocks, kWarpBlocks), kStreamWarps);
  const auto threads = static_cast<unsigned>(warps) * kWarp;
  if (a.rows == 1) return launch(stream<Format, 1>, grid, threads, on, a);
  if (a.rows == 2) return launch(stream<Format, 2>, grid, threads, on, a);
  if (a.rows <= 4) return launch(stream<Format, 4>, grid, threads, on, a);
  return launch(stream<Format, 8>, grid, threads, on, a);
}

template <class Format, class S>
Error launch_panel(const PanelArgs& a, Stream on) {
  const size_t across = ceil_div(a.weight.outputs, S::kOutputs);
  const size_t down = ceil_div(a.rows, S::kRows);
  if (const Error error = check_grid(across, down)) return error;
  const Grid grid{static_cast<unsigned>(across), static_cast<unsigned>(down), static_cast<unsigned>(a.part_count)};
  return launch(panel<Format, S>, grid, S::kThreads, on, a);
}

// `scratch` and its parts are those of the product; the rows are ready in it.
template <class Format>
Error launch_panels(const Weight& w, size_t rows, const Out& out, uint8_t* scratch, const Scratch& parts, Stream on) {
  const auto [count, slices] = parts_of<Format>(w, rows);
  const auto* row_scale = reinterpret_cast<const float*>(scratch + parts.row_scale);
  const PanelArgs a{w,    scratch, parts.stride, row_scale, out,
                    rows, count,   slices,       count > 1 ? scratch + parts.sums : nullptr};
  const auto launch_one = rows > kManyRows ? launch_panel<Format, LargeShape> : launch_panel<Format, SmallShape>;
  if (const Error error = launch_one(a, on)) return error;
  if (count == 1) return 0;
  const size_t blocks = ceil_div(rows * w.outputs, kPartThreads);
  if (const Error error = check_grid(blocks, 1)) return error;
  return launch(sum_parts<typename Format::Sum>, {static_cast<unsigned>(blocks)}, kPartThreads, on, a);
}

template <class Codes>
Error multiply_ternary(const Weight& w, const Input& x, size_t rows, const Out& out, uint8_t* scratch, Stream on) {
  const bool few = rows <= kStreamRows;
  const Scratch parts = ternary_scratch<Codes>(w, rows);
  QuantizeArgs q{x, w.inputs, scratch, parts.stride, reinterpret_cast<float*>(scratch + parts.row_scale),
                 few ? reinterpret_cast<int32_t*>(scratch + parts.sums) : nullptr, w.blocks, Codes::kSteps};
  if (const Error error = check_grid(rows, 1)) return error;
  if (const Error error = launch(quantize_rows, {static_cast<unsigned>(rows)}, kRowThreads, on, q)) return error;
  if (!few) return launch_panels<TernaryPanel<Codes>>(w, rows, out, scratch, parts, on);
  const StreamArgs a{w, scratch, parts.stride, q.row_scale, q.sums, x, false, out, static_cast<unsigned>(rows)};
  return launch_stream<TernaryStream<Codes>>(a, on);
}

inline Error multiply_rf8(const Weight& w, const Input& x, size_t rows, const Out& out, uint8_t* scratch, Stream on) {
  if (rows <= kStreamRows) {
    const bool whole = w.inputs % 4 == 0 && reinterpret_cast<uintptr_t>(x.x) % 16 == 0;
    const StreamArgs a{w, nullptr, 0, nullptr, nullptr, x, whole, out, static_cast<unsigned>(rows)};
    return launch_stream<RF8Stream>(a, on);
  }
  const Scratch parts = rf8_scratch(w, rows);
  const RoundArgs r{x, w.inputs, reinterpret_cast<uint16_t*>(scratch), parts.stride / sizeof(uint16_t),
                    reinterpret_cast<float*>(scratch + parts.row_scale)};
  if (const Error error = check_grid(rows, 1)) return error;
  if (const Error error = launch(round_rows, {static_cast<unsigned>(rows)}, kRowThreads, on, r)) return error;
  return launch_panels<RF8Panel>(w, rows, out, scratch, parts, on);
}

template <class Format>
Error launch_chain(const ChainArgs& a, Stream on) {
  const size_t across = ceil_div(a.weight.outputs, kTile);
  const size_t down = ceil_div(a.rows, kChainRows);
  if (const Error error = check_grid(across, down)) return error;
  return launch(chain<Format>, {static_cast<unsigned>(across), static_cast<unsigned>(down)}, kChainThreads, on, a);
}

template <bool kCoded>
Error multiply_sparse(const ChainArgs& a, Stream on) {
  if (a.rows > kStreamRows) return launch_chain<SparseChain<kCoded>>(a, on);
  const Grid grid{static_cast<unsigned>(ceil_div(a.weight.outputs, kTile)), static_cast<unsigned>(a.rows)};
  return launch(sparse_rows<kCoded>, grid, kSkipThreads, on, a);
}

template <bool kCoded>
Error multiply_gated(const ChainArgs& a, Stream on) {
  if (a.rows > kStreamRows) return launch_chain<GatedChain<kCoded>>(a, on);
  const Grid grid{static_cast<unsigned>(ceil_div(a.weight.outputs, kGatedOutputs)), static_cast<unsigned>(a.rows)};
  return launch(gated_rows<kCoded>, grid, kSkipThreads, on, a);
}

size_t scratch_bytes(const Weight& w, size_t rows) {
  switch (w.format) {
    case Format::ternary:
      return ternary_scratch<TwoBits>(w, rows).size;
    case Format::ternary5:
      return ternary_scratch<FiveTrits>(w, rows).size;
    case Format::rf8:
      return rows <= kStreamRows ? 0 : rf8_scratch(w, rows).size;
    default:
      return 0;
  }
}

Error multiply(const Weight& w, const Input& x, size_t rows, const Out& out, void* scratch, Stream on) {
  auto* bytes = static_cast<uint8_t*>(scratch);
  const ChainArgs exact{w, x, out, rows};
  switch (w.format) {
    case Format::ternary:
      return multiply_ternary<TwoBits>(w, x, rows, out, bytes, on);
    case Format::ternary5:
      return multiply_ternary<FiveTrits>(w, x, rows, out, bytes, on);
    case Format::rf8:
      return multiply_rf8(w, x, rows, out, bytes, on);
    case Format::ternary_float:
      return launch_chain<TernaryChain<TwoBits>>(exact, on);
    case Format::ternary5_float:
      return launch_chain<TernaryChain<FiveTrits>>(exact, on);
    case Format::sparse:
      return multiply_sparse<false>(exact, on);
    case Format::sparse_rf8:
      return multiply_sparse<true>(exact, on);
    case Format::gated:
      return multiply_gated<false>(exact, on);
    case Format::gated_rf8:
      return multiply_gated<true>(exact, on);
  }
  return kTooLarge;
}

Error gather(const Table& table, const Indices& indices, void* y, Type type, Stream on) {
  if (indices.count == 0) return 0;
  if (const Error error = check_grid(indices.count, 1)) return error;
  const GatherArgs a{table, indices, y, type};
  return launch(gather_rows, {static_cast<unsigned>(indices.count)}, kCopyThreads, on, a);
}

Error add(const float* a, const void* b, void* sum, Type type, const Broadcast& shape, Stream on) {
  if (shape.count == 0) return 0;
  const auto blocks = static_cast<unsigned>(kernels::min_of(ceil_div(shape.count, kCopyThreads), 65536));
  return launch(add_broadcast, {blocks}, kCopyThreads, on, AddArgs{a, b, sum, type, shape});
}

}  // namespace regc::cuda

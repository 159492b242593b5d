// From products to kernels: which, on what grid, and with what memory beside. For one translation unit of a program.
#pragma once

#include "cuda/chain.h"
#include "cuda/cut.h"
#include "cuda/rows.h"
#include "cuda/scratch.h"
#include "cuda/split.h"
#include "cuda/tables.h"

namespace regc::cuda {

// What CUDA bounds a grid by. Its y counts blocks of rows, of which those for many rows have equally many.
constexpr size_t kMaxGridX = 2147483647;
constexpr size_t kMaxGridY = 65535;
constexpr size_t kMostRows = kMaxGridY * LargeShape::kRows;
static_assert(kChainRows == LargeShape::kRows && kSplitRows == LargeShape::kRows);

// The warps of a block of threads: more where there are few tiles.
template <int kRows>
unsigned warps_of(const Weight& w) {
  const size_t tiles = ceil_div(w.outputs, kTile);
  const size_t wanted = tiles * kStreamWarps * kWarp < 2 * kManyThreads ? 2 * kStreamWarps : kStreamWarps;
  const size_t most = kernels::min_of(wanted, kMostWarps<kRows>);
  return static_cast<unsigned>(kernels::min_of(ceil_div(w.blocks, kWarpBlocks), most));
}

template <class Format, int kRows>
Error launch_stream_of(const StreamArgs& a, Stream on) {
  const Grid grid{static_cast<unsigned>(ceil_div(a.weight.outputs, kTile)),
                  static_cast<unsigned>(ceil_div(a.rows, kRows))};
  return launch(stream<Format, kRows>, grid, warps_of<kRows>(a.weight) * kWarp, on, a);
}

template <class Format>
Error launch_stream(const StreamArgs& a, Stream on) {
  return a.rows == 1 ? launch_stream_of<Format, 1>(a, on) : launch_stream_of<Format, 4>(a, on);
}

template <class Format, class S>
Error launch_panel(const PanelArgs& a, Stream on) {
  const size_t across = ceil_div(a.weight.outputs, S::kOutputs);
  const size_t down = ceil_div(a.rows, S::kRows);
  const Grid grid{static_cast<unsigned>(across), static_cast<unsigned>(down), static_cast<unsigned>(a.part_count)};
  return launch(panel<Format, S>, grid, S::kThreads, on, a);
}

template <class Sum>
Error launch_sum(const PanelArgs& a, Stream on) {
  const size_t blocks = ceil_div(a.rows * a.weight.outputs, kPartThreads);
  return launch(sum_parts<Sum>, {static_cast<unsigned>(blocks)}, kPartThreads, on, a);
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
  return count == 1 ? 0 : launch_sum<typename Format::Sum>(a, on);
}

// The threads of a block that makes a row of so many bytes or halves ready, four by four.
inline unsigned row_threads(size_t padded) {
  return static_cast<unsigned>(kernels::min_of(round_up(padded / 4, kWarp), kRowThreads));
}

template <class Codes>
Error multiply_ternary(const Weight& w, const Input& x, size_t rows, const Out& out, uint8_t* scratch, Stream on) {
  const Scratch parts = ternary_scratch<Codes>(w, rows);
  const QuantizeArgs q{{x, w.inputs, in_fours(x, w.inputs)}, scratch, parts.stride,
                       reinterpret_cast<float*>(scratch + parts.row_scale)};
  const auto blocks = static_cast<unsigned>(rows);
  if (const Error error = launch(quantize_rows, {blocks}, row_threads(parts.stride), on, q)) return error;
  if (rows > kStreamRows) return launch_panels<TernaryPanel<Codes>>(w, rows, out, scratch, parts, on);
  return launch_stream<TernaryStream<Codes>>({w, scratch, parts.stride, q.row_scale, x, out, blocks}, on);
}

template <class Format>
Error launch_chain(const ChainArgs& a, Stream on) {
  const size_t across = ceil_div(a.weight.outputs, kTile);
  const size_t down = ceil_div(a.rows, kChainRows);
  return launch(chain<Format>, {static_cast<unsigned>(across), static_cast<unsigned>(down)}, kChainThreads, on, a);
}

// Many rows of float activations.
template <class Format>
Error launch_many(const ChainArgs& a, Stream on) {
  if (!has_bfloat_tiles()) return launch_chain<Format>(a, on);
  const size_t across = ceil_div(a.weight.outputs, kTile);
  const size_t down = ceil_div(a.rows, kSplitRows);
  const auto kernel = a.in.type == Type::float32 ? split_rows<Format, Wide> : split_rows<Format, Narrow>;
  return launch(kernel, {static_cast<unsigned>(across), static_cast<unsigned>(down)}, kSplitThreads, on, a);
}

// A few rows of float activations that can be read by fours.
template <template <class> class Format>
Error stream_floats(const ChainArgs& a, Stream on) {
  const StreamArgs s{a.weight, nullptr, 0, nullptr, a.in, a.out, static_cast<unsigned>(a.rows)};
  return a.in.type == Type::float32 ? launch_stream<Format<Wide>>(s, on) : launch_stream<Format<Narrow>>(s, on);
}

// A few rows of float activations.
template <class Chain, template <class> class InFours>
Error launch_few(const ChainArgs& a, Stream on) {
  return in_fours(a.in, a.weight.inputs) ? stream_floats<InFours>(a, on) : launch_chain<Chain>(a, on);
}

template <class X>
using TwoBitsStream = TernaryFloatStream<TwoBits, X>;
template <class X>
using FiveTritsStream = TernaryFloatStream<FiveTrits, X>;

template <class Chain, template <class> class InFours>
Error multiply_ternary_float(const ChainArgs& a, Stream on) {
  return a.rows > kStreamRows ? launch_many<Chain>(a, on) : launch_few<Chain, InFours>(a, on);
}

inline Error multiply_rf8(const ChainArgs& a, uint8_t* scratch, Stream on) {
  const Weight& w = a.weight;
  if (a.rows <= kStreamRows) return launch_few<RF8Chain, RF8Stream>(a, on);
  const Scratch parts = rf8_scratch(w, a.rows);
  const size_t padded = parts.stride / sizeof(uint16_t);
  const RoundArgs r{{a.in, w.inputs, in_fours(a.in, w.inputs)}, reinterpret_cast<uint16_t*>(scratch), padded,
                    reinterpret_cast<float*>(scratch + parts.row_scale)};
  const Grid grid{static_cast<unsigned>(a.rows)};
  if (const Error error = launch(round_rows, grid, row_threads(padded), on, r)) return error;
  return launch_panels<RF8Panel>(w, a.rows, a.out, scratch, parts, on);
}

template <bool kCoded>
Error multiply_sparse(const ChainArgs& a, Stream on) {
  if (a.rows > kStreamRows) return launch_many<SparseChain<kCoded>>(a, on);
  const Grid grid{static_cast<unsigned>(ceil_div(a.weight.outputs, kTile)), static_cast<unsigned>(a.rows)};
  const auto kernel = a.in.type == Type::float32 ? sparse_rows<kCoded, Wide> : sparse_rows<kCoded, Narrow>;
  return launch(kernel, grid, kSkipThreads, on, a);
}

template <bool kCoded>
Error multiply_passing(const ChainArgs& a, void* scratch, Stream on) {
  if (a.rows > kStreamRows) return launch_many<GatedChain<kCoded>>(a, on);
  const Weight& w = a.weight;
  const auto [count, inputs] = gated_parts(w, a.rows);
  const GatedArgs gated{a, inputs, count > 1 ? static_cast<float*>(scratch) : nullptr};
  const Grid grid{static_cast<unsigned>(ceil_div(w.outputs, kGatedOutputs)), static_cast<unsigned>(a.rows),
                  static_cast<unsigned>(count)};
  const auto kernel = a.in.type == Type::float32 ? gated_rows<kCoded, Wide> : gated_rows<kCoded, Narrow>;
  if (const Error error = launch(kernel, grid, kSkipThreads, on, gated)) return error;
  if (count == 1) return 0;
  return launch_sum<float>({w, nullptr, 0, nullptr, a.out, a.rows, count, 0, scratch}, on);
}

template <bool kCoded>
Error multiply_gated(ChainArgs a, uint8_t* scratch, Stream on) {
  if (a.weight.active != 0) {
    auto* cuts = reinterpret_cast<Cut*>(scratch + gated_scratch(a.weight, a.rows).cuts);
    const size_t threads = kernels::min_of(round_up(a.weight.inputs, kWarp), kCutThreads);
    const Grid grid{static_cast<unsigned>(a.rows)};
    if (const Error error = launch(cut_rows, grid, static_cast<unsigned>(threads), on, CutArgs{a, cuts})) return error;
    a.weight.cuts = cuts;
  }
  return multiply_passing<kCoded>(a, scratch, on);
}

size_t scratch_bytes(const Weight& w, size_t rows) {
  switch (w.format) {
    case Format::ternary:
      return ternary_scratch<TwoBits>(w, rows).size;
    case Format::ternary5:
      return ternary_scratch<FiveTrits>(w, rows).size;
    case Format::rf8:
      return rows <= kStreamRows ? 0 : rf8_scratch(w, rows).size;
    case Format::gated:
    case Format::gated_rf8:
    case Format::gated_topk:
    case Format::gated_topk_rf8:
      return gated_scratch(w, rows).size;
    default:
      return 0;
  }
}

Error multiply(const Weight& w, const Input& x, size_t rows, const Out& out, void* scratch, Stream on) {
  if (rows > kMostRows || w.outputs > kMaxGridX) return kTooLarge;
  auto* bytes = static_cast<uint8_t*>(scratch);
  const ChainArgs a{w, x, out, rows};
  switch (w.format) {
    case Format::ternary:
      return multiply_ternary<TwoBits>(w, x, rows, out, bytes, on);
    case Format::ternary5:
      return multiply_ternary<FiveTrits>(w, x, rows, out, bytes, on);
    case Format::rf8:
      return multiply_rf8(a, bytes, on);
    case Format::ternary_float:
      return multiply_ternary_float<TernaryChain<TwoBits>, TwoBitsStream>(a, on);
    case Format::ternary5_float:
      return multiply_ternary_float<TernaryChain<FiveTrits>, FiveTritsStream>(a, on);
    case Format::sparse:
      return multiply_sparse<false>(a, on);
    case Format::sparse_rf8:
      return multiply_sparse<true>(a, on);
    case Format::gated:
    case Format::gated_topk:
      return multiply_gated<false>(a, bytes, on);
    case Format::gated_rf8:
    case Format::gated_topk_rf8:
      return multiply_gated<true>(a, bytes, on);
  }
  return kTooLarge;
}

Error gather(const Table& table, const Indices& indices, void* y, Type type, Stream on) {
  if (indices.count == 0) return 0;
  if (indices.count > kMaxGridX) return kTooLarge;
  const GatherArgs a{table, indices, y, type};
  return launch(gather_rows, {static_cast<unsigned>(indices.count)}, kCopyThreads, on, a);
}

Error add(const float* a, const void* b, void* sum, Type type, const Broadcast& shape, Stream on) {
  if (shape.count == 0) return 0;
  const auto blocks = static_cast<unsigned>(kernels::min_of(ceil_div(shape.count, kCopyThreads), 65536));
  return launch(add_broadcast, {blocks}, kCopyThreads, on, AddArgs{a, b, sum, type, shape});
}

}  // namespace regc::cuda

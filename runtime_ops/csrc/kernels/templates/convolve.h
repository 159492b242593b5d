// Convolution: a register tile is a few outputs by a few vectors of neighbouring positions. The cells of an
// image are read where they lie, once for every tap, so that neither is the image copied for each tap nor are
// the results transposed; the weights of a tile are decoded once and reused over a block of positions.
#pragma once

namespace regc::kernels::REGC_ISA {

constexpr size_t floor_power_of_2(size_t value) { return value < 2 ? 1 : 2 * floor_power_of_2(value / 2); }

// The registers of a panel's sums, with outputs and positions in the other roles: with AVX-512, 8 outputs by
// 3 vectors of 16 positions.
constexpr int kConvVectors = kPanelTiles > 1 ? 3 : 1;
constexpr int kConvOutputs = static_cast<int>(floor_power_of_2(kPanelRows * kPanelTiles / kConvVectors));
constexpr size_t kVectorPlaces = kUnit / kCellBytes;
// From the sums of one output to those of the next.
constexpr size_t kSumStride = kConvPositions * kCellBytes;

// R outputs by T vectors of positions over the steps of a slice. `panel` and `sums` start at the first
// output, `cells` and `sums` at the first position.
template <class Steps, int R, int T>
__attribute__((noinline)) static void conv_tile(const uint8_t* panel, const size_t* offsets, size_t steps,
                                                const uint8_t* cells, bool first_slice, uint8_t* sums) {
  typename Steps::Sum sum[R][T];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const uint8_t* before = sums + static_cast<size_t>(r) * kSumStride + static_cast<size_t>(t) * kUnit;
      sum[r][t] = first_slice ? Steps::zero() : Steps::load_sum(before);
    }
  }
  for (size_t s = 0; s < steps; ++s, panel += kUnit) {
    const uint8_t* x = cells + offsets[s] * kCellBytes;
    typename Steps::Weight place[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) place[t] = Steps::load(x + static_cast<size_t>(t) * kUnit);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto weight = Steps::fill(panel + static_cast<size_t>(r) * kCellBytes);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) sum[r][t] = Steps::step(sum[r][t], weight, place[t]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t)
      Steps::store_sum(sums + static_cast<size_t>(r) * kSumStride + static_cast<size_t>(t) * kUnit,
                       sum[r][t]);
  }
}

// All outputs of a tile at all positions of a block against one slice.
template <class Steps>
inline void conv_slice(const uint8_t* panel, const size_t* offsets, size_t steps, const uint8_t* cells,
                       size_t vectors, bool first_slice, uint8_t* sums) {
  const size_t parts = ceil_div(vectors, kConvVectors);
  for (size_t part = 0; part < parts; ++part) {
    const size_t first = vectors * part / parts;
    const size_t count = vectors * (part + 1) / parts - first;
    for (size_t output = 0; output < kTile; output += kConvOutputs) {
      const uint8_t* weights = panel + output * kCellBytes;
      const uint8_t* x = cells + first * kUnit;
      uint8_t* part_sums = sums + output * kSumStride + first * kUnit;
      if (count == 1) conv_tile<Steps, kConvOutputs, 1>(weights, offsets, steps, x, first_slice, part_sums);
      if constexpr (kConvVectors > 1) {
        if (count == 2) conv_tile<Steps, kConvOutputs, 2>(weights, offsets, steps, x, first_slice, part_sums);
        if (count == 3) conv_tile<Steps, kConvOutputs, 3>(weights, offsets, steps, x, first_slice, part_sums);
      }
    }
  }
}

// Outputs side by side: `count` of them from `position`, counted from the first of the task, go to place
// `place` of image `image`. Up to `room` may be written: what follows in y is of this task too and comes
// later.
struct Run {
  size_t position;
  size_t image;
  size_t place;
  size_t count;
  size_t room;
};

// The runs of a task, in the order of y. There are at most as many as positions.
inline size_t find_runs(const ConvTask& task, Run* runs) {
  const Geometry& g = *task.geometry;
  const bool dense = g.plane_width == g.output_width;
  const size_t plane = g.plane_height * g.plane_width;
  const size_t pitch = dense ? plane : g.plane_width;  // from the start of one run to that of the next
  const size_t length = dense ? g.output_height * g.output_width : g.output_width;
  size_t count = 0;
  for (size_t position = task.position_begin; position < task.position_end;) {
    const size_t place = position % plane;
    const size_t column = place % pitch;
    const size_t next = min_of(position - column + pitch, task.position_end);
    if (column < length && place / g.plane_width < g.output_height) {
      const size_t end = min_of(position - column + length, next);
      runs[count++] = {position - task.position_begin, position / plane,
                       place / pitch * g.output_width + column, end - position, 0};
    }
    position = next;
  }
  for (size_t i = count; i-- > 0;) {
    const bool last = i + 1 == count || runs[i + 1].image != runs[i].image;
    runs[i].room = runs[i].count + (last ? 0 : runs[i + 1].room);
  }
  return count;
}

// From the sums of one output to y.
template <class Steps>
REGC_INLINE void finish_output(const ConvTask& task, const Run* runs, size_t count, size_t output,
                               const uint8_t* sums, typename Steps::Sum excess) {
  const Geometry& g = *task.geometry;
  const Matrix& w = *task.weight;
  const F16 scale = fill_f(w.scale[output]);
  const F16 bias = fill_f(w.bias[output * w.bias_step]);
  for (const Run* run = runs; run != runs + count; ++run) {
    const uint8_t* sum = sums + run->position * kCellBytes;
    const size_t first = (run->image * w.outputs + output) * g.output_height * g.output_width + run->place;
    for (size_t i = 0; i < run->count; i += kTile) {
      const auto exact = Steps::without(Steps::load_sum(sum + i * kCellBytes), excess);
      F16 v = add_f(mul_f(Steps::value(exact, task.image_scale, run->image), scale), bias);
      if (task.out.ending != Ending::none) v = ended(task.out, v, first + i, run->room - i);
      store_some(task.out.y + first + i, v, run->room - i);
    }
  }
}

template <class Format>
inline void convolve(const ConvTask& task) {
  using Steps = typename Format::Steps;
  constexpr size_t kSliceBlocks = kSliceSteps / Format::kSteps;
  alignas(64) uint8_t panel[kSliceSteps * kUnit];
  alignas(64) uint8_t sums[kTile * kSumStride + kUnit];
  alignas(64) uint8_t excess[kUnit];
  Run runs[kConvPositions];
  const size_t run_count = find_runs(task, runs);
  const Matrix& w = *task.weight;
  const size_t vectors = ceil_div(task.position_end - task.position_begin, kVectorPlaces);
  const auto* cells = reinterpret_cast<const uint8_t*>(task.cells + task.position_begin);
  for (size_t tile = task.tile_begin; tile < task.tile_end; ++tile) {
    typename Steps::Sum total = Steps::zero();
    for (size_t begin = 0; begin < w.blocks; begin += kSliceBlocks) {
      const size_t end = min_of(begin + kSliceBlocks, w.blocks);
      typename Steps::Sum part[1];
      decode_slice<Format, 1>(w, tile, begin, end, panel, part);
      total = Steps::plus(total, part[0]);
      conv_slice<Steps>(panel, task.offsets + begin * Format::kSteps, (end - begin) * Format::kSteps, cells,
                        vectors, begin == 0, sums);
    }
    Steps::store_sum(excess, total);
    const size_t count = min_of(kTile, w.outputs - tile * kTile);
    for (size_t lane = 0; lane < count; ++lane)
      finish_output<Steps>(task, runs, run_count, tile * kTile + lane, sums + lane * kSumStride,
                           Steps::fill_sum(excess + lane * kCellBytes));
  }
}

}  // namespace regc::kernels::REGC_ISA

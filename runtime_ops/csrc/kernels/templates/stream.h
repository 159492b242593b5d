// A few rows: the packed weights are streamed once per row, several tiles side by side.
#pragma once

namespace regc::kernels::REGC_ISA {

// Calls function.template operator()<T>(tile) over the tiles of a task: T = kSideBySide, then single ones.
template <int kSideBySide, class Task, class Function>
REGC_INLINE void over_tiles(const Task& task, const Function& function) {
  size_t tile = task.tile_begin;
  for (; tile + kSideBySide <= task.tile_end; tile += kSideBySide)
    function(std::integral_constant<int, kSideBySide>{}, tile);
  for (; tile < task.tile_end; ++tile) function(std::integral_constant<int, 1>{}, tile);
}

// Integer sums of one quantized row over T tiles. Codes are trit + 1, so each group starts from minus the sum
// of its q.
//
// Groups whose multipliers are all zero are not skipped: with groups of 64, where a quarter or a half of them
// are zero in 64 outputs at once, looking for them takes as long as they do.
template <class Format, int T>
REGC_INLINE void int8_row(const Matrix& w, const uint8_t* q, const int32_t* sums, size_t tile,
                          I16 (&total)[T]) {
  const bool narrow = w.group_blocks * Format::kInputs <= 256;  // |sum of q * trit| <= 256 * 127 fits int16
  for (size_t g = 0; g < w.groups; ++g) {
    const size_t begin = g * w.group_blocks;
    I16 part[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) part[t] = fill_i(-sums[g]);
    const Streams<T> streams{tile_codes(w, tile) + begin * kUnit, w.blocks * kUnit, w.blocks - begin};
    Format::template sums<T>(streams, group_end(w, g) - begin, q + begin * Format::kInputs, part);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      if (!w.multiplied) {
        total[t] = add_i(total[t], part[t]);
        continue;
      }
      const I16 multiplier = widen(tile_multiplier(w, tile + static_cast<size_t>(t), g));
      total[t] = narrow ? mul_add_narrow(total[t], part[t], multiplier)
                        : add_i(total[t], mul_i(part[t], multiplier));
    }
  }
}

template <class Format>
inline void int8_stream(const MatMulTask& task) {
  const Matrix& w = *task.weight;
  over_tiles<kStreamTiles>(task, [&](auto side_by_side, size_t tile) {
    constexpr int T = side_by_side;
    for (size_t row = 0; row < task.rows; ++row) {
      I16 total[T];
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) total[t] = zero_i();
      int8_row<Format, T>(w, task.x + row * task.x_stride, task.sums + row * w.groups, tile, total);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const F16 sum = Int8Steps::value(total[t], task.row_scale, row);
        finish(task, row, load_columns(w, tile + static_cast<size_t>(t)), sum);
      }
    }
  });
}

// Sums of one float32 row over T tiles.
template <class Format, int T>
REGC_INLINE void float_row(const Matrix& w, const uint8_t* x, size_t tile, F16 (&sum)[T]) {
  constexpr size_t kAhead = 1024;  // of RF8 4096x4096, one row reads 14.4 GB/s so, and with 2048 13.2
  const Streams<T> streams{tile_codes(w, tile), w.blocks * kUnit, w.blocks};
  for (size_t g = 0; g < w.groups; ++g) {
    typename Format::Group group[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) group[t] = Format::group(w, tile + static_cast<size_t>(t), g);
    for (size_t block = g * w.group_blocks; block < group_end(w, g); ++block) {
      streams.template fetch<kAhead>(block);
      const uint8_t* x_block = x + block * Format::kSteps * 4;
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        Format::each(streams.at(block, t), group[t], [&](size_t k, F16 weight) {
          sum[t] = fma_f(weight, FloatSteps::fill(x_block + 4 * k), sum[t]);
        });
      }
    }
  }
}

template <class Format>
inline void float_stream(const MatMulTask& task) {
  const Matrix& w = *task.weight;
  over_tiles<kStreamTiles>(task, [&](auto side_by_side, size_t tile) {
    constexpr int T = side_by_side;
    for (size_t row = 0; row < task.rows; ++row) {
      F16 sum[T];
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) sum[t] = zero_f();
      float_row<Format, T>(w, task.x + row * task.x_stride, tile, sum);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        finish(task, row, load_columns(w, tile + static_cast<size_t>(t)), sum[t]);
      }
    }
  });
}

}  // namespace regc::kernels::REGC_ISA

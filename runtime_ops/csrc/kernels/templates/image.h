// Images of float32 to cells of int8, in plain loops that the compiler vectorizes for each instruction set.
#pragma once

namespace regc::kernels::REGC_ISA {

constexpr uint32_t kZeroCell = 0x80808080U;

inline void peak(const PeakTask& task) { *task.peak = row_peak(task.x, task.count); }

// The cell of place i of four channels; see round_row for the rounding.
REGC_INLINE uint32_t cell_of(const float* x, size_t channel, size_t i, float inverse) {
  constexpr float kRounder = 12582912.0F;
  const uint32_t q0 = float_bits(x[i] * inverse + kRounder) & 0xFF;
  const uint32_t q1 = float_bits(x[channel + i] * inverse + kRounder) & 0xFF;
  const uint32_t q2 = float_bits(x[2 * channel + i] * inverse + kRounder) & 0xFF;
  const uint32_t q3 = float_bits(x[3 * channel + i] * inverse + kRounder) & 0xFF;
  return (q0 | q1 << 8 | q2 << 16 | q3 << 24) ^ kZeroCell;
}

// `count` cells of places that are `step` apart in x. There are `places` in x, and memory for `room` cells,
// of which those from `count` on are written later: so short rows need no loop over single cells.
template <size_t kStep>
REGC_INLINE void lay_places(const float* x, size_t channel, size_t places, size_t count, size_t room,
                            float inverse, uint32_t* cells) {
  constexpr size_t kVector = 16;
  const size_t whole = ceil_div(count, kVector) * kVector;
  size_t i = 0;
  if (whole <= room && whole * kStep <= places) {
    for (; i < count; i += kVector) {
      for (size_t j = 0; j < kVector; ++j) cells[i + j] = cell_of(x + i * kStep, channel, j * kStep, inverse);
    }
  }
  for (; i < count; ++i) cells[i] = cell_of(x, channel, i * kStep, inverse);
}

// The entries i of [0, count) for which i * stride + phase lies in [pad, pad + size).
struct Inside {
  Inside(size_t count, size_t stride, size_t phase, size_t pad, size_t size)
      : begin(min_of(phase >= pad ? 0 : ceil_div(pad - phase, stride), count)),
        end(phase >= pad + size ? begin : min_of(ceil_div(pad + size - phase, stride), count)) {}
  size_t begin;
  size_t end;
};

REGC_INLINE void fill_cells(uint32_t* cells, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) cells[i] = kZeroCell;
}

// One row, or several that lie side by side in x as in the phase. `source` is the first place of x's row.
REGC_INLINE void lay_row(const Geometry& g, const float* x, size_t source, const Inside& columns,
                         size_t phase, float inverse, size_t width, size_t room, uint32_t* cells) {
  const size_t count = columns.end - columns.begin;
  fill_cells(cells, 0, columns.begin);
  if (count > 0) {
    const size_t channel = g.height * g.width;
    const size_t first = source + columns.begin * g.stride_wide + phase - g.pad_left;
    uint32_t* inside = cells + columns.begin;
    room -= columns.begin;
    if (g.stride_wide == 1) {
      lay_places<1>(x + first, channel, channel - first, count, room, inverse, inside);
    } else if (g.stride_wide == 2) {
      lay_places<2>(x + first, channel, channel - first, count, room, inverse, inside);
    } else {
      for (size_t i = 0; i < count; ++i) inside[i] = cell_of(x + first, channel, i * g.stride_wide, inverse);
    }
  }
  fill_cells(cells, columns.end, width);
}

// One phase of four channels.
inline void lay_plane(const Geometry& g, const float* x, size_t phase_high, size_t phase_wide, float inverse,
                      uint32_t* cells) {
  const Inside rows(g.plane_height, g.stride_high, phase_high, g.pad_top, g.height);
  const size_t size = g.plane_height * g.plane_width;
  fill_cells(cells, 0, rows.begin * g.plane_width);
  const bool unbroken = g.stride_high == 1 && g.stride_wide == 1 && g.plane_width == g.width;
  if (unbroken && rows.begin < rows.end) {
    const size_t begin = rows.begin * g.width;
    const Inside all((rows.end - rows.begin) * g.width, 1, 0, 0, g.height * g.width);
    lay_row(g, x, (rows.begin - g.pad_top) * g.width, all, 0, inverse, all.end, size - begin, cells + begin);
  } else {
    const Inside columns(g.plane_width, g.stride_wide, phase_wide, g.pad_left, g.width);
    for (size_t row = rows.begin; row < rows.end; ++row) {
      const size_t begin = row * g.plane_width;
      const size_t source = (row * g.stride_high + phase_high - g.pad_top) * g.width;
      lay_row(g, x, source, columns, phase_wide, inverse, g.plane_width, size - begin, cells + begin);
    }
  }
  fill_cells(cells, rows.end * g.plane_width, size);
}

inline void lay_int8(const LayTask& task) {
  const Geometry& g = *task.geometry;
  const size_t channel = g.height * g.width;
  const size_t phases = g.phases_high * g.phases_wide;
  for (size_t cell = task.cell_begin; cell < task.cell_end; ++cell) {
    const float* x = task.x + cell * kCellBytes * channel;
    for (size_t phase = 0; phase < phases; ++phase) {
      uint32_t* cells = task.cells + (cell * phases + phase) * task.cell_stride;
      if (task.inverse > 0) {
        lay_plane(g, x, phase / g.phases_wide, phase % g.phases_wide, task.inverse, cells);
      } else {
        fill_cells(cells, 0, g.plane_height * g.plane_width);
      }
    }
  }
}

}  // namespace regc::kernels::REGC_ISA

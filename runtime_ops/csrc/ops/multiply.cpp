#include "ops/multiply.h"

#include <algorithm>
#include <cstring>

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::MatMulTask;
using kernels::Matrix;
using kernels::Out;

constexpr size_t kTilesSideBySide = 4;       // of the widest kernels: tasks are whole numbers of them
constexpr size_t kTaskBytes = 48 * 1024;     // codes of a stream task: a few microseconds
constexpr size_t kMinTasks = 16;             // of a large panel product, for machines with many cores
constexpr size_t kMinRows = 24;              // of a panel task: fewer do not pay for decoding the panel
constexpr size_t kQuantizeTask = 32 * 1024;  // activations, also of a task that rounds them

// How a product is cut: tiles_per_task tiles times rows_per_task rows.
struct Cut {
  size_t tiles_per_task;
  size_t rows_per_task;
};

Cut cut_stream(const Matrix& w, size_t rows) {
  const size_t tiles = ceil_div(w.outputs, kernels::kTile);
  const size_t per_tile = w.blocks * kernels::kUnit * rows;
  const size_t by_bytes = std::max<size_t>(kTaskBytes / per_tile / kTilesSideBySide, 1);
  const size_t by_count = std::max<size_t>(tiles / kTilesSideBySide / kMinTasks, 1);
  return {std::min(by_bytes, by_count) * kTilesSideBySide, rows};
}

Cut cut_panel(const Matrix& w, size_t rows) {
  const size_t panels = ceil_div(ceil_div(w.outputs, kernels::kTile), kTilesSideBySide);
  const size_t parts = std::min(ceil_div(kMinTasks, panels), ceil_div(rows, kMinRows));
  return {kTilesSideBySide, ceil_div(rows, parts)};
}

// x in whole blocks of inputs: the activations of every method as rows of bytes.
struct Rows {
  const uint8_t* x;
  size_t stride;
  const float* scale;
  const int32_t* sums;
};

void run_tasks(const kernels::Kernels& kernels, const Method& method, const Matrix& w, const Rows& in,
               size_t rows, const Out& out, const Parallel& parallel) {
  const bool stream = rows <= kernels.*method.stream_rows;
  const auto kernel = kernels.*(stream ? method.stream : method.panel);
  const size_t tiles = ceil_div(w.outputs, kernels::kTile);
  const bool small = w.outputs * w.inputs <= kInlineWork / rows;
  const Cut cut = small ? Cut{tiles, rows} : stream ? cut_stream(w, rows) : cut_panel(w, rows);
  const size_t across = ceil_div(tiles, cut.tiles_per_task);
  parallel.run(across * ceil_div(rows, cut.rows_per_task), [&](size_t index) {
    const size_t tile = index % across * cut.tiles_per_task;
    const size_t row = index / across * cut.rows_per_task;
    MatMulTask task{};
    task.weight = &w;
    task.x = in.x + row * in.stride;
    task.x_stride = in.stride;
    task.row_scale = in.scale == nullptr ? nullptr : in.scale + row;
    task.sums = in.sums == nullptr ? nullptr : in.sums + row * w.groups;
    task.out = from_element(out, row * w.outputs);
    task.rows = std::min(cut.rows_per_task, rows - row);
    task.tile_begin = tile;
    task.tile_end = std::min(tile + cut.tiles_per_task, tiles);
    kernel(task);
  });
}

void multiply_quantized(const kernels::Kernels& kernels, const Method& method, const Matrix& w,
                        const float* x, size_t rows, const Out& out, const Parallel& parallel) {
  const bool stream = rows <= kernels.*method.stream_rows;
  const size_t padded = w.blocks * method.x_block;
  const Buffer<uint8_t> q(rows, padded);
  const Buffer<float> scale(rows, 1);
  const Buffer<int32_t> sums(stream ? rows : 0, w.groups);
  const size_t rows_per_task = std::max<size_t>(kQuantizeTask / w.inputs, 1);
  parallel.run(ceil_div(rows, rows_per_task), [&](size_t index) {
    const size_t row = index * rows_per_task;
    kernels::QuantizeTask task{};
    task.x = x + row * w.inputs;
    task.rows = std::min(rows_per_task, rows - row);
    task.inputs = w.inputs;
    task.padded = padded;
    task.flip = stream ? 0 : 0x80;
    task.q = q.data() + row * padded;
    task.row_scale = scale.data() + row;
    task.sums = stream ? sums.data() + row * w.groups : nullptr;
    task.group = w.group_blocks * method.x_block;
    task.groups = w.groups;
    kernels.quantize(task);
  });
  run_tasks(kernels, method, w, {q.data(), padded, scale.data(), sums.data()}, rows, out, parallel);
}

void multiply_float(const kernels::Kernels& kernels, const Method& method, const Matrix& w, const float* x,
                    size_t rows, const Out& out, const Parallel& parallel) {
  const size_t padded = w.blocks * method.x_block;
  const PaddedRows whole(x, rows, w.inputs, padded);
  const auto* bytes = reinterpret_cast<const uint8_t*>(whole.data());
  run_tasks(kernels, method, w, {bytes, padded * sizeof(float), nullptr, nullptr}, rows, out, parallel);
}

void multiply_rounded(const kernels::Kernels& kernels, const Method& method, const Matrix& w, const float* x,
                      size_t rows, const Out& out, const Parallel& parallel) {
  const size_t padded = w.blocks * method.x_block;
  const RoundedRows rounded(kernels, x, rows, w.inputs, padded, parallel);
  const auto* bytes = reinterpret_cast<const uint8_t*>(rounded.data());
  run_tasks(kernels, method, w, {bytes, padded * sizeof(uint16_t), rounded.scale(), nullptr}, rows, out, parallel);
}

}  // namespace

PaddedRows::PaddedRows(const float* x, size_t rows, size_t inputs, size_t padded)
    : copy_(padded == inputs ? 0 : rows, padded), data_(padded == inputs ? x : copy_.data()) {
  for (size_t row = 0; padded != inputs && row < rows; ++row) {
    float* out = copy_.data() + row * padded;
    std::copy_n(x + row * inputs, inputs, out);
    std::fill(out + inputs, out + padded, 0.0F);
  }
}

RoundedRows::RoundedRows(const kernels::Kernels& kernels, const float* x, size_t rows, size_t inputs,
                         size_t padded, const Parallel& parallel)
    : rounded_(rows, padded), scale_(rows, 1) {
  const size_t step = std::max<size_t>(kQuantizeTask / inputs, 1);
  parallel.run(ceil_div(rows, step), [&](size_t index) {
    const size_t row = index * step;
    kernels.round_rows({x + row * inputs, std::min(step, rows - row), inputs, padded,
                        rounded_.data() + row * padded, scale_.data() + row});
  });
}

void PackedWeight::multiply(const kernels::Kernels& kernels, const float* x, size_t rows,
                            const kernels::Out& out, const Parallel& parallel) const {
  const bool rounds = kernels.round_rows != nullptr && rows > kernels.*method_.stream_rows;
  const auto run = method_.activations == Activations::int8                ? multiply_quantized
                   : method_.activations == Activations::rounded && rounds ? multiply_rounded
                                                                           : multiply_float;
  run(kernels, method_, matrix_, x, rows, out, parallel);
}

}  // namespace regc::ops

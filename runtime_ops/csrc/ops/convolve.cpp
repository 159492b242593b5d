#include "ops/convolve.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "ops/buffer.h"
#include "ops/multiply.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::Geometry;
using kernels::kConvPositions;
using kernels::Kernels;
using kernels::kTile;
using kernels::Matrix;

constexpr size_t kTaskFloats = 16 * 1024;      // of x that a task of laying reads
constexpr size_t kStackCells = 256 * 1024;     // cells of images that are convolved as one, still in L2
constexpr size_t kPositionStep = 48;           // positions of the widest register tile
constexpr size_t kSlackCells = kPositionStep;  // that the last vectors read beyond an image

size_t checked_product(std::initializer_list<size_t> factors) {
  size_t product = 1;
  for (const size_t factor : factors) {
    if (factor != 0 && product > std::numeric_limits<size_t>::max() / factor) throw std::bad_alloc();
    product *= factor;
  }
  return product;
}

// Images that lie in memory together. Those whose planes have no rows between them are convolved as one tall
// image, so that small ones fill the vectors.
struct Stack {
  size_t images;
  size_t cell_rows;    // fours of channels
  size_t cell_stride;  // cells of a phase of all images

  Stack(const Geometry& g, const Images& all, size_t cell_channels)
      : cell_rows(all.channels / cell_channels) {
    const size_t plane = checked_product({g.plane_height, g.plane_width});
    const size_t image = checked_product({cell_rows, g.phases_high, g.phases_wide, plane});
    const bool tall = g.plane_height == g.output_height;
    images = tall ? std::clamp<size_t>(kStackCells / image, 1, all.count) : 1;
    cell_stride = images * plane;
  }
  size_t cells(const Geometry& g) const {
    return checked_product({cell_rows, g.phases_high, g.phases_wide, cell_stride}) + kSlackCells;
  }
};

// For every step, the distance from a position to the cell that the step multiplies; 0 for steps that pad.
std::vector<size_t> step_offsets(const Window& window, const Geometry& g, const Stack& stack, size_t steps) {
  std::vector<size_t> offsets;
  offsets.reserve(steps);
  for (size_t tap = 0; tap < window.taps(); ++tap) {
    const size_t row = tap / window.kernel[1] * window.dilation[0];
    const size_t column = tap % window.kernel[1] * window.dilation[1];
    const size_t phase = row % g.stride_high * g.phases_wide + column % g.stride_wide;
    const size_t place = row / g.stride_high * g.plane_width + column / g.stride_wide;
    for (size_t cell = 0; cell < stack.cell_rows; ++cell)
      offsets.push_back((cell * g.phases_high * g.phases_wide + phase) * stack.cell_stride + place);
  }
  offsets.resize(steps);
  return offsets;
}

// The largest magnitude of each image.
std::vector<float> peaks_of(const Kernels& kernels, const float* x, size_t images, size_t size,
                            const Parallel& parallel) {
  const size_t parts = std::max<size_t>(ceil_div(size, kTaskFloats), 1);
  std::vector<float> found(images * parts);
  parallel.run(found.size(), [&](size_t index) {
    const size_t begin = index % parts * kTaskFloats;
    const size_t count = std::min(kTaskFloats, size - begin);
    kernels.peak({x + index / parts * size + begin, count, &found[index]});
  });
  std::vector<float> peaks(images);
  for (size_t i = 0; i < found.size(); ++i) peaks[i / parts] = std::max(peaks[i / parts], found[i]);
  return peaks;
}

// Quantizes the images of a stack into cells and returns the step of each: its largest magnitude over 127.
std::vector<float> lay(const Kernels& kernels, const Geometry& g, const Stack& stack, const float* x,
                       size_t images, size_t channels, uint32_t* cells, const Parallel& parallel) {
  constexpr float kTiny = 1e-30F;
  const size_t size = channels * g.height * g.width;
  std::vector<float> steps = peaks_of(kernels, x, images, size, parallel);
  const size_t rows = std::max<size_t>(kTaskFloats * stack.cell_rows / std::max<size_t>(size, 1), 1);
  const size_t parts = ceil_div(stack.cell_rows, rows);
  // From the last to the first: what was read last for its peak is still in the cache.
  parallel.run(images * parts, [&](size_t index) {
    const size_t place = images * parts - 1 - index;
    const size_t image = place / parts;
    const size_t begin = place % parts * rows;
    kernels::LayTask task{};
    task.geometry = &g;
    task.x = x + image * size;
    task.inverse = 127.0F / std::max(steps[image], kTiny);
    task.cell_begin = begin;
    task.cell_end = std::min(begin + rows, stack.cell_rows);
    task.cells = cells + image * g.plane_height * g.plane_width;
    task.cell_stride = stack.cell_stride;
    kernels.lay_int8(task);
  });
  for (float& step : steps) step = std::max(step, kTiny) / 127.0F;
  return steps;
}

}  // namespace

void convolve(const Kernels& kernels, const ConvMethod& method, const Matrix& weight, const Window& window,
              const Geometry& g, const Images& images, const kernels::Out& out, const Parallel& parallel) {
  const Stack stack(g, images, method.channels);
  const size_t cell_count = stack.cells(g);
  const Buffer<uint32_t> cells(cell_count, 1);
  std::fill_n(cells.data() + cell_count - kSlackCells, kSlackCells, 0U);
  const std::vector<size_t> offsets = step_offsets(window, g, stack, weight.blocks * kernels::kTernarySteps);
  const size_t tiles = ceil_div(weight.outputs, kTile);
  for (size_t first = 0; first < images.count; first += stack.images) {
    const size_t count = std::min(stack.images, images.count - first);
    const float* x = images.x + first * images.channels * g.height * g.width;
    const auto scale = lay(kernels, g, stack, x, count, images.channels, cells.data(), parallel);
    const size_t rows = (count - 1) * g.plane_height + g.output_height;
    const size_t positions = (rows - 1) * g.plane_width + g.output_width;
    const size_t blocks = ceil_div(positions, kConvPositions);
    const size_t block = ceil_div(ceil_div(positions, blocks), kPositionStep) * kPositionStep;
    parallel.run(ceil_div(positions, block) * tiles, [&](size_t index) {
      kernels::ConvTask task{};
      task.weight = &weight;
      task.geometry = &g;
      task.cells = cells.data();
      task.offsets = offsets.data();
      task.image_scale = scale.data();
      task.out = from_element(out, first * weight.outputs * g.output_height * g.output_width);
      task.position_begin = index / tiles * block;
      task.position_end = std::min(task.position_begin + block, positions);
      task.tile_begin = index % tiles;
      task.tile_end = task.tile_begin + 1;
      (kernels.*method.convolve)(task);
    });
  }
}

}  // namespace regc::ops

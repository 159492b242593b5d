// Checks of the kernels of convolutions.
#pragma once

#include "compare.h"

namespace regc::test {

// A window and what it makes of an image, as runtime_ops/csrc/ops/window.cpp works it out.
struct Axis {
  explicit Axis(Random& random)
      : kernel(between(random, 1, 4)),
        stride(between(random, 1, 3)),
        dilation(between(random, 1, 3)),
        pad(between(random, 0, 3)),
        extent((kernel - 1) * dilation + 1) {
    const size_t pad_after = between(random, 0, 3);
    const size_t least = extent > pad + pad_after ? extent - pad - pad_after : 1;
    size = between(random, least, least + 40);
    output = (size + pad + pad_after - extent) / stride + 1;
    plane = output + (extent - 1) / stride;
    phases = std::min(stride, extent);
  }
  size_t kernel, stride, dilation, pad, extent, size, output, plane, phases;
};

struct Image {
  explicit Image(Random& random) : high(random), wide(random), cells(between(random, 1, 8)) {
    geometry = {high.size,   wide.size,   high.stride, wide.stride, high.pad,    wide.pad,
                high.phases, wide.phases, high.plane,  wide.plane,  high.output, wide.output};
  }
  size_t plane() const { return high.plane * wide.plane; }
  size_t laid(size_t cell_stride) const { return cells * high.phases * wide.phases * cell_stride; }
  Axis high, wide;
  size_t cells;  // fours of channels
  Geometry geometry{};
};

void check_peak(Random& random, const Pair<PeakTask>& pair, const Kernels&) {
  Exact<float> x(between(random, 0, 300), random() % 16);
  fill(random, x.data(), x.size(), random() % 2 == 0);
  float y = -1;
  float expected = -1;
  pair.kernel({x.data(), x.size(), &y});
  pair.generic({x.data(), x.size(), &expected});
  if (!same(&y, &expected, 1)) fail("differs from the generic kernel");
}

void check_lay_int8(Random& random, const Pair<LayTask>& pair, const Kernels&) {
  const Image image(random);
  Exact<float> x(image.cells * kCellBytes * image.high.size * image.wide.size, random() % 16);
  fill(random, x.data(), x.size(), false);
  const size_t stride = image.plane() + random() % 20;
  Guarded<uint32_t> y(image.laid(stride));
  Guarded<uint32_t> expected(image.laid(stride));
  const float inverse = random() % 8 == 0 ? 0.0F : 20.0F;
  const size_t middle = between(random, 0, image.cells);
  pair.kernel({&image.geometry, x.data(), inverse, middle, image.cells, y.data(), stride});
  pair.kernel({&image.geometry, x.data(), inverse, 0, middle, y.data(), stride});
  pair.generic({&image.geometry, x.data(), inverse, 0, image.cells, expected.data(), stride});
  if (!y.intact()) fail("wrote outside of its output");
  if (std::memcmp(y.data(), expected.data(), y.size() * sizeof(uint32_t)) != 0) fail("differs from the generic kernel");
}

std::vector<size_t> offsets_of(const Image& image, size_t cell_stride, size_t steps) {
  std::vector<size_t> offsets;
  for (size_t tap = 0; tap < image.high.kernel * image.wide.kernel; ++tap) {
    const size_t row = tap / image.wide.kernel * image.high.dilation;
    const size_t column = tap % image.wide.kernel * image.wide.dilation;
    const size_t phase = row % image.high.stride * image.wide.phases + column % image.wide.stride;
    const size_t place = row / image.high.stride * image.wide.plane + column / image.wide.stride;
    for (size_t cell = 0; cell < image.cells; ++cell)
      offsets.push_back((cell * image.high.phases * image.wide.phases + phase) * cell_stride + place);
  }
  offsets.resize(steps);
  return offsets;
}

void check_ternary_conv(Random& random, const Pair<ConvTask>& pair, const Kernels&) {
  constexpr size_t kSlack = 48;  // cells that the last vectors may read beyond an image
  const Image image(random);
  const size_t images = between(random, 1, 3);
  Size size(random);
  size.inputs = image.cells * kCellBytes * image.high.kernel * image.wide.kernel;
  const PackedProblem problem(random, size, kTernaryBlock);
  const size_t cell_stride = images * image.plane();
  Exact<uint32_t> cells(image.laid(cell_stride) + kSlack);
  fill(random, reinterpret_cast<uint8_t*>(cells.data()), cells.size() * sizeof(uint32_t));
  const std::vector<size_t> offsets = offsets_of(image, cell_stride, problem.weight.blocks * kTernarySteps);
  Exact<float> scale(images);
  fill(random, scale.data(), images, true);
  const size_t count = images * size.outputs * image.high.output * image.wide.output;
  Exact<float> other(count);
  fill(random, other.data(), count, false);
  Guarded<float> y(count);
  Guarded<float> expected(count);
  const Ending ending = random() % 2 == 0 ? Ending::add : Ending::relu;
  const size_t end = ((images - 1) * image.high.plane + image.high.output - 1) * image.wide.plane + image.wide.output;
  const auto run = [&](auto kernel, Guarded<float>& to, size_t block, size_t begin, size_t tiles_end) {
    const Out out{to.data(), ending == Ending::add ? other.data() : nullptr, ending};
    for (size_t position = 0; position < end; position += block)
      kernel(ConvTask{&problem.weight, &image.geometry, cells.data(), offsets.data(), scale.data(), out, position,
                      std::min(position + block, end), begin, tiles_end});
  };
  const size_t block = 48 * between(random, 1, 8);
  in_parts(random, size.tiles(), [&](size_t begin, size_t stop) { run(pair.kernel, y, block, begin, stop); });
  run(pair.generic, expected, kConvPositions, 0, size.tiles());
  if (!y.intact()) fail("wrote outside of its output");
  if (!same(y.data(), expected.data(), count)) fail("differs from the generic kernel");
}

}  // namespace regc::test

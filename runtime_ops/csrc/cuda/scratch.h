// How products are cut into parts, and the memory that they need beside their operands.
#pragma once

#include "cuda/panel.h"
#include "cuda/skip.h"
#include "cuda/stream.h"

namespace regc::cuda {

constexpr size_t kManyRows = 64;   // up to which the small shape of panels is used, then the large one
constexpr size_t kPartRows = 256;  // up to which the inputs may be cut into parts
constexpr size_t kManyThreads = 65536;  // that keep a large GPU busy: 512 for each of its multiprocessors
constexpr size_t kFewSlices = 4;     // that are worth a part of their own

inline size_t round_up(size_t v, size_t unit) { return ceil_div(v, unit) * unit; }

// The parts of the scratch memory of a product with rows made ready, each from a multiple of 256 bytes on.
struct Scratch {
  size_t stride;     // bytes of a row
  size_t row_scale;  // offsets in bytes
  size_t sums;       // of parts
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
  return scratch_of(rows, stride, rows <= kStreamRows ? 0 : part_sums<TernaryPanel<Codes>>(w, rows));
}

inline Scratch rf8_scratch(const Weight& w, size_t rows) {
  const size_t stride = round_up(w.inputs, RF8Panel::kInputs) * sizeof(uint16_t);
  return scratch_of(rows, stride, part_sums<RF8Panel>(w, rows));
}

// Of a few rows of a gated weight: the inputs of each part, a multiple of those that a block of threads looks at.
inline Parts gated_parts(const Weight& w, size_t rows) {
  const size_t threads = ceil_div(w.outputs, kGatedOutputs) * rows * kSkipThreads;
  const size_t turns = ceil_div(w.inputs, kSkipThreads);
  const size_t each = ceil_div(turns, kernels::min_of(ceil_div(kManyThreads, threads), turns));
  return {ceil_div(turns, each), each * kSkipThreads};
}

// Bytes of the sums of parts, and after them those of the cuts, where a number of inputs passes.
struct GatedScratch {
  size_t cuts;  // offset
  size_t size;
};

inline GatedScratch gated_scratch(const Weight& w, size_t rows) {
  const size_t count = rows > kStreamRows ? 1 : gated_parts(w, rows).count;
  const size_t sums = round_up(count > 1 ? count * rows * w.outputs * sizeof(float) : 0, alignof(Cut));
  return {sums, sums + (w.active == 0 ? 0 : rows * sizeof(Cut))};
}

}  // namespace regc::cuda

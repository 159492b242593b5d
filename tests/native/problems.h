// Random operands of every kind of task, in memory of exactly their size.
#pragma once

#include <cmath>

#include "kernels/kernels.h"
#include "memory.h"

namespace regc::test {

using kernels::ceil_div;
using kernels::kTile;

// Outputs, inputs and rows that are multiples of nothing, now and then of everything.
struct Size {
  explicit Size(Random& random, size_t most_rows = 40)
      : outputs(between(random, 1, 100)), inputs(between(random, 1, 300)), rows(between(random, 0, most_rows)) {
    if (random() % 8 == 0) outputs = 64, inputs = 256;
  }
  size_t tiles() const { return ceil_div(outputs, kTile); }
  size_t outputs;
  size_t inputs;
  size_t rows;
};

// Scale, and a bias of one value or one for each output.
class AffineProblem {
 public:
  AffineProblem(Random& random, const Size& size)
      : scale_(size.outputs, random() % 3), bias_(random() % 2 == 0 ? 1 : size.outputs, random() % 3) {
    fill(random, scale_.data(), scale_.size(), false);
    fill(random, bias_.data(), bias_.size(), false);
  }
  void put(kernels::Affine& w, const Size& size) const {
    w.scale = scale_.data();
    w.bias = bias_.data();
    w.bias_step = bias_.size() == 1 ? 0 : 1;
    w.outputs = size.outputs;
    w.inputs = size.inputs;
  }

 private:
  Exact<float> scale_;
  Exact<float> bias_;
};

constexpr bool is_ternary(size_t block) {
  return block == kernels::kTernaryBlock || block == kernels::kTernary5Block;
}

// A packed weight with codes of `block` inputs, which tells the format.
class PackedProblem {
 public:
  PackedProblem(Random& random, const Size& size, size_t block)
      : affine_(random, size),
        blocks_(ceil_div(size.inputs, block)),
        group_blocks_(is_ternary(block) && random() % 2 == 0 ? between(random, 1, 9) : blocks_),
        groups_(ceil_div(blocks_, group_blocks_)),
        codes_(size.tiles() * blocks_ * kernels::kUnit, random() % 64),
        multiplier_(is_ternary(block) ? size.tiles() * groups_ * kTile : 0, random() % 64) {
    fill(random, codes_.data(), codes_.size());
    const bool one = group_blocks_ == blocks_;
    for (size_t i = 0; i < multiplier_.size(); ++i)
      multiplier_[i] = static_cast<uint8_t>(one ? 1 : random() % (kernels::kMaxMultiplier + 1));
    for (size_t i = 0; block == kernels::kTernaryBlock && i < codes_.size(); ++i) codes_[i] = valid(codes_[i]);
    affine_.put(weight, size);
    weight.codes = codes_.data();
    weight.multiplier = multiplier_.data();
    weight.blocks = blocks_;
    weight.groups = groups_;
    weight.group_blocks = group_blocks_;
    weight.multiplied = !one;
  }
  kernels::Matrix weight{};

 private:
  // No field of a ternary code is 3: those become 1.
  static uint8_t valid(uint8_t code) {
    return static_cast<uint8_t>(code & ~((code & 0x55U) << 1 & code));
  }
  AffineProblem affine_;
  size_t blocks_;
  size_t group_blocks_;
  size_t groups_;
  Exact<uint8_t> codes_;
  Exact<uint8_t> multiplier_;
};

// Kept blocks of float32 or, with one byte a value, RF8 codes.
class SparseProblem {
 public:
  SparseProblem(Random& random, const Size& size, size_t value_bytes)
      : affine_(random, size), start_(size.tiles() + 1, random() % 3) {
    weight.block_log2 = random() % 6;
    const size_t columns = ceil_div(size.inputs, size_t{1} << weight.block_log2);
    std::vector<int32_t> index;
    start_[0] = 0;
    for (size_t tile = 0; tile < size.tiles(); ++tile) {
      for (size_t column = 0; column < columns; ++column)
        if (random() % 2 == 0) index.push_back(static_cast<int32_t>(column));
      start_[tile + 1] = static_cast<int32_t>(index.size());
    }
    index_ = std::make_unique<Exact<int32_t>>(index.size());
    std::copy(index.begin(), index.end(), index_->data());
    const size_t count = index.size() << weight.block_log2;
    values_ = std::make_unique<Exact<uint8_t>>(count * kTile * value_bytes, 4 * (random() % 16));
    if (value_bytes == 1) fill(random, values_->data(), values_->size());
    if (value_bytes == 4) fill(random, reinterpret_cast<float*>(values_->data()), count * kTile, false);
    affine_.put(weight, size);
    weight.values = values_->data();
    weight.index = index_->data();
    weight.start = start_.data();
  }
  size_t padded() const {
    return ceil_div(weight.inputs, size_t{1} << weight.block_log2) << weight.block_log2;
  }
  kernels::SparseMatrix weight{};

 private:
  AffineProblem affine_;
  Exact<int32_t> start_;
  std::unique_ptr<Exact<int32_t>> index_;
  std::unique_ptr<Exact<uint8_t>> values_;
};

// Weights input by input, with norms, a threshold that some inputs pass and a number of them.
class GatedProblem {
 public:
  GatedProblem(Random& random, const Size& size, size_t value_bytes)
      : affine_(random, size),
        values_(size.inputs * size.tiles() * kTile * value_bytes, 4 * (random() % 16)),
        norms_(size.inputs, random() % 3) {
    if (value_bytes == 1) fill(random, values_.data(), values_.size());
    if (value_bytes == 4) fill(random, reinterpret_cast<float*>(values_.data()), values_.size() / 4, false);
    for (size_t i = 0; i < norms_.size(); ++i) norms_[i] = static_cast<float>(random() % 100) / 50;
    affine_.put(weight, size);
    weight.values = values_.data();
    weight.norms = norms_.data();
    weight.threshold = static_cast<float>(random() % 3) / 2;
    weight.active = random() % 4 == 0 ? size.inputs : between(random, 1, size.inputs);
  }
  kernels::GatedMatrix weight{};

 private:
  AffineProblem affine_;
  Exact<uint8_t> values_;
  Exact<float> norms_;
};

// Rows of float32, each filled up with zeros to `padded` inputs.
inline Exact<float> rows_of(Random& random, size_t rows, size_t inputs, size_t padded, bool wild) {
  Exact<float> x(rows * padded, random() % 16);
  std::fill_n(x.data(), x.size(), 0.0F);
  for (size_t row = 0; row < rows; ++row) fill(random, x.data() + row * padded, inputs, wild);
  return x;
}

}  // namespace regc::test

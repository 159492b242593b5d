// Tables for the Gather operators: RF8 and ternary, one row after the other (runtime_ops/formats/rows.py) and in tiles
// (rf8.py and ternary.py beside it).
#include <algorithm>
#include <array>
#include <cmath>

#include "ops/gather.h"
#include "ops/weights.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::kTile;
using kernels::kUnit;

// The value of every RF8 code; see runtime_ops/formats/rf8.py. Looking codes up in plain C++ takes about a cycle each:
// a row is bound by writing its floats.
std::array<float, 256> rf8_values() {
  constexpr int kFractions[8] = {16, 17, 18, 20, 24, 28, 30, 31};  // sixteenths
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15;
    if (exponent == 0) continue;
    const float magnitude = std::ldexp(static_cast<float>(kFractions[code & 7]), exponent - 15 - 4);
    values[static_cast<size_t>(code)] = code < 128 ? magnitude : -magnitude;
  }
  return values;
}

class RF8Table final : public Table {
 public:
  RF8Table(size_t row_count, size_t column_count, const uint8_t* codes, const float* scale)
      : Table(row_count, column_count), codes_(codes), scale_(scale) {}
  void decode(size_t row, float* y) const override {
    const uint8_t* codes = codes_ + row * columns;
    const float scale = scale_[row];
    for (size_t k = 0; k < columns; ++k) y[k] = values_[codes[k]] * scale;
  }

 private:
  const std::array<float, 256> values_ = rf8_values();
  const uint8_t* codes_;
  const float* scale_;
};

class RF8TiledTable final : public Table {
 public:
  RF8TiledTable(size_t row_count, size_t column_count, const uint8_t* codes, const float* scale)
      : Table(row_count, column_count), codes_(codes), scale_(scale) {}
  void decode(size_t row, float* y) const override {
    const size_t blocks = ceil_div(columns, kernels::kRF8Block), in_tile = row % kTile;
    const uint8_t* codes = codes_ + row / kTile * blocks * kUnit + in_tile / 4 * 16 + in_tile % 4 * 2;
    const float scale = scale_[row];
    for (size_t k = 0; k < columns; ++k) y[k] = values_[codes[k / 4 * kUnit + k % 4 / 2 * 8 + k % 2]] * scale;
  }

 private:
  const std::array<float, 256> values_ = rf8_values();
  const uint8_t* codes_;
  const float* scale_;
};

// What both ternary layouts have.
struct TernaryOperands {
  size_t rows;
  size_t columns;
  size_t group;  // a multiple of 16, or all columns
  size_t groups;
  const uint8_t* codes;
  const uint8_t* multiplier;
  const float* scale;
};

// The values of the fields of a group's codes: those of -1, 0 and 1; field 3 is not valid.
struct Levels {
  Levels(uint8_t multiplier, float scale) {
    for (int field = 0; field < 4; ++field) value[field] = static_cast<float>((field - 1) * multiplier) * scale;
  }
  float value[4];
};

class TernaryTable final : public Table {
 public:
  explicit TernaryTable(const TernaryOperands& w) : Table(w.rows, w.columns), w_(w) {}
  void decode(size_t row, float* y) const override {
    const uint8_t* codes = w_.codes + row * ceil_div(columns, 4);
    for (size_t g = 0; g < w_.groups; ++g) {
      const Levels levels(w_.multiplier[row * w_.groups + g], w_.scale[row]);
      const size_t end = std::min(columns, (g + 1) * w_.group);
      for (size_t k = g * w_.group; k < end; ++k) y[k] = levels.value[codes[k / 4] >> k % 4 * 2 & 3];
    }
  }

 private:
  const TernaryOperands w_;
};

class TernaryTiledTable final : public Table {
 public:
  explicit TernaryTiledTable(const TernaryOperands& w) : Table(w.rows, w.columns), w_(w) {}
  void decode(size_t row, float* y) const override {
    const size_t tile = row / kTile, in_tile = row % kTile;
    const uint8_t* codes = w_.codes + tile * ceil_div(columns, kernels::kTernaryBlock) * kUnit + in_tile * 4;
    for (size_t g = 0; g < w_.groups; ++g) {
      const Levels levels(w_.multiplier[(tile * w_.groups + g) * kTile + in_tile], w_.scale[row]);
      const size_t end = std::min(columns, (g + 1) * w_.group);
      for (size_t k = g * w_.group; k < end; ++k)
        y[k] = levels.value[codes[k / 16 * kUnit + k % 4] >> k % 16 / 4 * 2 & 3];
    }
  }

 private:
  const TernaryOperands w_;
};

std::unique_ptr<const Table> read_rf8(const std::vector<Tensor>& tensors, const std::string& node) {
  const Tensor& codes = tensors[0];
  if (codes.shape.size() != 2 || codes.shape[0] < 1 || codes.shape[1] < 1)
    throw InvalidInput(node + "codes has shape " + text(codes.shape) + ", expected [rows, columns]");
  require_shape(tensors[1], {codes.shape[0]}, "scale", " (the rows of codes)", node);
  return std::make_unique<const RF8Table>(static_cast<size_t>(codes.shape[0]), static_cast<size_t>(codes.shape[1]),
                                          codes.as<uint8_t>(), tensors[1].as<float>());
}

std::unique_ptr<const Table> read_rf8_tiled(const std::vector<Tensor>& tensors, const std::string& node) {
  const Tensor& shape = tensors[2];
  require_shape(shape, {2}, "shape", " (N, K)", node);
  const size_t rows = positive_size(shape, 0, "N", node), columns = positive_size(shape, 1, "K", node);
  const auto tiles = static_cast<int64_t>(ceil_div(rows, kTile));
  const auto blocks = static_cast<int64_t>(ceil_div(columns, kernels::kRF8Block));
  require_shape(tensors[0], {tiles, blocks, 4, 2, 4, 2}, "codes", " for the shape [N, K]", node);
  require_shape(tensors[1], {static_cast<int64_t>(rows)}, "scale", " (N of shape)", node);
  return std::make_unique<const RF8TiledTable>(rows, columns, tensors[0].as<uint8_t>(), tensors[1].as<float>());
}

// All but the shapes of codes and multiplier, which depend on the layout.
TernaryOperands read_ternary_sizes(const std::vector<Tensor>& tensors, const std::string& node) {
  const Tensor& shape = tensors[3];
  require_shape(shape, {3}, "shape", " (N, K, group)", node);
  TernaryOperands w{};
  w.rows = positive_size(shape, 0, "N", node);
  w.columns = positive_size(shape, 1, "K", node);
  w.group = ternary_group(shape, w.columns, kernels::kTernaryBlock, node);
  w.groups = ceil_div(w.columns, w.group);
  require_shape(tensors[2], {static_cast<int64_t>(w.rows)}, "scale", " (N of shape)", node);
  w.codes = tensors[0].as<uint8_t>();
  w.multiplier = tensors[1].as<uint8_t>();
  w.scale = tensors[2].as<float>();
  return w;
}

std::unique_ptr<const Table> read_ternary(const std::vector<Tensor>& tensors, const std::string& node) {
  const TernaryOperands w = read_ternary_sizes(tensors, node);
  const auto rows = static_cast<int64_t>(w.rows);
  const std::string why = " for the shape [N, K, group]";
  require_shape(tensors[0], {rows, static_cast<int64_t>(ceil_div(w.columns, 4))}, "codes", why, node);
  require_shape(tensors[1], {rows, static_cast<int64_t>(w.groups)}, "multiplier", why, node);
  return std::make_unique<const TernaryTable>(w);
}

std::unique_ptr<const Table> read_ternary_tiled(const std::vector<Tensor>& tensors, const std::string& node) {
  const TernaryOperands w = read_ternary_sizes(tensors, node);
  const auto tiles = static_cast<int64_t>(ceil_div(w.rows, kTile));
  const auto blocks = static_cast<int64_t>(ceil_div(w.columns, kernels::kTernaryBlock));
  const std::string why = " for the shape [N, K, group]";
  require_shape(tensors[0], {tiles, blocks, 16, 4}, "codes", why, node);
  require_shape(tensors[1], {tiles, static_cast<int64_t>(w.groups), 16}, "multiplier", why, node);
  return std::make_unique<const TernaryTiledTable>(w);
}

const std::vector<InputSpec> kTernaryInputs = {{"indices", abi::kAny},
                                               {"codes", abi::kUInt8},
                                               {"multiplier", abi::kUInt8},
                                               {"scale", abi::kFloat},
                                               {"shape", abi::kInt64}};

}  // namespace

GatherSpec rf8_gather() {
  return {"RF8Gather", {{"indices", abi::kAny}, {"codes", abi::kUInt8}, {"scale", abi::kFloat}}, true, read_rf8};
}

GatherSpec rf8_tiled_gather() {
  const std::vector<InputSpec> inputs = {
      {"indices", abi::kAny}, {"codes", abi::kUInt8}, {"scale", abi::kFloat}, {"shape", abi::kInt64}};
  return {"RF8TiledGather", inputs, false, read_rf8_tiled};
}

GatherSpec ternary_gather() { return {"TernaryGather", kTernaryInputs, false, read_ternary}; }

GatherSpec ternary_tiled_gather() { return {"TernaryTiledGather", kTernaryInputs, false, read_ternary_tiled}; }

}  // namespace regc::ops

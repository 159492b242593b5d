// BlockSparseMatMul and BlockSparseRF8MatMul; the format is described in runtime_ops/formats/block_sparse.py.
#include <algorithm>

#include "ops/matmul.h"
#include "ops/weights.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::Kernels;
using kernels::Out;
using kernels::SparseMatrix;
using kernels::SparseTask;
using SparseKernel = void (*Kernels::*)(const SparseTask&);

constexpr size_t kScaleIndex = 4;
constexpr size_t kMaxBlockLog2 = 5;
constexpr size_t kStreamRows = 3;          // the most rows for which reading x in place beats packing it
constexpr size_t kRoundedStreamRows = 2;   // and beats rounding it, too: four rows of 2048x5632 take as long as two
constexpr size_t kTaskBytes = 128 * 1024;  // values of a stream task: a few microseconds
constexpr size_t kMinTasks = 16;           // of a large product, for machines with many cores
constexpr size_t kMinTiles = 6;            // of a panel task: it passes over all of x, which has to pay
constexpr size_t kPackBytes = 128 * 1024;  // of a packing task

// The two kernels of a storage type and the bytes of a value.
struct SparseMethod {
  SparseKernel stream;
  SparseKernel panel;
  size_t value_bytes;
  Activations activations;
};

class SparseWeight final : public Weight {
 public:
  SparseWeight(const SparseMatrix& matrix, const SparseMethod& method) : w_(matrix), method_(method) {}
  const kernels::Affine& affine() const override { return w_; }

  void multiply(const Kernels& kernels, const float* x, size_t rows, const Out& out,
                const Parallel& parallel) const override {
    const bool rounds =
        method_.activations == Activations::rounded && kernels.round_rows != nullptr && w_.block_log2 >= 1;
    if (rows <= (rounds ? kRoundedStreamRows : kStreamRows)) {
      const PaddedRows whole(x, rows, w_.inputs, padded());
      const size_t by_bytes = kTaskBytes / std::max<size_t>(values() / tiles() * method_.value_bytes, 1);
      const size_t by_count = tiles() / kMinTasks;
      const Rows in = {whole.data(), padded(), nullptr};
      run(kernels, method_.stream, in, {std::min(by_bytes, by_count), rows}, rows, out, parallel);
    } else if (rounds) {
      const RoundedRows rounded(kernels, x, rows, w_.inputs, padded(), parallel);
      // Two halves are turned as one float.
      const auto* pairs = reinterpret_cast<const float*>(rounded.data());
      panel(kernels, {pairs, padded() / 2, padded() / 2, rounded.scale()}, rows, out, parallel);
    } else {
      panel(kernels, {x, w_.inputs, padded(), nullptr}, rows, out, parallel);
    }
  }

 private:
  // Tasks of some tiles times some rows; zero tiles count as one.
  struct Cut {
    size_t tiles;
    size_t rows;
  };

  // Activations as the kernels take them, and the scale of each row if they are rounded.
  struct Rows {
    const float* x;
    size_t stride;
    const float* scale;
  };
  // Rows of 4-byte steps, to be packed in rows of `padded`.
  struct Unpacked {
    const float* x;
    size_t steps;
    size_t padded;
    const float* scale;
  };

  size_t tiles() const { return ceil_div(w_.outputs, kernels::kTile); }
  size_t padded() const { return ceil_div(w_.inputs, size_t{1} << w_.block_log2) << w_.block_log2; }
  size_t values() const { return (static_cast<size_t>(w_.start[tiles()]) << w_.block_log2) * kernels::kTile; }

  void panel(const Kernels& kernels, const Unpacked& in, size_t rows, const Out& out, const Parallel& parallel) const {
    const Buffer<float> packed(ceil_div(rows, kernels::kPackedRows) * kernels::kPackedRows, in.padded);
    pack(kernels, in, rows, packed.data(), parallel);
    run(kernels, method_.panel, {packed.data(), in.padded, in.scale}, cut_panels(rows), rows, out, parallel);
  }

  Cut cut_panels(size_t rows) const {
    const size_t parts = ceil_div(rows, kernels::kSparseRowBlock);
    const size_t panels = ceil_div(ceil_div(rows, parts), kernels::kPackedRows);
    return {std::max(tiles() / kMinTasks, kMinTiles), panels * kernels::kPackedRows};
  }

  static void pack(const Kernels& kernels, const Unpacked& in, size_t rows, float* packed, const Parallel& parallel) {
    const size_t panels_per_task =
        std::max<size_t>(kPackBytes / sizeof(float) / kernels::kPackedRows / in.padded, 1);
    const size_t step = panels_per_task * kernels::kPackedRows;
    parallel.run(ceil_div(rows, step), [&](size_t index) {
      const size_t row = index * step;
      kernels.pack_rows({in.x + row * in.steps, std::min(step, rows - row), in.steps, in.padded,
                         packed + row * in.padded});
    });
  }

  void run(const Kernels& kernels, SparseKernel kernel, const Rows& in, Cut cut, size_t rows, const Out& out,
           const Parallel& parallel) const {
    const bool small = values() <= kInlineWork / rows;
    const size_t tiles_per_task = small ? tiles() : std::max<size_t>(cut.tiles, 1);
    const size_t across = ceil_div(tiles(), tiles_per_task);
    parallel.run(across * ceil_div(rows, cut.rows), [&](size_t index) {
      const size_t tile = index % across * tiles_per_task;
      const size_t row = index / across * cut.rows;
      (kernels.*kernel)({&w_, in.x + row * in.stride, in.stride, in.scale == nullptr ? nullptr : in.scale + row,
                         from_element(out, row * w_.outputs), std::min(cut.rows, rows - row), tile,
                         std::min(tile + tiles_per_task, tiles())});
    });
  }

  const SparseMatrix w_;
  const SparseMethod method_;
};

size_t block_log2(const Tensor& shape, const std::string& node) {
  const size_t block = positive_size(shape, 2, "block", node);
  for (size_t log2 = 0; log2 <= kMaxBlockLog2; ++log2) {
    if (block == size_t{1} << log2) return log2;
  }
  throw InvalidInput(node + "shape says block = " + std::to_string(block) +
                     ", it must be 1, 2, 4, 8, 16 or 32");
}

void check_start(const int32_t* start, size_t tiles, int64_t blocks, const std::string& node) {
  if (start[0] != 0 || start[tiles] != blocks) {
    throw InvalidInput(node + "start goes from " + std::to_string(start[0]) + " to " +
                       std::to_string(start[tiles]) + ", it must go from 0 to the number of blocks, " +
                       std::to_string(blocks));
  }
  const int32_t* falls = std::is_sorted_until(start, start + tiles + 1);
  if (falls == start + tiles + 1) return;
  throw InvalidInput(node + "start falls to " + std::to_string(*falls) + " at tile " +
                     std::to_string(falls - start));
}

// Of one tile: ascending block columns of the weight.
void check_index(const int32_t* index, int32_t begin, int32_t end, size_t columns, const std::string& node) {
  int64_t before = -1;
  for (int32_t i = begin; i < end; ++i) {
    const int64_t column = index[i];
    if (column > before && column < static_cast<int64_t>(columns)) {
      before = column;
      continue;
    }
    throw InvalidInput(node + "index has the value " + std::to_string(column) + " at block " +
                       std::to_string(i) + ", it must ascend within a tile and be less than " +
                       std::to_string(columns));
  }
}

SparseMatrix read(const std::vector<Tensor>& tensors, const char* values_name, const std::string& node) {
  const Tensor& values = tensors[0];
  const Tensor& index = tensors[1];
  const Tensor& start = tensors[2];
  const Tensor& shape = tensors[5];
  require_shape(shape, {3}, "shape", " (N, K, block)", node);
  SparseMatrix w{};
  w.outputs = positive_size(shape, 0, "N", node);
  w.inputs = positive_size(shape, 1, "K", node);
  w.block_log2 = block_log2(shape, node);
  const size_t tiles = ceil_div(w.outputs, kernels::kTile);
  const int64_t block = int64_t{1} << w.block_log2;
  const std::string why =
      " for shape [N, K, block] = " + text({shape.as<int64_t>(), shape.as<int64_t>() + 3});
  const int64_t blocks = values.shape.empty() ? 0 : values.shape[0];
  require_shape(values, {blocks, block, kernels::kTile}, values_name, why + " (any number of blocks)", node);
  require_shape(index, {blocks}, "index", std::string(" (blocks of ") + values_name + ")", node);
  require_shape(start, {static_cast<int64_t>(tiles) + 1}, "start", why, node);
  w.values = values.as<uint8_t>();
  w.index = index.as<int32_t>();
  w.start = start.as<int32_t>();
  check_start(w.start, tiles, blocks, node);
  const size_t columns = ceil_div(w.inputs, static_cast<size_t>(block));
  for (size_t tile = 0; tile < tiles; ++tile)
    check_index(w.index, w.start[tile], w.start[tile + 1], columns, node);
  read_affine(w, tensors[3], tensors[4], node);
  return w;
}

// Zero activations stand for the inputs beyond K, and zero times infinity is not zero.
void check_padding(const SparseMatrix& w, const std::string& node) {
  const size_t block = size_t{1} << w.block_log2;
  const size_t used = w.inputs % block;
  const auto last = static_cast<int32_t>(w.inputs / block);
  const size_t tiles = ceil_div(w.outputs, kernels::kTile);
  const auto* values = reinterpret_cast<const float*>(w.values);
  for (int32_t i = 0; used != 0 && i < w.start[tiles]; ++i) {
    const float* end = values + (static_cast<size_t>(i) + 1) * block * kernels::kTile;
    const float* begin = end - (block - used) * kernels::kTile;
    if (w.index[i] != last || std::all_of(begin, end, [](float value) { return value == 0; })) continue;
    throw InvalidInput(node + "values has a weight other than 0 beyond input " + std::to_string(w.inputs) +
                       " in block " + std::to_string(i));
  }
}

std::unique_ptr<const Weight> read_float(const std::vector<Tensor>& tensors, const std::string& node) {
  const SparseMethod method = {&Kernels::sparse_stream, &Kernels::sparse_panel, sizeof(float), Activations::float32};
  const SparseMatrix w = read(tensors, "values", node);
  check_padding(w, node);
  return std::make_unique<const SparseWeight>(w, method);
}

std::unique_ptr<const Weight> read_rf8(const std::vector<Tensor>& tensors, const std::string& node) {
  const SparseMethod method = {&Kernels::sparse_rf8_stream, &Kernels::sparse_rf8_panel, 1, Activations::rounded};
  return std::make_unique<const SparseWeight>(read(tensors, "codes", node), method);
}

std::vector<InputSpec> inputs(const InputSpec& values) {
  return {{"x", abi::kFloat},     values,
          {"index", abi::kInt32}, {"start", abi::kInt32},
          {"scale", abi::kFloat}, {"bias", abi::kFloat},
          {"shape", abi::kInt64}};
}

}  // namespace

MatMulSpec block_sparse_matmul() {
  return {"BlockSparseMatMul", inputs({"values", abi::kFloat}), kScaleIndex, read_float};
}

MatMulSpec block_sparse_rf8_matmul() {
  return {"BlockSparseRF8MatMul", inputs({"codes", abi::kUInt8}), kScaleIndex, read_rf8};
}

}  // namespace regc::ops

// GatedMatMul, GatedTopKMatMul and the same with RF8 weights; the format is described in runtime_ops/formats/gated.py.
#include <algorithm>

#include "ops/matmul.h"
#include "ops/weights.h"

namespace regc::ops {

namespace {

using kernels::ceil_div;
using kernels::GatedMatrix;
using kernels::GatedTask;
using kernels::Kernels;
using kernels::Out;
using GatedKernel = void (*Kernels::*)(const GatedTask&);
using GateKernel = void (*Kernels::*)(const kernels::GateTask&);

constexpr size_t kScaleIndex = 4;
constexpr size_t kMinTasks = 4;           // of a stream: long runs of each input matter more than many tasks
constexpr size_t kMinTiles = 8;           // of a stream task
constexpr size_t kSideBySide = 4;         // tiles of the widest kernels
constexpr size_t kPanelTasks = 4;         // of panels, before they share pages of an input
constexpr size_t kMinRows = 24;           // of a panel task: fewer do not pay for gathering the panel
constexpr size_t kGateValues = 32 * 1024; // activations of a task that gates them

// The gate, and the two kernels of a storage type.
struct GatedMethod {
  GateKernel gate;
  GatedKernel stream;
  GatedKernel panel;
  Activations activations;
};

class GatedWeight final : public Weight {
 public:
  GatedWeight(const GatedMatrix& matrix, const GatedMethod& method) : w_(matrix), method_(method) {}
  const kernels::Affine& affine() const override { return w_; }

  void multiply(const Kernels& kernels, const float* x, size_t rows, const Out& out,
                const Parallel& parallel) const override {
    if (rows <= kernels::kGatedRows) return stream(kernels, x, rows, out, parallel);
    panel(kernels, x, rows, out, parallel);
  }

 private:
  // Gated activations as panels take them: in float32, or rounded.
  struct Gated {
    const float* x;
    const uint16_t* rounded;
    size_t stride;
    const float* scale;
  };

  size_t tiles() const { return ceil_div(w_.outputs, kernels::kTile); }
  bool small(size_t rows) const { return w_.outputs * w_.inputs <= kInlineWork / rows; }

  void stream(const Kernels& kernels, const float* x, size_t rows, const Out& out, const Parallel& parallel) const {
    const Buffer<float> kept(rows, w_.inputs);
    const Buffer<uint32_t> place(rows, w_.inputs);
    const Buffer<size_t> count(rows, 1);
    (kernels.*method_.gate)({&w_, x, rows, nullptr, kept.data(), place.data(), count.data()});
    const size_t wanted = small(rows) ? tiles() : std::max(tiles() / kMinTasks, kMinTiles);
    const size_t step = std::min(wanted, kernels::kGatedTiles);
    parallel.run(ceil_div(tiles(), step), [&](size_t index) {
      const size_t tile = index * step;
      GatedTask task{};
      task.weight = &w_;
      task.x = kept.data();
      task.place = place.data();
      task.count = count.data();
      task.out = out;
      task.rows = rows;
      task.tile_begin = tile;
      task.tile_end = std::min(tile + step, tiles());
      (kernels.*method_.stream)(task);
    });
  }

  void panel(const Kernels& kernels, const float* x, size_t rows, const Out& out, const Parallel& parallel) const {
    const bool rounds = method_.activations == Activations::rounded && kernels.round_rows != nullptr;
    const size_t stride = rounds ? w_.inputs : spaced<float>(w_.inputs);
    const Buffer<float> gated(rows, stride);
    gate(kernels, x, rows, gated.data(), stride, parallel);
    if (!rounds) return panel(kernels, {gated.data(), nullptr, stride, nullptr}, rows, out, parallel);
    const size_t padded = spaced<uint16_t>(w_.inputs);
    const RoundedRows rounded(kernels, gated.data(), rows, w_.inputs, padded, parallel);
    panel(kernels, {nullptr, rounded.data(), padded, rounded.scale()}, rows, out, parallel);
  }

  void panel(const Kernels& kernels, const Gated& in, size_t rows, const Out& out, const Parallel& parallel) const {
    const size_t block = std::min(rows, kernels::kGatedRowBlock);
    const size_t most = std::min(kernels::kGatedPanelTiles, kernels::kGatedSums / block / kSideBySide * kSideBySide);
    const size_t fair = ceil_div(ceil_div(tiles(), kPanelTasks), kSideBySide) * kSideBySide;
    const size_t step = small(rows) ? tiles() : std::min(fair, most);
    const size_t height = small(rows) ? rows : panel_rows(rows, ceil_div(tiles(), step));
    const size_t across = ceil_div(tiles(), step);
    parallel.run(across * ceil_div(rows, height), [&](size_t index) {
      const size_t tile = index % across * step;
      const size_t row = index / across * height;
      GatedTask task{};
      task.weight = &w_;
      if (in.rounded == nullptr) {
        task.x = in.x + row * in.stride;
      } else {
        task.rounded = in.rounded + row * in.stride;
        task.row_scale = in.scale + row;
      }
      task.x_stride = in.stride;
      task.out = from_element(out, row * w_.outputs);
      task.rows = std::min(height, rows - row);
      task.tile_begin = tile;
      task.tile_end = std::min(tile + step, tiles());
      (kernels.*method_.panel)(task);
    });
  }

  // Rows of a task, where there are `across` for the same rows: of more, each would gather the weights again.
  static size_t panel_rows(size_t rows, size_t across) {
    const size_t split = std::min(ceil_div(kPanelTasks, across), ceil_div(rows, kMinRows));
    return ceil_div(rows, std::max(split, ceil_div(rows, kernels::kGatedRowBlock)));
  }

  void gate(const Kernels& kernels, const float* x, size_t rows, float* gated, size_t stride,
            const Parallel& parallel) const {
    const size_t step = std::max<size_t>(kGateValues / w_.inputs, 1);
    parallel.run(ceil_div(rows, step), [&](size_t index) {
      for (size_t row = index * step; row < std::min((index + 1) * step, rows); ++row)
        (kernels.*method_.gate)({&w_, x + row * w_.inputs, 1, gated + row * stride, nullptr, nullptr, nullptr});
    });
  }

  const GatedMatrix w_;
  const GatedMethod method_;
};

// The third input, of one value: how large inputs are that pass, or how many of them there are.
enum class Limit { threshold, active };

void read_limit(GatedMatrix& w, Limit limit, const Tensor& tensor, const std::string& node) {
  if (limit == Limit::threshold) {
    require_shape(tensor, {1}, "threshold", "", node);
    w.threshold = *tensor.as<float>();
    return;
  }
  require_shape(tensor, {1}, "active", "", node);
  const int64_t active = *tensor.as<int64_t>();
  if (active < 1 || active > static_cast<int64_t>(w.inputs)) {
    throw InvalidInput(node + "active is " + std::to_string(active) + ", it must be 1 to K = " +
                       std::to_string(w.inputs));
  }
  w.active = static_cast<size_t>(active);
}

GatedMatrix read(const std::vector<Tensor>& tensors, const char* values_name, Limit limit, const std::string& node) {
  const Tensor& values = tensors[0];
  const Tensor& norms = tensors[1];
  const Tensor& shape = tensors[5];
  require_shape(shape, {2}, "shape", " (N, K)", node);
  GatedMatrix w{};
  w.outputs = positive_size(shape, 0, "N", node);
  w.inputs = positive_size(shape, 1, "K", node);
  const auto inputs = static_cast<int64_t>(w.inputs);
  const auto padded = static_cast<int64_t>(ceil_div(w.outputs, kernels::kTile) * kernels::kTile);
  const std::string why = " for shape [N, K] = " + text({shape.as<int64_t>(), shape.as<int64_t>() + 2});
  require_shape(values, {inputs, padded}, values_name, why, node);
  require_shape(norms, {inputs}, "norms", why, node);
  read_limit(w, limit, tensors[2], node);
  w.values = values.as<uint8_t>();
  w.norms = norms.as<float>();
  read_affine(w, tensors[3], tensors[4], node);
  return w;
}

template <Limit kLimit>
constexpr GateKernel kGate = kLimit == Limit::threshold ? &Kernels::gate : &Kernels::gate_top;

template <Limit kLimit>
std::unique_ptr<const Weight> read_float(const std::vector<Tensor>& tensors, const std::string& node) {
  const GatedMethod method = {kGate<kLimit>, &Kernels::gated_stream, &Kernels::gated_panel, Activations::float32};
  return std::make_unique<const GatedWeight>(read(tensors, "weights", kLimit, node), method);
}

template <Limit kLimit>
std::unique_ptr<const Weight> read_rf8(const std::vector<Tensor>& tensors, const std::string& node) {
  const GatedMethod method = {kGate<kLimit>, &Kernels::gated_rf8_stream, &Kernels::gated_rf8_panel,
                              Activations::rounded};
  return std::make_unique<const GatedWeight>(read(tensors, "codes", kLimit, node), method);
}

std::vector<InputSpec> inputs(const InputSpec& values, Limit limit) {
  const bool threshold = limit == Limit::threshold;
  const InputSpec third = threshold ? InputSpec{"threshold", abi::kFloat} : InputSpec{"active", abi::kInt64};
  return {{"x", abi::kFloat},     values, {"norms", abi::kFloat}, third, {"scale", abi::kFloat},
          {"bias", abi::kFloat}, {"shape", abi::kInt64}};
}

template <Limit kLimit>
MatMulSpec of_floats(const char* name) {
  return {name, inputs({"weights", abi::kFloat}, kLimit), kScaleIndex, read_float<kLimit>};
}

template <Limit kLimit>
MatMulSpec of_rf8(const char* name) {
  return {name, inputs({"codes", abi::kUInt8}, kLimit), kScaleIndex, read_rf8<kLimit>};
}

}  // namespace

MatMulSpec gated_matmul() { return of_floats<Limit::threshold>("GatedMatMul"); }
MatMulSpec gated_rf8_matmul() { return of_rf8<Limit::threshold>("GatedRF8MatMul"); }
MatMulSpec gated_topk_matmul() { return of_floats<Limit::active>("GatedTopKMatMul"); }
MatMulSpec gated_topk_rf8_matmul() { return of_rf8<Limit::active>("GatedTopKRF8MatMul"); }

}  // namespace regc::ops

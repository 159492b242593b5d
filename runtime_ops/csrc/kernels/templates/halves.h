// Float16 sums of RF8 weights, for instruction sets that have H32.
#pragma once

namespace regc::kernels::REGC_ISA {

// Two rows, decoded, take 1 / 1.7 of the time that they take streamed.
constexpr size_t kRF8StreamRows = 1;

// Inputs of one float16 chain of an output, and the bound of |x| for which its sums stay finite: weights are less
// than 2 in magnitude, and 128 * 1.9375 * 256 is less than 65504.
constexpr size_t kHalfInputs = 128;

// The power of two that brings the largest finite magnitude of a row to 128 .. 256.
REGC_INLINE float half_scale(const float* x, size_t count) {
  constexpr int32_t kInfinity = 0x7F800000;
  int32_t peak = 0;
  for (size_t k = 0; k < count; ++k) {
    const int32_t magnitude = static_cast<int32_t>(float_bits(x[k]) & 0x7FFFFFFFU);
    const int32_t finite = magnitude < kInfinity ? magnitude : 0;
    peak = finite > peak ? finite : peak;
  }
  constexpr int32_t kLargest = 253;  // exponent of a scale whose reciprocal is not denormal
  const int32_t exponent = 127 + 7 + 127 - (peak >> 23);
  const int32_t pattern = (exponent < kLargest ? exponent : kLargest) << 23;
  float scale;
  std::memcpy(&scale, &pattern, sizeof(scale));
  return scale;
}

inline void round_rows(const RoundTask& task) {
  for (size_t row = 0; row < task.rows; ++row) {
    const float* x = task.x + row * task.inputs;
    uint16_t* rounded = task.rounded + row * task.padded;
    const float scale = half_scale(x, task.inputs);
    task.row_scale[row] = 1 / scale;
    for (size_t k = 0; k < task.inputs; k += kTile)
      store_halves(rounded + k, x + k, scale, min_of(kTile, task.inputs - k));
    std::memset(rounded + task.inputs, 0, (task.padded - task.inputs) * sizeof(uint16_t));
  }
}

// Rows of halves against pairs of weights: a lane adds the even inputs in its low and the odd ones in its high half,
// in chains of fused multiply-adds over kHalfInputs inputs, whose float16 sum joins a sum in float32.
struct HalfSteps {
  using Sum = H32;
  using Weight = B64;
  static constexpr size_t kMostSteps = kHalfInputs / 2;
  static Sum zero() { return zero_h(); }
  static Sum open(const uint8_t*, Sum) { return zero_h(); }
  static void close(uint8_t* p, Sum sum) { FloatSteps::store(p, add_f(FloatSteps::load(p), lane_sums(sum))); }
  static Weight load(const uint8_t* p) { return load_b(p); }
  static void store(uint8_t* p, Weight w) { store_b(p, w); }
  static H32 fill(const uint8_t* p) { return halves(fill_4(p)); }
  static Sum step(Sum sum, Weight w, H32 x) { return fma_h(halves(w), x, sum); }
  static Sum count(Sum excess, Weight) { return excess; }
  static F16 value(const uint8_t* p, const float* row_scale, size_t row) {
    return mul_f(FloatSteps::load(p), fill_f(row_scale[row]));
  }
};

struct RF8Half {
  using Steps = HalfSteps;
  struct Group {};
  static constexpr size_t kSteps = 2;
  static Group group(const Matrix&, size_t, size_t) { return {}; }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group, const Function& function) {
    B64 pair[2];
    rf8_pairs(load_b(codes), pair);
#pragma GCC unroll 2
    for (size_t k = 0; k < 2; ++k) function(k, pair[k]);
  }
};

// Rows of RF8 codes two by two, for block-sparse panels.
struct RF8PairRows {
  using Steps = HalfSteps;
  static constexpr size_t kLog2 = 1;
  static constexpr size_t kBytes = 2 * kTile;
  REGC_INLINE const uint8_t* slice(const uint8_t* rows, size_t count, uint8_t* buffer) {
    B64 pair[2];
    size_t step = 0;
    for (; step + 2 <= count; step += 2) {
      rf8_row_pairs(rows + step * kBytes, pair);
      store_b(buffer + step * kUnit, pair[0]);
      store_b(buffer + (step + 1) * kUnit, pair[1]);
    }
    if (step < count) {
      uint8_t padded[2 * kBytes] = {};
      std::memcpy(padded, rows + step * kBytes, kBytes);
      rf8_row_pairs(padded, pair);
      store_b(buffer + step * kUnit, pair[0]);
    }
    return buffer;
  }
};

// Pairs of inputs of gated weights.
struct GatherPairs {
  using Steps = HalfSteps;
  static constexpr size_t kInputs = 2;
  static constexpr size_t kBytes = kTile;
  static constexpr size_t kMostSteps = HalfSteps::kMostSteps;

  static size_t slice(size_t, size_t) { return kHalfInputs; }

  template <int T>
  REGC_INLINE void step(const uint8_t* values, size_t stride, size_t some, B64 (&weight)[T]) {
    // A last input without a partner meets zeros in its place: it may be its own.
    const uint8_t* second = some > 1 ? values + stride : values;
    if constexpr (T == 4) {
      rf8_tile_pairs(values, second, weight);
    } else {
      uint8_t rows[4 * kTile] = {};
      std::memcpy(rows, values, kTile);
      std::memcpy(rows + kTile, second, kTile);
      B64 pair[2];
      rf8_row_pairs(rows, pair);
      weight[0] = pair[0];
    }
  }
  template <int T>
  REGC_INLINE void turn(F16 (&sum)[T]) {
    if constexpr (T == 4) turn_tiles(sum);
  }
};

inline void rf8_panel(const MatMulTask& task) { panel<RF8Half>(task); }
// Blocks of one input have no pairs.
inline void sparse_rf8_panel(const SparseTask& task) {
  task.row_scale == nullptr ? panel_blocks<RF8Rows>(task) : panel_blocks<RF8PairRows>(task);
}
inline void gated_rf8_panel(const GatedTask& task) {
  gated_blocks<GatherPairs>(task, {reinterpret_cast<const uint8_t*>(task.rounded), task.x_stride * sizeof(uint16_t)});
}

}  // namespace regc::kernels::REGC_ISA

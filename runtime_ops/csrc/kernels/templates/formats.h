// What the panel and stream kernels have to know of a format and of an activation type.
//
// Both activation types come in steps of four bytes, one float or four int8, against 64 bytes of decoded
// weights: so one register tile (panel.h) serves all formats.
#pragma once

namespace regc::kernels::REGC_ISA {

// Steps of a slice of a panel: with 4 tiles its decoded weights are 32 KB and stay in L1.
constexpr size_t kSliceSteps = 128;

// Quantized activations q + 128 as unsigned bytes against int8 weights, in int32 lanes.
struct Int8Steps {
  using Sum = I16;
  using Weight = B64;
  using Activation = B64;
  static constexpr size_t kMostSteps = ~size_t{0};  // of a chain of sums
  static Sum zero() { return zero_i(); }
  static Sum load_sum(const uint8_t* p) { return load_i(p); }
  static void store_sum(uint8_t* p, Sum v) { store_i(p, v); }
  // What a register tile starts from and leaves behind: the sums so far.
  static Sum open(const uint8_t* p, Sum excess) { return without(load_sum(p), excess); }
  static void close(uint8_t* p, Sum sum) { store_sum(p, sum); }
  static Weight load(const uint8_t* p) { return load_b(p); }
  static void store(uint8_t* p, Weight w) { store_b(p, w); }
  static Activation fill(const uint8_t* p) { return fill_4(p); }
  static Sum step(Sum sum, Weight w, Activation x) { return dot(sum, x, w); }
  // The 128 in every activation adds 128 * (sum of the weights), which is counted while they are decoded.
  static Sum count(Sum excess, Weight w) { return dot(excess, fill_b(128), w); }
  static Sum plus(Sum a, Sum b) { return add_i(a, b); }
  static Sum without(Sum sum, Sum excess) { return sub_i(sum, excess); }
  // The same sum in every lane.
  static Sum fill_sum(const uint8_t* p) {
    int32_t sum;
    std::memcpy(&sum, p, sizeof(sum));
    return fill_i(sum);
  }
  static F16 value(Sum sum, const float* row_scale, size_t row) {
    return mul_f(to_float(sum), fill_f(row_scale[row]));
  }
  static F16 value(const uint8_t* p, const float* row_scale, size_t row) {
    return value(load_i(p), row_scale, row);
  }
};

// float32 activations. Every output is one chain of fused multiply-adds over ascending inputs, whatever the
// kernel, the instruction set or the number of rows: so they all agree bit for bit.
struct FloatSteps {
  using Sum = F16;
  using Weight = F16;
  using Activation = F16;
  static constexpr size_t kMostSteps = ~size_t{0};
  static Sum zero() { return zero_f(); }
  static Sum open(const uint8_t* p, Sum) { return load(p); }
  static void close(uint8_t* p, Sum sum) { store(p, sum); }
  static Weight load(const uint8_t* p) { return load_f(reinterpret_cast<const float*>(p)); }
  static void store(uint8_t* p, Weight w) { store_f(reinterpret_cast<float*>(p), w); }
  static Activation fill(const uint8_t* p) {
    float x;
    std::memcpy(&x, p, sizeof(x));
    return fill_f(x);
  }
  static Sum step(Sum sum, Weight w, Activation x) { return fma_f(w, x, sum); }
  static Sum count(Sum excess, Weight) { return excess; }
  static F16 value(const uint8_t* p, const float*, size_t) { return load(p); }
};

// A format has the type of its steps, their number in 64 bytes of codes, what it keeps of a group, and
// each(), which calls function(step, weight) for the steps of 64 bytes of codes in ascending order.

// Those with int8 activations also have the inputs of 64 bytes of codes, and sums() of trit + 1 times q.

struct TernaryInt8 {
  using Steps = Int8Steps;
  using Group = B64;
  static constexpr size_t kSteps = 4;
  static constexpr size_t kInputs = kTernaryBlock;
  static Group group(const Matrix& w, size_t tile, size_t group) {
    return ternary_table(tile_multiplier(w, tile, group));
  }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group multiplier, const Function& function) {
    const B64 code = load_b(codes);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) function(static_cast<size_t>(p), ternary_bytes(code, p, multiplier));
  }
  template <int T>
  REGC_INLINE void sums(const Streams<T>& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
    ternary_sums<T>(streams, blocks, q, sums);
  }
};

struct Ternary5Int8 {
  using Steps = Int8Steps;
  using Group = B64;
  static constexpr size_t kSteps = 5;
  static constexpr size_t kInputs = kTernary5Block;
  static Group group(const Matrix& w, size_t tile, size_t group) {
    return spread(tile_multiplier(w, tile, group));
  }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group multiplier, const Function& function) {
    B64 fraction = load_b(codes);
#pragma GCC unroll 5
    for (size_t p = 0; p < 5; ++p) {
      function(p, ternary5_bytes(fraction, multiplier));
      fraction = times_3(fraction);
    }
  }
  template <int T>
  REGC_INLINE void sums(const Streams<T>& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
    ternary5_sums<T>(streams, blocks, q, sums);
  }
};

struct TernaryFloat {
  using Steps = FloatSteps;
  using Group = F16;
  static constexpr size_t kSteps = 16;
  static Group group(const Matrix& w, size_t tile, size_t group) {
    return to_float(widen(tile_multiplier(w, tile, group)));
  }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group multiplier, const Function& function) {
    const I16 code = load_i(codes);
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      const int bit = 8 * (k % 4) + 2 * (k / 4);
      function(static_cast<size_t>(k), ternary_floats(code, bit, multiplier));
    }
  }
};

struct Ternary5Float {
  using Steps = FloatSteps;
  using Group = F16;
  static constexpr size_t kSteps = 20;
  static Group group(const Matrix& w, size_t tile, size_t group) {
    return TernaryFloat::group(w, tile, group);
  }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group multiplier, const Function& function) {
    B64 fraction = load_b(codes);
#pragma GCC unroll 5
    for (int p = 0; p < 5; ++p) {
      const I16 digits = lanes_of(ternary5_digits(fraction));
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
        function(static_cast<size_t>(4 * p + j), ternary_floats(digits, 8 * j + 6, multiplier));
      fraction = times_3(fraction);
    }
  }
};

struct RF8Float {
  using Steps = FloatSteps;
  struct Group {};
  static constexpr size_t kSteps = 4;
  static Group group(const Matrix&, size_t, size_t) { return {}; }
  template <class Function>
  REGC_INLINE void each(const uint8_t* codes, Group, const Function& function) {
    F16 weight[4];
    rf8_floats(codes, weight);
#pragma GCC unroll 4
    for (size_t k = 0; k < 4; ++k) function(k, weight[k]);
  }
};

}  // namespace regc::kernels::REGC_ISA

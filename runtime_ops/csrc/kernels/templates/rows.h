// Weights stored input by input: a row is one input's weights of the sixteen outputs of a tile.
#pragma once

namespace regc::kernels::REGC_ISA {

// A storage type has 2**kLog2 rows for a step, their bytes, load() of four rows and of one, and slice(), which gives
// `count` rows as the weights of its Steps, in place or decoded into `buffer`.

struct FloatRows {
  using Steps = FloatSteps;
  static constexpr size_t kLog2 = 0;
  static constexpr size_t kBytes = kTile * sizeof(float);
  REGC_INLINE void load(const uint8_t* rows, F16 (&weight)[4]) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) weight[i] = load_one(rows + i * kBytes);
  }
  REGC_INLINE F16 load_one(const uint8_t* row) { return load_f(reinterpret_cast<const float*>(row)); }
  REGC_INLINE const uint8_t* slice(const uint8_t* rows, size_t, uint8_t*) { return rows; }
};

struct RF8Rows {
  using Steps = FloatSteps;
  static constexpr size_t kLog2 = 0;
  static constexpr size_t kBytes = kTile;
  REGC_INLINE void load(const uint8_t* rows, F16 (&weight)[4]) { rf8_rows(rows, weight); }
  REGC_INLINE F16 load_one(const uint8_t* row) {
    uint8_t padded[4 * kBytes] = {};
    F16 weight[4];
    std::memcpy(padded, row, kBytes);
    rf8_rows(padded, weight);
    return weight[0];
  }
  REGC_INLINE const uint8_t* slice(const uint8_t* rows, size_t count, uint8_t* buffer) {
    size_t row = 0;
    for (; row + 4 <= count; row += 4) {
      F16 weight[4];
      rf8_rows(rows + row * kBytes, weight);
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) Steps::store(buffer + (row + i) * kUnit, weight[i]);
    }
    for (; row < count; ++row) Steps::store(buffer + row * kUnit, load_one(rows + row * kBytes));
    return buffer;
  }
};

}  // namespace regc::kernels::REGC_ISA

// What compiling calls of the library: RF8 codes and scales of whole weights (runtime_ops/encoder.py). All memory is
// the caller's, and so are the threads.
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

#define REGC_EXPORT extern "C" __attribute__((visibility("default")))

namespace regc::kernels {

namespace {

constexpr size_t kColumns = 256;    // of a tile, whose codes wait in L1 to be packed
constexpr size_t kMostJudged = 512;
constexpr size_t kMostSteps = 16;
constexpr float kMostScale = 0x1p127F;

// Those that REGC_ISA allows; null where it names none.
const Kernels* chosen() noexcept {
  const auto isa = isa_up_to(isa_bound());
  return isa.has_value() ? &kernels_for(*isa) : nullptr;
}

// Two neighbouring inputs of one output are two neighbouring bytes; runtime_ops/formats/rf8.py has the order.
void pack(const uint8_t (&codes)[kTile][kColumns], size_t blocks, uint8_t* packed) {
  for (size_t n = 0; n < kTile; ++n) {
    uint8_t* of_output = packed + n / 4 * 16 + n % 4 * 2;
    for (size_t block = 0; block < blocks; ++block) {
      std::memcpy(of_output + block * kUnit, &codes[n][block * kRF8Block], 2);
      std::memcpy(of_output + block * kUnit + 8, &codes[n][block * kRF8Block + 2], 2);
    }
  }
}

// Adds the squares of what up to four neighbouring codes of a row miss to as many sums, for additions to one would wait
// for each other.
inline void add_missed(const uint8_t* codes, const float* weight, size_t count, float scale, const float* values,
                       double (&sums)[kRF8Block]) {
  for (size_t i = 0; i < count; ++i) {
    const auto error = static_cast<double>(values[codes[i / 2 * 8 + i % 2]] * scale - weight[i]);
    sums[i] += error * error;
  }
}

// The step of the least error, the first of several.
size_t best_step(const double* errors, const float* steps, size_t count) {
  size_t best = 0;
  double least = 0;
  for (size_t step = 0; step < count; ++step) {
    const double error = errors[step] * static_cast<double>(steps[step]) * static_cast<double>(steps[step]);
    if (step == 0 || error < least) best = step, least = error;
  }
  return best;
}

}  // namespace

// Codes uint8 [count] of x float32 [count]. All of these functions return 0, or 1 where REGC_ISA names no instruction
// set.
REGC_EXPORT int regc_rf8_codes(const float* x, size_t count, const int32_t* thresholds, uint8_t* codes) noexcept {
  const Kernels* kernels = chosen();
  if (kernels == nullptr) return 1;
  kernels->rf8_codes({x, count, 1, thresholds, codes});
  return 0;
}

// Packed codes [ceil(rows / 16)][ceil(columns / 4)][64] of weight [rows][columns] with scale [rows].
REGC_EXPORT int regc_rf8_pack(const float* weight, const float* scale, size_t rows, size_t columns,
                              const int32_t* thresholds, uint8_t* packed) noexcept {
  const Kernels* kernels = chosen();
  if (kernels == nullptr) return 1;
  for (size_t row = 0; row < rows; row += kTile) {
    for (size_t column = 0; column < columns; column += kColumns) {
      const size_t count = min_of(kColumns, columns - column);
      const size_t blocks = ceil_div(count, kRF8Block);
      uint8_t codes[kTile][kColumns] = {};
      for (size_t n = 0; n < min_of(kTile, rows - row); ++n)
        kernels->rf8_codes({weight + (row + n) * columns + column, count, scale[row + n], thresholds, codes[n]});
      pack(codes, blocks, packed);
      packed += blocks * kUnit;
    }
  }
  return 0;
}

// scale [rows] is a power of two for each row, and becomes that times the one of steps, from 1 to 2, that leaves the
// least squared error in those inputs of weight [rows][columns] that sample [count] lists. None becomes greater than
// 2**127.
REGC_EXPORT int regc_rf8_scales(const float* weight, size_t rows, size_t columns, const int64_t* sample, size_t count,
                                const float* steps, size_t step_count, float* scale) noexcept {
  const Kernels* kernels = chosen();
  if (kernels == nullptr) return 1;
  float factors[kMostSteps];
  for (size_t step = 0; step < step_count; ++step) factors[step] = 1 / steps[step];
  for (size_t row = 0; row < rows; ++row) {
    float x[kMostJudged] = {};
    const float* of_row = weight + row * columns;
    for (size_t k = 0; k < count; ++k) x[k] = std::fabs(of_row[static_cast<size_t>(sample[k])]) / scale[row];
    double errors[kMostSteps];
    const size_t tried = scale[row] < kMostScale ? step_count : 1;
    kernels->rf8_judge({x, ceil_div(count, kJudged) * kJudged, factors, tried, errors});
    scale[row] *= steps[best_step(errors, steps, tried)];
  }
  return 0;
}

// The squared error [rows] that packed codes leave of weight [rows][columns]; values [256] are those of the codes.
REGC_EXPORT int regc_rf8_missed(const float* weight, const float* scale, const uint8_t* packed, size_t rows,
                                size_t columns, const float* values, double* missed) noexcept {
  const size_t unit_row = ceil_div(columns, kRF8Block) * kUnit;
  for (size_t row = 0; row < rows; ++row) {
    const uint8_t* codes = packed + row / kTile * unit_row + row % kTile / 4 * 16 + row % 4 * 2;
    const float* of_row = weight + row * columns;
    double sums[kRF8Block] = {};
    for (size_t k = 0; k + kRF8Block <= columns; k += kRF8Block, codes += kUnit)
      add_missed(codes, of_row + k, kRF8Block, scale[row], values, sums);
    add_missed(codes, of_row + columns - columns % kRF8Block, columns % kRF8Block, scale[row], values, sums);
    missed[row] = sums[0] + sums[1] + sums[2] + sums[3];
  }
  return 0;
}

}  // namespace regc::kernels

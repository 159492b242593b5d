// Rows of activations made ready for the products: quantized to int8, or rounded to float16. A block of threads a row.
#pragma once

#include "cuda/elements.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kRowThreads = 1024;  // at most: for a single row, latency is all that counts

// Rows [rows][inputs].
struct Rows {
  Input in;
  size_t inputs;
  bool fours;  // see in_fours()
};

// Inputs k to k + 3 of a row, k a multiple of four; zeros for those that it lacks.
REGC_DEVICE void load_four(const Rows& rows, size_t row, size_t k, float (&x)[4]) {
  const size_t first = row * rows.inputs + k;
  if (rows.fours && k < rows.inputs) {
    if (rows.in.type == Type::float32) return Wide::four(rows.in, first, x);
    return Narrow::four(rows.in, first, x);
  }
#pragma unroll
  for (unsigned j = 0; j < 4; ++j)
    x[j] = k + j < rows.inputs ? load_element(rows.in.x, first + j, rows.in.type) : 0.0F;
}

// The largest magnitude of a row as bits, which sort like it, NaN above all; `finite` leaves NaN and infinity out.
REGC_DEVICE int32_t peak_of(const Rows& rows, size_t row, bool finite, int32_t* shared) {
  constexpr int32_t kInfinity = 0x7F800000;
  int32_t peak = 0;
#pragma unroll 4
  for (size_t k = 4 * threadIdx.x; k < rows.inputs; k += 4 * blockDim.x) {
    float x[4];
    load_four(rows, row, k, x);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto magnitude = static_cast<int32_t>(float_bits(x[j]) & 0x7FFFFFFFU);
      if (magnitude > peak && !(finite && magnitude >= kInfinity)) peak = magnitude;
    }
  }
  return block_peak(peak, shared);
}

// q = rint(x * (127 / amax)) with amax = max(max |x|, 1e-30), and zeros with an infinite scale for a row with NaN or
// infinity; see QuantizeTask in kernels.h.
struct QuantizeArgs {
  Rows rows;
  uint8_t* q;        // [rows][stride], zeros beyond the inputs
  size_t stride;     // a multiple of 4
  float* row_scale;  // [rows]: amax / 127
};

REGC_LAUNCHED(kRowThreads) quantize_rows(QuantizeArgs a) {
  REGC_SHARED(int32_t, peaks, kWarp);
  constexpr int32_t kInfinity = 0x7F800000;
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: a sum with it has an integer in its low bits
  const size_t row = blockIdx.x;
  const int32_t peak = peak_of(a.rows, row, false, peaks);
  const float largest = bits_float(static_cast<uint32_t>(peak < kInfinity ? peak : kInfinity));
  const float amax = largest > 1e-30F ? largest : 1e-30F;
  const float inverse = 127.0F / amax;
  if (threadIdx.x == 0) a.row_scale[row] = amax / 127.0F;
  for (size_t k = 4 * threadIdx.x; k < a.stride; k += 4 * blockDim.x) {
    float x[4];
    load_four(a.rows, row, k, x);
    uint32_t word = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) word |= (float_bits(x[j] * inverse + kRounder) & 0xFFU) << 8 * j;
    store_4(a.q + row * a.stride + k, inverse > 0 ? word : 0);
  }
}

// rounded = x / row_scale with the power of two that brings the largest finite magnitude of a row to 128 .. 256; see
// RoundTask in kernels.h.
struct RoundArgs {
  Rows rows;
  uint16_t* rounded;  // [rows][padded] halves, zeros beyond the inputs
  size_t padded;      // a multiple of 4
  float* row_scale;   // [rows]
};

REGC_LAUNCHED(kRowThreads) round_rows(RoundArgs a) {
  REGC_SHARED(int32_t, peaks, kWarp);
  constexpr int32_t kLargest = 253;  // exponent of a scale whose reciprocal is not denormal
  const size_t row = blockIdx.x;
  const int32_t exponent = 127 + 7 + 127 - (peak_of(a.rows, row, true, peaks) >> 23);
  const float scale = bits_float(static_cast<uint32_t>(exponent < kLargest ? exponent : kLargest) << 23);
  if (threadIdx.x == 0) a.row_scale[row] = 1.0F / scale;
  for (size_t k = 4 * threadIdx.x; k < a.padded; k += 4 * blockDim.x) {
    float x[4];
    load_four(a.rows, row, k, x);
    uint32_t half[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) half[j] = float_to_half(x[j] * scale);
    uint16_t* to = a.rounded + row * a.padded + k;
    store_4(to, half[0] | half[1] << 16);
    store_4(to + 2, half[2] | half[3] << 16);
  }
}

}  // namespace regc::cuda

// Rows of activations made ready for the products: quantized to int8, or rounded to float16. A block of threads a row.
#pragma once

#include "cuda/elements.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr unsigned kRowThreads = 320;  // a multiple of the four-byte words of a block of codes, 4 or 5

// q = rint(x * (127 / amax)) with amax = max(max |x|, 1e-30), and zeros with an infinite scale for a row with NaN or
// infinity; see QuantizeTask in kernels.h.
struct QuantizeArgs {
  Input in;
  size_t inputs;
  uint8_t* q;        // [rows][stride], zeros beyond the inputs
  size_t stride;     // a multiple of 16
  float* row_scale;  // [rows]: amax / 127
  int32_t* sums;     // [rows][blocks]: of q over the inputs of each block of codes; null when not wanted
  size_t blocks;
  int block_words;  // words of q in a block of codes
};

// Four levels from input k on, as the bytes of a word.
REGC_DEVICE uint32_t quantized_word(const QuantizeArgs& a, size_t row, size_t k, float inverse) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: a sum with it has an integer in its low bits
  uint32_t word = 0;
#pragma unroll
  for (unsigned j = 0; j < 4; ++j) {
    if (k + j >= a.inputs) break;
    const float level = load_element(a.in.x, row * a.inputs + k + j, a.in.type) * inverse;
    word |= (float_bits(level + kRounder) & 0xFFU) << 8 * j;
  }
  return word;
}

REGC_LAUNCHED(kRowThreads) quantize_rows(QuantizeArgs a) {
  REGC_SHARED(int32_t, peaks, kWarp);
  REGC_SHARED(int32_t, word_sums, kRowThreads);
  constexpr int32_t kInfinity = 0x7F800000;
  const size_t row = blockIdx.x;
  int32_t peak = 0;  // as bits, which sort like magnitudes; those of NaN come last
  for (size_t k = threadIdx.x; k < a.inputs; k += kRowThreads) {
    const float x = load_element(a.in.x, row * a.inputs + k, a.in.type);
    const auto magnitude = static_cast<int32_t>(float_bits(x) & 0x7FFFFFFFU);
    peak = magnitude > peak ? magnitude : peak;
  }
  peak = block_peak(peak, peaks);
  const float largest = bits_float(static_cast<uint32_t>(peak < kInfinity ? peak : kInfinity));
  const float amax = largest > 1e-30F ? largest : 1e-30F;
  const float inverse = 127.0F / amax;
  if (threadIdx.x == 0) a.row_scale[row] = amax / 127.0F;
  auto* q = reinterpret_cast<uint32_t*>(a.q + row * a.stride);
  const size_t words = a.stride / 4;
  for (size_t begin = 0; begin < words; begin += kRowThreads) {
    const size_t word = begin + threadIdx.x;
    const uint32_t value = inverse > 0 && word < words ? quantized_word(a, row, 4 * word, inverse) : 0;
    if (word < words) q[word] = value;
    if (a.sums == nullptr) continue;
    word_sums[threadIdx.x] = dot4(0x01010101U, value, 0);
    __syncthreads();
    const size_t block = begin / a.block_words + threadIdx.x;
    if (threadIdx.x < kRowThreads / a.block_words && block < a.blocks) {
      int32_t sum = 0;
      for (int i = 0; i < a.block_words; ++i) sum += word_sums[threadIdx.x * a.block_words + i];
      a.sums[row * a.blocks + block] = sum;
    }
    __syncthreads();
  }
}

// rounded = x / row_scale with the power of two that brings the largest finite magnitude of a row to 128 .. 256; see
// RoundTask in kernels.h.
struct RoundArgs {
  Input in;
  size_t inputs;
  uint16_t* rounded;  // [rows][padded] halves, zeros beyond the inputs
  size_t padded;
  float* row_scale;  // [rows]
};

REGC_LAUNCHED(kRowThreads) round_rows(RoundArgs a) {
  REGC_SHARED(int32_t, peaks, kWarp);
  constexpr int32_t kInfinity = 0x7F800000;
  constexpr int32_t kLargest = 253;  // exponent of a scale whose reciprocal is not denormal
  const size_t row = blockIdx.x;
  int32_t peak = 0;
  for (size_t k = threadIdx.x; k < a.inputs; k += kRowThreads) {
    const float x = load_element(a.in.x, row * a.inputs + k, a.in.type);
    const auto magnitude = static_cast<int32_t>(float_bits(x) & 0x7FFFFFFFU);
    if (magnitude < kInfinity && magnitude > peak) peak = magnitude;
  }
  peak = block_peak(peak, peaks);
  const int32_t exponent = 127 + 7 + 127 - (peak >> 23);
  const float scale = bits_float(static_cast<uint32_t>(exponent < kLargest ? exponent : kLargest) << 23);
  if (threadIdx.x == 0) a.row_scale[row] = 1.0F / scale;
  for (size_t k = threadIdx.x; k < a.padded; k += kRowThreads) {
    const float x = k < a.inputs ? load_element(a.in.x, row * a.inputs + k, a.in.type) : 0.0F;
    a.rounded[row * a.padded + k] = float_to_half(x * scale);
  }
}

}  // namespace regc::cuda

#include "ops/halves.h"

#include <cstring>

namespace regc::ops {

namespace {

float float_of(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof(v));
  return v;
}

uint32_t bits_of(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  return bits;
}

// float16 s EEEEE ffffffffff: its bits at their place in float32 are too small by 2^112, denormal ones as well.
float widened_half(uint16_t half) {
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t magnitude = (half & 0x7FFFU) << 13;
  if (magnitude >= 0x7C00U << 13) return float_of(sign | 0x7F800000U | magnitude);  // NaN stays NaN
  return float_of(sign | bits_of(float_of(magnitude) * 0x1p112F));
}

// To the nearest, ties to even; 65520 and above are infinite.
uint16_t rounded_half(float v) {
  const auto sign = static_cast<uint16_t>(bits_of(v) >> 16 & 0x8000U);
  const uint32_t magnitude = bits_of(v) & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);
  // Below 2^-14 halves are multiples of 2^-24: the addition of 0.5 rounds to them.
  if (magnitude < 0x38800000U) return static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5F) - 0x3F000000U));
  const uint32_t nearest = magnitude + 0xFFFU + (magnitude >> 13 & 1U);
  return static_cast<uint16_t>(sign | (nearest - 0x38000000U) >> 13);
}

float widened_bfloat16(uint16_t bits) { return float_of(static_cast<uint32_t>(bits) << 16); }

uint16_t rounded_bfloat16(float v) {
  const uint32_t bits = bits_of(v);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>(bits >> 16 | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

}  // namespace

Floats::Floats(const Tensor& tensor) : data_(tensor.as<float>()) {
  if (tensor.type == abi::kFloat) return;
  const size_t count = count_of(tensor.shape);
  float* wide = copy_.emplace(count, 1).data();
  const auto widen = tensor.type == abi::kFloat16 ? widened_half : widened_bfloat16;
  for (size_t i = 0; i < count; ++i) wide[i] = widen(tensor.as<uint16_t>()[i]);
  data_ = wide;
}

Results::Results(void* output, size_t count, int type)
    : output_(output), count_(count), type_(type), data_(static_cast<float*>(output)) {
  if (type != abi::kFloat) data_ = wide_.emplace(count, 1).data();
}

void Results::store() const {
  if (!wide_) return;
  auto* halves = static_cast<uint16_t*>(output_);
  const auto round = type_ == abi::kFloat16 ? rounded_half : rounded_bfloat16;
  for (size_t i = 0; i < count_; ++i) halves[i] = round(data_[i]);
}

}  // namespace regc::ops

// Activations and results of any float type, and what becomes of a sum.
#pragma once

#include "cuda/device.h"
#include "cuda/products.h"

namespace regc::cuda {

REGC_DEVICE float bfloat16_to_float(uint16_t bits) { return bits_float(static_cast<uint32_t>(bits) << 16); }

// To the nearest, ties to even; NaN stays NaN.
REGC_DEVICE uint16_t float_to_bfloat16(float v) {
  const uint32_t bits = float_bits(v);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

REGC_DEVICE float load_element(const void* p, size_t i, Type type) {
  if (type == Type::float32) return static_cast<const float*>(p)[i];
  const uint16_t bits = static_cast<const uint16_t*>(p)[i];
  return type == Type::float16 ? half_to_float(bits) : bfloat16_to_float(bits);
}

REGC_DEVICE float two_bytes_to_float(uint32_t bits, Type type) {
  const auto half = static_cast<uint16_t>(bits & 0xFFFFU);
  return type == Type::float16 ? half_to_float(half) : bfloat16_to_float(half);
}

// Elements in a form that kernels are compiled for, so that no branch keeps them from loading many at a time: float32,
// or either type of two bytes. four() are those from a multiple of four elements on, of memory aligned like them.
struct Wide {
  REGC_DEVICE static float one(const Input& in, size_t i) { return static_cast<const float*>(in.x)[i]; }
  REGC_DEVICE static void four(const Input& in, size_t i, float (&x)[4]) {
    const Word4 v = load_16(static_cast<const float*>(in.x) + i);
    x[0] = bits_float(v.x);
    x[1] = bits_float(v.y);
    x[2] = bits_float(v.z);
    x[3] = bits_float(v.w);
  }
};
struct Narrow {
  REGC_DEVICE static float one(const Input& in, size_t i) {
    return two_bytes_to_float(static_cast<const uint16_t*>(in.x)[i], in.type);
  }
  REGC_DEVICE static void four(const Input& in, size_t i, float (&x)[4]) {
    const Word2 v = load_8(static_cast<const uint16_t*>(in.x) + i);
    x[0] = two_bytes_to_float(v.x, in.type);
    x[1] = two_bytes_to_float(v.x >> 16, in.type);
    x[2] = two_bytes_to_float(v.y, in.type);
    x[3] = two_bytes_to_float(v.y >> 16, in.type);
  }
};

// Whether rows of so many elements can be read by fours.
inline bool in_fours(const Input& in, size_t inputs) {
  return inputs % 4 == 0 && reinterpret_cast<uintptr_t>(in.x) % 16 == 0;
}

REGC_DEVICE void store_element(void* p, size_t i, Type type, float v) {
  if (type == Type::float32) {
    static_cast<float*>(p)[i] = v;
  } else {
    static_cast<uint16_t*>(p)[i] = type == Type::float16 ? float_to_half(v) : float_to_bfloat16(v);
  }
}

// Compiled without contraction (--fmad=false), so that these and the CPU's templates/endings.h agree bit for bit.

template <size_t kCount>
REGC_DEVICE float polynomial(float x, const float (&factors)[kCount]) {
  float sum = factors[0];
#pragma unroll
  for (size_t i = 1; i < kCount; ++i) sum = fmaf(sum, x, factors[i]);
  return sum;
}

REGC_DEVICE float exp_clamped(float v) {
  constexpr float kRounder = 12582912.0F;
  const float below = 89.0F < v ? 89.0F : v;
  const float z = -87.0F > below ? -87.0F : below;
  const float rounded = fmaf(z, 1.44269504F, kRounder);
  const float n = rounded - kRounder;
  const float r = fmaf(n, 2.12194440e-4F, fmaf(n, -0.693359375F, z));
  constexpr float kTaylor[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  return polynomial(r, kTaylor) * bits_float((float_bits(rounded) + 127U) << 23);
}

REGC_DEVICE float weighted(float x, float z) { return x / (exp_clamped(z) + 1.0F); }

REGC_DEVICE float gelu_tanh(float x) {
  return weighted(x, x * fmaf(x * x, -0.0713548163F, -1.59576912F));
}

REGC_DEVICE float gelu(float x) {
  const float whole = x * x;
  const float square = 30.25F < whole ? 30.25F : whole;
  constexpr float kLogit[] = {-3.61873124e-9F, 2.67293942e-7F, -7.94622966e-6F, 1.10555906e-4F,
                              6.590945e-5F,    -0.0726678226F, -1.59576899F};
  return weighted(x, x * polynomial(square, kLogit));
}

REGC_DEVICE float ended(const Out& out, float v, size_t place) {
  switch (out.ending) {
    case Ending::relu:
      return 0.0F > v ? 0.0F : v;
    case Ending::gelu:
      return gelu(v);
    case Ending::gelu_tanh:
      return gelu_tanh(v);
    case Ending::silu:
      return weighted(v, -v);
    case Ending::add:
      return v + load_element(out.other, place, out.type);
    default:
      return v;
  }
}

// Stores an output: sum * scale + bias, rounded twice as in the function body, and what follows it.
REGC_DEVICE void finish(const Affine& w, const Out& out, size_t row, size_t output, float sum) {
  const size_t place = row * w.outputs + output;
  const float product = sum * w.scale[output];
  store_element(out.y, place, out.type, ended(out, product + w.bias[output * w.bias_step], place));
}

}  // namespace regc::cuda

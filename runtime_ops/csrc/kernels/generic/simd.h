// Sixteen lanes, one an output of a tile, in plain C++. F16 floats, I16 int32, B64 four bytes a lane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define REGC_INLINE static inline __attribute__((always_inline))

namespace regc::kernels::generic {

struct F16 {
  float lane[16];
};
struct I16 {
  int32_t lane[16];
};
struct B64 {
  uint8_t byte[64];
};

constexpr int kPanelRows = 2;
constexpr int kPanelTiles = 1;
constexpr int kStreamTiles = 1;
constexpr size_t kTernaryStreamRows = 8;
constexpr size_t kTernary5StreamRows = 8;
constexpr size_t kFloatStreamRows = 3;
constexpr size_t kSparseRows = 4;
constexpr size_t kLanePanels = 0;

template <class Result, class Function>
REGC_INLINE Result lanes(const Function& function) {
  Result result;
  for (size_t i = 0; i < 16; ++i) result.lane[i] = function(i);
  return result;
}

REGC_INLINE F16 fill_f(float v) {
  return lanes<F16>([=](size_t) { return v; });
}
REGC_INLINE F16 zero_f() { return fill_f(0); }
REGC_INLINE F16 load_f(const float* p) {
  F16 v;
  std::memcpy(v.lane, p, sizeof(v));
  return v;
}
REGC_INLINE void store_f(float* p, const F16& v) { std::memcpy(p, v.lane, sizeof(v)); }
REGC_INLINE F16 add_f(const F16& a, const F16& b) {
  return lanes<F16>([&](size_t i) { return a.lane[i] + b.lane[i]; });
}
REGC_INLINE F16 mul_f(const F16& a, const F16& b) {
  return lanes<F16>([&](size_t i) { return a.lane[i] * b.lane[i]; });
}
REGC_INLINE F16 div_f(const F16& a, const F16& b) {
  return lanes<F16>([&](size_t i) { return a.lane[i] / b.lane[i]; });
}
// a < b ? a : b and a > b ? a : b: b where one is NaN.
REGC_INLINE F16 min_f(const F16& a, const F16& b) {
  return lanes<F16>([&](size_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
REGC_INLINE F16 max_f(const F16& a, const F16& b) {
  return lanes<F16>([&](size_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
// One rounding, as everywhere: all instruction sets agree bit for bit.
REGC_INLINE F16 fma_f(const F16& a, const F16& b, const F16& sum) {
  return lanes<F16>([&](size_t i) { return __builtin_fmaf(a.lane[i], b.lane[i], sum.lane[i]); });
}
REGC_INLINE F16 to_float(const I16& v) {
  return lanes<F16>([&](size_t i) { return static_cast<float>(v.lane[i]); });
}

// Sums wrap around as they do in vector registers; codes that no encoder emits must not be undefined
// behaviour.
REGC_INLINE int32_t wrapped(uint32_t v) { return static_cast<int32_t>(v); }
REGC_INLINE uint32_t bits(int32_t v) { return static_cast<uint32_t>(v); }

REGC_INLINE I16 fill_i(int32_t v) {
  return lanes<I16>([=](size_t) { return v; });
}
REGC_INLINE I16 zero_i() { return fill_i(0); }
REGC_INLINE I16 load_i(const void* p) {
  I16 v;
  std::memcpy(v.lane, p, sizeof(v));
  return v;
}
REGC_INLINE void store_i(void* p, const I16& v) { std::memcpy(p, v.lane, sizeof(v)); }
REGC_INLINE I16 add_i(const I16& a, const I16& b) {
  return lanes<I16>([&](size_t i) { return wrapped(bits(a.lane[i]) + bits(b.lane[i])); });
}
REGC_INLINE I16 sub_i(const I16& a, const I16& b) {
  return lanes<I16>([&](size_t i) { return wrapped(bits(a.lane[i]) - bits(b.lane[i])); });
}
REGC_INLINE I16 mul_i(const I16& a, const I16& b) {
  return lanes<I16>([&](size_t i) { return wrapped(bits(a.lane[i]) * bits(b.lane[i])); });
}
REGC_INLINE I16 mul_add_narrow(const I16& sum, const I16& a, const I16& b) { return add_i(sum, mul_i(a, b)); }
REGC_INLINE I16 widen(const uint8_t* p) {
  return lanes<I16>([=](size_t i) { return int32_t{p[i]}; });
}

// 2^n for -126 <= n <= 128 from the float 1.5 * 2^23 + n, in whose low bits n is.
REGC_INLINE F16 power_of_2(const F16& rounded) {
  I16 v;
  std::memcpy(&v, &rounded, sizeof(v));
  v = lanes<I16>([&](size_t i) { return wrapped((bits(v.lane[i]) + 127) << 23); });
  F16 power;
  std::memcpy(&power, &v, sizeof(power));
  return power;
}

REGC_INLINE B64 load_b(const uint8_t* p) {
  B64 v;
  std::memcpy(v.byte, p, sizeof(v));
  return v;
}
REGC_INLINE void store_b(uint8_t* p, const B64& v) { std::memcpy(p, v.byte, sizeof(v)); }
REGC_INLINE B64 fill_b(uint8_t value) {
  B64 v;
  std::memset(v.byte, value, sizeof(v));
  return v;
}
REGC_INLINE B64 fill_4(const uint8_t* p) {
  B64 v;
  for (size_t i = 0; i < 64; ++i) v.byte[i] = p[i % 4];
  return v;
}
REGC_INLINE B64 spread(const uint8_t* p) {
  B64 v;
  for (size_t i = 0; i < 64; ++i) v.byte[i] = p[i / 4];
  return v;
}
REGC_INLINE I16 dot(const I16& sum, const B64& u8, const B64& s8) {
  return lanes<I16>([&](size_t i) {
    int32_t products = 0;
    for (size_t j = 4 * i; j < 4 * i + 4; ++j) products += u8.byte[j] * static_cast<int8_t>(s8.byte[j]);
    return wrapped(bits(sum.lane[i]) + bits(products));
  });
}

REGC_INLINE I16 lanes_of(const B64& v) {
  I16 lanes;
  std::memcpy(lanes.lane, v.byte, sizeof(lanes));
  return lanes;
}
// Modulo 256.
REGC_INLINE B64 times_3(const B64& v) {
  B64 product;
  for (size_t i = 0; i < 64; ++i) product.byte[i] = static_cast<uint8_t>(3 * v.byte[i]);
  return product;
}

}  // namespace regc::kernels::generic

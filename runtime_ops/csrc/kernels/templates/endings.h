// What follows the product in an operator whose name says so: an activation, or the sum with another tensor.
//
// The activations are x / (1 + exp(-p(x))): for SiLU p(x) = x, for GELU in its tanh form p(x) = 2 u with
// tanh(u), and for GELU the logit of the normal distribution, whose polynomial was fitted for this file. Only
// operations that every instruction set rounds alike are used, so that all of them agree bit for bit. NaN
// gives NaN, infinity infinity, minus infinity NaN, and large negative values minus zero, as in the function
// bodies. GELU and SiLU are within 3e-7 * max(1, |x|) of the exact functions.
#pragma once

namespace regc::kernels::REGC_ISA {

// Factors from the highest power down.
template <size_t kCount>
REGC_INLINE F16 polynomial(F16 x, const float (&factors)[kCount]) {
  F16 sum = fill_f(factors[0]);
#pragma GCC unroll 8
  for (size_t i = 1; i < kCount; ++i) sum = fma_f(sum, x, fill_f(factors[i]));
  return sum;
}

// exp(v): infinite from 88.4 on, and never below exp(-87), so that nothing here is subnormal.
REGC_INLINE F16 exp_f(F16 v) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: a sum with it is an integer
  const F16 z = max_f(fill_f(-87.0F), min_f(fill_f(89.0F), v));
  const F16 rounded = fma_f(z, fill_f(1.44269504F), fill_f(kRounder));
  const F16 n = add_f(rounded, fill_f(-kRounder));
  // z - n * log(2), in two steps: n times the first part is exact.
  const F16 r = fma_f(n, fill_f(2.12194440e-4F), fma_f(n, fill_f(-0.693359375F), z));
  constexpr float kTaylor[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  return mul_f(polynomial(r, kTaylor), power_of_2(rounded));
}

// x / (1 + exp(z))
REGC_INLINE F16 weighted(F16 x, F16 z) { return div_f(x, add_f(exp_f(z), fill_f(1.0F))); }

REGC_INLINE F16 silu(F16 x) { return weighted(x, mul_f(x, fill_f(-1.0F))); }

REGC_INLINE F16 gelu_tanh(F16 x) {
  const F16 square = mul_f(x, x);
  return weighted(x, mul_f(x, fma_f(square, fill_f(-0.0713548163F), fill_f(-1.59576912F))));
}

// log(Phi(-x) / Phi(x)) = x times a polynomial of x^2, least error of x * Phi(x) up to 5.5; beyond, Phi is 0 or 1
// to within float32.
REGC_INLINE F16 gelu(F16 x) {
  const F16 square = min_f(fill_f(30.25F), mul_f(x, x));
  constexpr float kLogit[] = {-3.61873124e-9F, 2.67293942e-7F, -7.94622966e-6F, 1.10555906e-4F,
                              6.590945e-5F,    -0.0726678226F, -1.59576899F};
  return weighted(x, mul_f(x, polynomial(square, kLogit)));
}

// The first `count` of sixteen floats; the others are zero.
REGC_INLINE F16 load_some(const float* p, size_t count) {
  if (count >= kTile) return load_f(p);
  float padded[kTile] = {};
  std::memcpy(padded, p, count * sizeof(float));
  return load_f(padded);
}

REGC_INLINE void store_some(float* p, F16 v, size_t count) {
  if (count >= kTile) return store_f(p, v);
  float padded[kTile];
  store_f(padded, v);
  std::memcpy(p, padded, count * sizeof(float));
}

// `place` is where in y the sixteen values v belong, of which `count` are wanted. Not inlined: the kernels call
// it once for sixteen outputs.
static __attribute__((noinline)) F16 ended(const Out& out, F16 v, size_t place, size_t count) {
  switch (out.ending) {
    case Ending::relu:
      return max_f(zero_f(), v);
    case Ending::gelu:
      return gelu(v);
    case Ending::gelu_tanh:
      return gelu_tanh(v);
    case Ending::silu:
      return silu(v);
    case Ending::add:
      return add_f(v, load_some(out.other + place, count));
    case Ending::none:
      break;
  }
  return v;
}

}  // namespace regc::kernels::REGC_ISA

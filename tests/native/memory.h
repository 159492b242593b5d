// Memory for tests of kernels: inputs that end where their allocation ends, outputs between guards.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

namespace regc::test {

using Random = std::mt19937;

inline size_t between(Random& random, size_t least, size_t most) {
  return std::uniform_int_distribution<size_t>(least, most)(random);
}

[[noreturn]] inline void fail(const char* text) { throw std::runtime_error(text); }

// Values that no later byte belongs to: a sanitizer sees any access beyond them. They start `skew` elements behind
// an allocation, whose alignment they therefore do not share; elements are aligned as their type demands, no more.
template <class T>
class Exact {
 public:
  Exact(size_t count, size_t skew = 0)
      : count_(count),
        memory_(std::malloc((count + skew) * sizeof(T)), &std::free),
        data_(static_cast<T*>(memory_.get()) + skew) {}
  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  size_t count_;
  std::unique_ptr<void, void (*)(void*)> memory_;
  T* data_;
};

// An output with a pattern around it and in it, which only the kernel may overwrite.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count), bytes_(count * sizeof(T) + 2 * kGuard, kPattern) {}
  T* data() { return reinterpret_cast<T*>(bytes_.data() + kGuard); }
  size_t size() const { return count_; }
  bool intact() const {
    for (size_t i = 0; i < kGuard; ++i)
      if (bytes_[i] != kPattern || bytes_[bytes_.size() - 1 - i] != kPattern) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr uint8_t kPattern = 0xA5;
  size_t count_;
  std::vector<uint8_t> bytes_;
};

// Normal values times 1; among them, when `wild`, the largest float, tiny ones, infinities and NaN.
inline void fill(Random& random, float* values, size_t count, bool wild) {
  constexpr float kWild[] = {3.4e38F, -3.4e38F, 1e-40F, 1e-30F, 0.0F, -0.0F, INFINITY, -INFINITY, NAN};
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < count; ++i)
    values[i] = wild && random() % 37 == 0 ? kWild[random() % (sizeof(kWild) / sizeof(*kWild))] : normal(random);
}

inline void fill(Random& random, uint8_t* values, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<uint8_t>(random());
}

// Equal bit for bit, or both NaN.
inline bool same(const float* a, const float* b, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (std::memcmp(a + i, b + i, sizeof(float)) != 0 && !(a[i] != a[i] && b[i] != b[i])) return false;
  return true;
}

}  // namespace regc::test

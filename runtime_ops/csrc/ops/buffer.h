// Uninitialized memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <limits>
#include <new>

namespace regc::ops {

template <class T>
class Buffer {
 public:
  // rows * columns elements; throws std::bad_alloc when there is no such memory, also when the size does not
  // fit size_t.
  Buffer(size_t rows, size_t columns) {
    if (columns != 0 && rows > std::numeric_limits<size_t>::max() / sizeof(T) / columns)
      throw std::bad_alloc();
    data_ = static_cast<T*>(::operator new(rows * columns * sizeof(T), kAlignment));
  }
  ~Buffer() { ::operator delete(data_, kAlignment); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

// Elements from one row to the next so that rows lie an odd number of cache lines apart. At a power of two many rows
// would share the few places of a cache that they fall into.
template <class T>
constexpr size_t spaced(size_t columns) {
  return ((columns * sizeof(T) + 63) / 64 | 1) * (64 / sizeof(T));
}

}  // namespace regc::ops

#include "ops/broadcast.h"

#include <algorithm>

#include "ops/error.h"

namespace regc::ops {

namespace {

// Size of a dimension counted from the last; 1 in front of the first.
int64_t size_at(const Shape& shape, size_t from_last) {
  return from_last < shape.size() ? shape[shape.size() - 1 - from_last] : 1;
}

// For every dimension of `shape`, how far its next element lies in a tensor that is repeated to that shape.
Shape strides_in(const Shape& tensor, const Shape& shape) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t size = size_at(tensor, i);
    strides[shape.size() - 1 - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

}  // namespace

Shape broadcast(const Shape& a, const Shape& b, const char* name, const std::string& node) {
  Shape shape(std::max(a.size(), b.size()));
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t ours = size_at(a, i);
    const int64_t theirs = size_at(b, i);
    if (ours != theirs && ours != 1 && theirs != 1)
      throw InvalidInput(node + name + " has shape " + text(b) + ", which cannot be added to " + text(a));
    shape[shape.size() - 1 - i] = ours == 1 ? theirs : ours;
  }
  return shape;
}

void add_broadcast(const float* a, const Shape& a_shape, const float* b, const Shape& b_shape, float* sum,
                   const Shape& shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return;
  const Shape a_strides = strides_in(a_shape, shape);
  const Shape b_strides = strides_in(b_shape, shape);
  const size_t last = shape.size() - 1;
  Shape index(shape.size());
  while (true) {
    for (int64_t i = 0; i < shape[last]; ++i) *sum++ = a[i * a_strides[last]] + b[i * b_strides[last]];
    size_t axis = last;  // to the next row: the innermost index that has a successor
    while (axis-- > 0) {
      a += a_strides[axis];
      b += b_strides[axis];
      if (++index[axis] < shape[axis]) break;
      a -= a_strides[axis] * shape[axis];
      b -= b_strides[axis] * shape[axis];
      index[axis] = 0;
    }
    if (axis == static_cast<size_t>(-1)) return;
  }
}

}  // namespace regc::ops

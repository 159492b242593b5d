// Random operands for products on a GPU: copies of those of problems.h, aligned as memory of a device is.
#pragma once

#include "cuda/elements.h"
#include "problems.h"

namespace regc::test {

// Mostly small; now and then rows and outputs for the large shape of panels, or rows that take more than one round of
// the threads that make them ready.
inline Size drawn_size(Random& random) {
  Size size(random);
  size.rows = random() % 2 == 0 ? between(random, 1, 8) : between(random, 9, random() % 4 == 0 ? 300 : 40);
  if (random() % 8 == 0) size.outputs = 130, size.inputs = between(random, 500, 700);
  if (random() % 8 == 0) {
    size.outputs = 20;
    size.inputs = between(random, 1300, 4000);
    size.rows = between(random, 1, 4);
  }
  return size;
}

template <class T>
Exact<T> copied(const T* from, size_t count) {
  Exact<T> copy(count);
  std::copy_n(from, count, copy.data());
  return copy;
}

inline cuda::Weight affine_of(const kernels::Affine& w, cuda::Format format) {
  cuda::Weight weight{};
  static_cast<kernels::Affine&>(weight) = w;
  weight.format = format;
  return weight;
}

struct DeviceMatrix {
  DeviceMatrix(const kernels::Matrix& w, const Size& size, cuda::Format format)
      : codes(copied(w.codes, size.tiles() * w.blocks * kernels::kUnit)),
        multiplier(copied(w.multiplier, format == cuda::Format::rf8 ? 0 : size.tiles() * w.groups * kTile)),
        weight(affine_of(w, format)) {
    weight.codes = codes.data();
    weight.multiplier = multiplier.data();
    weight.multiplied = w.multiplied;
    weight.blocks = w.blocks;
    weight.groups = w.groups;
    weight.group_blocks = w.group_blocks;
  }
  Exact<uint8_t> codes;
  Exact<uint8_t> multiplier;
  cuda::Weight weight;
};

struct DeviceSparse {
  DeviceSparse(const kernels::SparseMatrix& w, const Size& size, cuda::Format format)
      : values(copied(w.values, (static_cast<size_t>(w.start[size.tiles()]) << w.block_log2) * kTile *
                                    (format == cuda::Format::sparse ? sizeof(float) : 1))),
        weight(affine_of(w, format)) {
    weight.codes = values.data();
    weight.index = w.index;
    weight.start = w.start;
    weight.block_log2 = w.block_log2;
  }
  Exact<uint8_t> values;
  cuda::Weight weight;
};

struct DeviceGated {
  DeviceGated(const kernels::GatedMatrix& w, const Size& size, cuda::Format format)
      : values(copied(w.values, size.inputs * size.tiles() * kTile * (is_coded(format) ? 1 : sizeof(float)))),
        threshold(w.threshold),
        weight(affine_of(w, format)) {
    weight.codes = values.data();
    weight.norms = w.norms;
    if (is_counted(format)) {
      weight.active = w.active;
    } else {
      weight.threshold = &threshold;
    }
  }
  static bool is_coded(cuda::Format format) {
    return format == cuda::Format::gated_rf8 || format == cuda::Format::gated_topk_rf8;
  }
  static bool is_counted(cuda::Format format) {
    return format == cuda::Format::gated_topk || format == cuda::Format::gated_topk_rf8;
  }
  Exact<uint8_t> values;
  float threshold;
  cuda::Weight weight;
};

// Floats in a type and, rounded to it, as float32.
class Typed {
 public:
  Typed(cuda::Type type, size_t count) : type_(type), bytes_(count * (type == cuda::Type::float32 ? 4 : 2)) {}
  void set(size_t i, float v) { cuda::store_element(bytes_.data(), i, type_, v); }
  float get(size_t i) const { return cuda::load_element(bytes_.data(), i, type_); }
  const void* data() const { return bytes_.data(); }

 private:
  cuda::Type type_;
  Exact<uint8_t> bytes_;
};

// Activations and what is added at the end, in any type and the same values in float32.
struct Operands {
  Operands(Random& random, const Size& of, bool wild = false)
      : size(of),
        type(static_cast<cuda::Type>(random() % 3)),
        ending(static_cast<kernels::Ending>(random() % 6)),
        x(type, size.rows * size.inputs),
        other(type, size.rows * size.outputs),
        exact(size.rows * size.inputs),
        added(size.rows * size.outputs) {
    const float magnitude = std::ldexp(1.0F, type == cuda::Type::float16 ? 0 : static_cast<int>(random() % 40) - 20);
    fill(random, exact.data(), exact.size(), wild && random() % 2 == 0);
    fill(random, added.data(), added.size(), false);
    for (size_t i = 0; i < exact.size(); ++i) {
      x.set(i, exact[i] * magnitude);
      exact[i] = x.get(i);
    }
    for (size_t i = 0; i < added.size(); ++i) {
      other.set(i, added[i]);
      added[i] = other.get(i);
    }
  }

  // Makes activations of some rows infinite or NaN, or one of a row the `largest`, of which no other may be there: sums
  // of two overflow in some orders and not in others.
  void spoil(Random& random, float largest) {
    constexpr float kSpoiled[] = {INFINITY, -INFINITY, NAN};
    if (random() % 2 == 0) return;
    for (size_t row = 0; row < size.rows; row += between(random, 1, 3)) {
      const bool alone = random() % 3 == 0;
      for (size_t left = alone ? 1 : between(random, 1, 3); left > 0; --left) {
        const size_t i = row * size.inputs + random() % size.inputs;
        x.set(i, alone ? largest : kSpoiled[random() % 3]);
        exact[i] = x.get(i);
      }
    }
  }

  // The product by the kernels of the GPU is the expected one: the same bits, or, with bounds of the error of a sum,
  // within them where it is finite.
  void compare(const cuda::Weight& w, const Exact<float>& expected, const Exact<float>* bound) const {
    const size_t bytes = type == cuda::Type::float32 ? 4 : 2;
    Guarded<uint8_t> y(expected.size() * bytes);
    Exact<uint8_t> scratch(cuda::scratch_bytes(w, size.rows));
    const cuda::Out out{y.data(), other.data(), type, ending};
    if (cuda::multiply(w, {x.data(), type}, size.rows, out, scratch.data(), nullptr) != 0) fail("was not launched");
    if (!y.intact()) fail("wrote outside of its output");
    Typed rounded(type, 1);
    for (size_t i = 0; i < expected.size(); ++i) {
      const float actual = cuda::load_element(y.data(), i, type);
      rounded.set(0, expected[i]);
      const float wanted = rounded.get(0);
      if (bound == nullptr || !std::isfinite(wanted)) {
        if (!same(&actual, &wanted, 1)) fail("differs from the generic kernel");
        continue;
      }
      // Endings are not steeper than 1.2; a result is rounded to its type once more.
      const float unit = type == cuda::Type::float32 ? 0x1p-22F : type == cuda::Type::float16 ? 0x1p-10F : 0x1p-7F;
      const float allowed = 1.2F * (*bound)[i] + unit * (std::fabs(wanted) + 1e-3F);
      if (actual != wanted && !(std::fabs(actual - wanted) <= allowed)) fail("is too far from the generic kernel");
    }
  }

  Size size;
  cuda::Type type;
  kernels::Ending ending;
  Typed x;
  Typed other;
  Exact<float> exact;
  Exact<float> added;
};

}  // namespace regc::test

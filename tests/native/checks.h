// What is checked of each kernel: a function check_<name> for every row of kernels.inc.
#pragma once

#include <thread>

#include "problems.h"

namespace regc::test {

using namespace kernels;

// What a check runs: a kernel and the generic one.
template <class Task>
struct Pair {
  void (*kernel)(const Task&);
  void (*generic)(const Task&);
  void (*round)(const RoundTask&) = nullptr;  // of the kernel's instruction set: null where RF8 meets float32
};

// Rows in float16 as a panel kernel of RF8 takes them; tests/runtime_ops/test_halves.py has the reference for their
// values, and here such a kernel is compared with itself, uncut.
struct Rounded {
  Rounded(void (*round)(const RoundTask&), const float* x, const Size& size, size_t inputs)
      : padded(inputs), halves(size.rows * inputs), scale(size.rows) {
    round({x, size.rows, size.inputs, padded, halves.data(), scale.data()});
  }
  const float* pairs() const { return reinterpret_cast<const float*>(halves.data()); }
  size_t padded;
  Exact<uint16_t> halves;
  Exact<float> scale;
};

template <class Task>
Pair<Task> with_itself(const Pair<Task>& pair) {
  return {pair.kernel, pair.kernel, nullptr};
}

// The value of a finite half.
inline float value_of(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const float fraction = static_cast<float>(half & 1023) + (exponent == 0 ? 0.0F : 1024.0F);
  return std::ldexp(half >> 15 != 0 ? -fraction : fraction, (exponent == 0 ? 1 : exponent) - 25);
}

void check_round_rows(Random& random, const Pair<RoundTask>& pair, const Kernels&) {
  if (pair.kernel == nullptr) return;
  const Size size(random);
  const size_t padded = size.inputs + random() % 32;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, true);
  Guarded<uint16_t> halves(size.rows * padded);
  Guarded<float> scale(size.rows);
  pair.kernel({x.data(), size.rows, size.inputs, padded, halves.data(), scale.data()});
  if (!halves.intact() || !scale.intact()) fail("wrote outside of its output");
  for (size_t row = 0; row < size.rows; ++row) {
    int exponent = 0;
    if (std::frexp(scale.data()[row], &exponent) != 0.5F) fail("a scale is no power of two");
    for (size_t k = 0; k < padded; ++k) {
      const float value = k < size.inputs ? x.data()[row * size.inputs + k] : 0.0F;
      const uint16_t half = halves.data()[row * padded + k];
      const bool finite = (half & 0x7C00) != 0x7C00;
      if (finite != std::isfinite(value)) fail("finite where it should not be, or the other way round");
      const double exact = static_cast<double>(value) / static_cast<double>(scale.data()[row]);
      if (finite && std::fabs(static_cast<double>(value_of(half)) - exact) > std::fabs(exact) / 2048 + 3e-8)
        fail("not the nearest half");
      if (finite && std::fabs(exact) >= 256) fail("a half out of range");
    }
  }
}

// Calls run(begin, end) for parts of [0, tiles), each in a thread of its own.
template <class Function>
void in_parts(Random& random, size_t tiles, const Function& run) {
  std::vector<std::thread> threads;
  for (size_t begin = 0; begin < tiles;) {
    const size_t end = std::min(tiles, begin + between(random, 1, 5));
    threads.emplace_back([=, &run] { run(begin, end); });
    begin = end;
  }
  for (std::thread& thread : threads) thread.join();
}

// The kernel in parts and the generic one at once, on a task that `at(tile_begin, tile_end, out)` makes.
template <class Task, class At>
void compare(Random& random, const Pair<Task>& pair, const Size& size, const At& at) {
  constexpr Ending kEndings[] = {Ending::none, Ending::relu,      Ending::gelu,
                                 Ending::silu, Ending::gelu_tanh, Ending::add};
  Exact<float> other(size.rows * size.outputs, random() % 3);
  fill(random, other.data(), other.size(), false);
  const Ending ending = kEndings[random() % 6];
  Guarded<float> y(size.rows * size.outputs);
  Guarded<float> expected(size.rows * size.outputs);
  const auto out = [&](Guarded<float>& to) { return Out{to.data(), ending == Ending::add ? other.data() : nullptr, ending}; };
  in_parts(random, size.tiles(), [&](size_t begin, size_t end) { pair.kernel(at(begin, end, out(y))); });
  pair.generic(at(0, size.tiles(), out(expected)));
  if (!y.intact()) fail("wrote outside of its output");
  if (!same(y.data(), expected.data(), y.size())) fail("differs from the generic kernel");
}

struct Quantized {
  Quantized(const Pair<QuantizeTask>& pair, const float* x, const Size& size, const Matrix& w, size_t block, uint8_t flip)
      : padded(w.blocks * block), q(size.rows * padded), row_scale(size.rows), sums(size.rows * w.groups) {
    QuantizeTask task{x, size.rows, size.inputs, padded, flip, q.data(), row_scale.data(), sums.data(),
                      w.group_blocks * block, w.groups};
    pair.kernel(task);
  }
  bool operator==(Quantized& o) {
    return std::memcmp(q.data(), o.q.data(), q.size()) == 0 && same(row_scale.data(), o.row_scale.data(), row_scale.size()) &&
           std::memcmp(sums.data(), o.sums.data(), sums.size() * sizeof(int32_t)) == 0;
  }
  bool intact() const { return q.intact() && row_scale.intact() && sums.intact(); }
  size_t padded;
  Guarded<uint8_t> q;
  Guarded<float> row_scale;
  Guarded<int32_t> sums;
};

void check_quantize(Random& random, const Pair<QuantizeTask>& pair, const Kernels&) {
  const Size size(random);
  const PackedProblem problem(random, size, kTernaryBlock);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const uint8_t flip = random() % 2 == 0 ? 0 : 0x80;
  Quantized y(pair, x.data(), size, problem.weight, kTernaryBlock, flip);
  Quantized expected({pair.generic, pair.generic}, x.data(), size, problem.weight, kTernaryBlock, flip);
  if (!y.intact()) fail("wrote outside of its output");
  if (!(y == expected)) fail("differs from the generic kernel");
}

void check_ternary(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic, size_t block, size_t most_rows,
                   uint8_t flip) {
  const Size size(random, most_rows);
  const PackedProblem problem(random, size, block);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  Quantized rows({generic.quantize, generic.quantize}, x.data(), size, problem.weight, block, flip);
  Exact<uint8_t> q(rows.q.size(), random() % 64);
  std::copy_n(rows.q.data(), q.size(), q.data());
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    return MatMulTask{&problem.weight, q.data(), rows.padded, rows.row_scale.data(), rows.sums.data(), out, size.rows, begin, end};
  });
}

void check_ternary_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic) {
  check_ternary(random, pair, generic, kTernaryBlock, 8, 0);
}
void check_ternary_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic) {
  check_ternary(random, pair, generic, kTernaryBlock, 220, 0x80);
}
void check_ternary5_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic) {
  check_ternary(random, pair, generic, kTernary5Block, 8, 0);
}
void check_ternary5_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic) {
  check_ternary(random, pair, generic, kTernary5Block, 220, 0x80);
}

void check_float(Random& random, const Pair<MatMulTask>& pair, size_t most_rows, size_t block) {
  const Size size(random, most_rows);
  const PackedProblem problem(random, size, block);
  const size_t padded = problem.weight.blocks * block;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, padded, random() % 2 == 0);
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(x.data());
    return MatMulTask{&problem.weight, bytes, padded * sizeof(float), nullptr, nullptr, out, size.rows, begin, end};
  });
}

void check_ternary_float_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  check_float(random, pair, 3, kTernaryBlock);
}
void check_ternary5_float_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  check_float(random, pair, 3, kTernary5Block);
}
void check_ternary5_float_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  check_float(random, pair, 220, kTernary5Block);
}
void check_ternary_float_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  check_float(random, pair, 220, kTernaryBlock);
}
void check_rf8_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels&) { check_float(random, pair, 3, kRF8Block); }
void check_rf8_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  if (pair.round == nullptr) return check_float(random, pair, 220, kRF8Block);
  const Size size(random, 220);
  const PackedProblem problem(random, size, kRF8Block);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const Rounded rows(pair.round, x.data(), size, problem.weight.blocks * kRF8Block);
  compare(random, with_itself(pair), size, [&](size_t begin, size_t end, Out out) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(rows.halves.data());
    return MatMulTask{&problem.weight, bytes, rows.padded * sizeof(uint16_t), rows.scale.data(), nullptr, out, size.rows, begin, end};
  });
}

void check_pack_rows(Random& random, const Pair<PackTask>& pair, const Kernels&) {
  const Size size(random);
  const size_t padded = size.inputs + random() % 32;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, true);
  const size_t count = ceil_div(size.rows, kPackedRows) * kPackedRows * padded;
  Guarded<float> y(count);
  Guarded<float> expected(count);
  pair.kernel({x.data(), size.rows, size.inputs, padded, y.data()});
  pair.generic({x.data(), size.rows, size.inputs, padded, expected.data()});
  if (!y.intact()) fail("wrote outside of its output");
  if (!same(y.data(), expected.data(), count)) fail("differs from the generic kernel");
}

// Now and then more tiles than share a part of x, and more inputs than such a part has.
Size sparse_size(Random& random) {
  Size size(random, kSparseRowBlock);
  if (random() % 16 == 0) size.outputs += 256;
  if (random() % 16 == 0) size.inputs += 2000, size.rows = kSparseRowBlock - random() % 16;
  return size;
}

void check_sparse(Random& random, const Pair<SparseTask>& pair, const Kernels& generic, size_t value_bytes, bool packed) {
  const Size size = packed ? sparse_size(random) : Size(random, 3);
  const SparseProblem problem(random, size, value_bytes);
  const size_t padded = problem.padded();
  const Exact<float> rows = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const size_t height = packed ? ceil_div(size.rows, kPackedRows) * kPackedRows : size.rows;
  Exact<float> x(height * padded, random() % 16);
  std::fill_n(x.data(), x.size(), 0.0F);
  if (packed) generic.pack_rows({rows.data(), size.rows, size.inputs, padded, x.data()});
  for (size_t row = 0; !packed && row < size.rows; ++row)
    std::copy_n(rows.data() + row * size.inputs, size.inputs, x.data() + row * padded);
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    return SparseTask{&problem.weight, x.data(), padded, nullptr, out, size.rows, begin, end};
  });
}

void check_sparse_stream(Random& random, const Pair<SparseTask>& pair, const Kernels& generic) {
  check_sparse(random, pair, generic, 4, false);
}
void check_sparse_panel(Random& random, const Pair<SparseTask>& pair, const Kernels& generic) {
  check_sparse(random, pair, generic, 4, true);
}
void check_sparse_rf8_stream(Random& random, const Pair<SparseTask>& pair, const Kernels& generic) {
  check_sparse(random, pair, generic, 1, false);
}
void check_sparse_rf8_panel(Random& random, const Pair<SparseTask>& pair, const Kernels& generic) {
  if (pair.round == nullptr || random() % 2 == 0) return check_sparse(random, pair, generic, 1, true);
  const Size size = sparse_size(random);
  const SparseProblem problem(random, size, 1);
  if (problem.weight.block_log2 == 0) return;
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const Rounded rows(pair.round, x.data(), size, problem.padded());
  const size_t pairs = problem.padded() / 2;
  Exact<float> packed(ceil_div(size.rows, kPackedRows) * kPackedRows * pairs, random() % 16);
  generic.pack_rows({rows.pairs(), size.rows, pairs, pairs, packed.data()});
  compare(random, with_itself(pair), size, [&](size_t begin, size_t end, Out out) {
    return SparseTask{&problem.weight, packed.data(), pairs, rows.scale.data(), out, size.rows, begin, end};
  });
}

// Inputs that pass, side by side and in place, as a gate kernel leaves them.
struct Passed {
  Passed(void (*gate)(const GateTask&), const GatedMatrix& w, const float* x, size_t rows)
      : gated(rows * w.inputs), kept(rows * w.inputs), place(rows * w.inputs), count(rows) {
    gate({&w, x, rows, gated.data(), kept.data(), place.data(), count.data()});
  }
  bool intact() const { return gated.intact() && kept.intact() && place.intact() && count.intact(); }
  bool operator==(Passed& o) {
    const size_t inputs = count.size() == 0 ? 0 : kept.size() / count.size();
    for (size_t row = 0; row < count.size(); ++row) {
      const size_t first = row * inputs;
      const size_t n = count.data()[row];
      if (n != o.count.data()[row] || !same(kept.data() + first, o.kept.data() + first, n) ||
          std::memcmp(place.data() + first, o.place.data() + first, n * sizeof(uint32_t)) != 0)
        return false;
    }
    return same(gated.data(), o.gated.data(), gated.size());
  }
  Guarded<float> gated;
  Guarded<float> kept;
  Guarded<uint32_t> place;
  Guarded<size_t> count;
};

void check_gate(Random& random, const Pair<GateTask>& pair, const Kernels&) {
  const Size size(random);
  const GatedProblem problem(random, size, 1);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  Passed y(pair.kernel, problem.weight, x.data(), size.rows);
  Passed expected(pair.generic, problem.weight, x.data(), size.rows);
  if (!y.intact()) fail("wrote outside of its output");
  if (!(y == expected)) fail("differs from the generic kernel");
}

void check_gated(Random& random, const Pair<GatedTask>& pair, const Kernels& generic, size_t value_bytes, bool panel) {
  const Size size(random, panel ? 220 : kGatedRows);
  const GatedProblem problem(random, size, value_bytes);
  const Exact<float> rows = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  Passed passed(generic.gate, problem.weight, rows.data(), size.rows);
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    const float* x = panel ? passed.gated.data() : passed.kept.data();
    return GatedTask{&problem.weight, x, passed.place.data(), passed.count.data(), nullptr, size.inputs, nullptr, out, size.rows, begin, end};
  });
}

void check_gated_stream(Random& random, const Pair<GatedTask>& pair, const Kernels& generic) {
  check_gated(random, pair, generic, 4, false);
}
void check_gated_panel(Random& random, const Pair<GatedTask>& pair, const Kernels& generic) {
  check_gated(random, pair, generic, 4, true);
}
void check_gated_rf8_stream(Random& random, const Pair<GatedTask>& pair, const Kernels& generic) {
  check_gated(random, pair, generic, 1, false);
}
void check_gated_rf8_panel(Random& random, const Pair<GatedTask>& pair, const Kernels& generic) {
  if (pair.round == nullptr) return check_gated(random, pair, generic, 1, true);
  const Size size(random, 220);
  const GatedProblem problem(random, size, 1);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const Rounded rows(pair.round, x.data(), size, ceil_div(size.inputs, 2) * 2);
  compare(random, with_itself(pair), size, [&](size_t begin, size_t end, Out out) {
    return GatedTask{&problem.weight, nullptr, nullptr, nullptr, rows.halves.data(), rows.padded, rows.scale.data(), out, size.rows, begin, end};
  });
}

}  // namespace regc::test

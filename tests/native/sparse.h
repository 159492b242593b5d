// Checks of the kernels of block-sparse weights.
#pragma once

#include "rows.h"

namespace regc::test {

// Now and then more tiles than share a part of x, and more inputs than such a part has.
Size sparse_size(Random& random) {
  Size size(random, kSparseRowBlock);
  if (random() % 16 == 0) size.outputs += 256;
  if (random() % 16 == 0) size.inputs += 2000, size.rows = kSparseRowBlock - random() % 16;
  return size;
}

void check_sparse(Random& random, const Pair<SparseTask>& pair, const Kernels& generic, size_t value_bytes,
                  bool packed) {
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

}  // namespace regc::test

// Checks of the kernels of packed weights, ternary and RF8.
#pragma once

#include "rows.h"

namespace regc::test {

void check_ternary(Random& random, const Pair<MatMulTask>& pair, const Kernels& generic, size_t block, size_t most_rows,
                   uint8_t flip) {
  const Size size(random, most_rows);
  const PackedProblem problem(random, size, block);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  Quantized rows({generic.quantize, generic.quantize}, x.data(), size, problem.weight, block, flip);
  Exact<uint8_t> q(rows.q.size(), random() % 64);
  std::copy_n(rows.q.data(), q.size(), q.data());
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    return MatMulTask{&problem.weight,  q.data(), rows.padded, rows.row_scale.data(),
                      rows.sums.data(), out,      size.rows,   begin, end};
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
void check_rf8_stream(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  check_float(random, pair, 3, kRF8Block);
}
void check_rf8_panel(Random& random, const Pair<MatMulTask>& pair, const Kernels&) {
  if (pair.round == nullptr) return check_float(random, pair, 220, kRF8Block);
  const Size size(random, 220);
  const PackedProblem problem(random, size, kRF8Block);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const Rounded rows(pair.round, x.data(), size, problem.weight.blocks * kRF8Block);
  compare(random, with_itself(pair), size, [&](size_t begin, size_t end, Out out) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(rows.halves.data());
    const size_t stride = rows.padded * sizeof(uint16_t);
    return MatMulTask{&problem.weight, bytes, stride, rows.scale.data(), nullptr, out, size.rows, begin, end};
  });
}

}  // namespace regc::test

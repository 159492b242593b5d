// Checks of the kernels of gated weights, and of the gates.
#pragma once

#include "rows.h"

namespace regc::test {

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

// Also with only one of the two kinds of results, as the operators ask for them.
void compare_gates(const Pair<GateTask>& pair, const GatedMatrix& w, const float* x, size_t rows) {
  Passed y(pair.kernel, w, x, rows);
  Passed expected(pair.generic, w, x, rows);
  if (!y.intact()) fail("wrote outside of its output");
  if (!(y == expected)) fail("differs from the generic kernel");
  Passed apart([](const GateTask&) {}, w, x, rows);
  pair.kernel({&w, x, rows, apart.gated.data(), nullptr, nullptr, nullptr});
  pair.kernel({&w, x, rows, nullptr, apart.kept.data(), apart.place.data(), apart.count.data()});
  if (!apart.intact()) fail("wrote outside of its output");
  if (!(apart == expected)) fail("depends on what is wanted");
}

void check_gate(Random& random, const Pair<GateTask>& pair, const Kernels&) {
  const Size size(random);
  const GatedProblem problem(random, size, 1);
  const Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  compare_gates(pair, problem.weight, x.data(), size.rows);
}

// The inputs of a row of the largest scores, in order of their places, found by sorting.
std::vector<uint32_t> sorted_top(const GatedMatrix& w, const float* x) {
  const auto score = [&](uint32_t k) {
    const float product = std::fabs(x[k] * w.norms[k]);
    return std::isnan(product) ? INFINITY : product;
  };
  std::vector<uint32_t> places(w.inputs);
  for (uint32_t k = 0; k < w.inputs; ++k) places[k] = k;
  std::stable_sort(places.begin(), places.end(), [&](uint32_t a, uint32_t b) { return score(a) > score(b); });
  places.resize(w.active);
  std::sort(places.begin(), places.end());
  return places;
}

// Every other problem has whole numbers for activations, of which many have equal scores.
void check_gate_top(Random& random, const Pair<GateTask>& pair, const Kernels&) {
  const Size size(random);
  const GatedProblem problem(random, size, 1);
  const GatedMatrix& w = problem.weight;
  Exact<float> x = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  const bool whole = random() % 2 == 0;
  for (size_t i = 0; whole && i < x.size(); ++i) x[i] = std::rint(x[i]);
  compare_gates(pair, w, x.data(), size.rows);
  Passed y(pair.kernel, w, x.data(), size.rows);
  for (size_t row = 0; row < size.rows; ++row) {
    const uint32_t* place = y.place.data() + row * w.inputs;
    if (y.count.data()[row] != w.active) fail("another number of inputs passes");
    if (sorted_top(w, x.data() + row * w.inputs) != std::vector<uint32_t>(place, place + w.active))
      fail("other inputs pass than those of the largest scores");
  }
}

void check_gated(Random& random, const Pair<GatedTask>& pair, const Kernels& generic, size_t value_bytes, bool panel) {
  const Size size(random, panel ? 220 : kGatedRows);
  const GatedProblem problem(random, size, value_bytes);
  const Exact<float> rows = rows_of(random, size.rows, size.inputs, size.inputs, random() % 2 == 0);
  Passed passed(generic.gate, problem.weight, rows.data(), size.rows);
  compare(random, pair, size, [&](size_t begin, size_t end, Out out) {
    const float* x = panel ? passed.gated.data() : passed.kept.data();
    return GatedTask{&problem.weight, x,       passed.place.data(), passed.count.data(), nullptr,
                     size.inputs,     nullptr, out,                 size.rows,           begin,   end};
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
    return GatedTask{&problem.weight, nullptr,           nullptr, nullptr,   rows.halves.data(),
                     rows.padded,     rows.scale.data(), out,     size.rows, begin,              end};
  });
}

}  // namespace regc::test

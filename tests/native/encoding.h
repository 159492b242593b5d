// What is checked of the kernels that encode weights.
#pragma once

#include <cmath>

#include "rows.h"

namespace regc::test {

void check_rf8_judge(Random& random, const Pair<JudgeTask>& pair, const Kernels&) {
  const size_t count = between(random, 0, 32) * kJudged;
  const size_t steps = between(random, 1, 16);
  Exact<float> x(count, random() % 16);
  Exact<float> factors(steps, random() % 16);
  for (size_t i = 0; i < count; ++i) {
    const float octave = std::ldexp(1.0F, -static_cast<int>(random() % 20));
    x[i] = octave * static_cast<float>(random() % 4096) / 4096;
  }
  for (size_t i = 0; i < steps; ++i) factors[i] = 1 / std::exp2(static_cast<float>(i) / static_cast<float>(steps));
  Guarded<double> errors(steps);
  Guarded<double> expected(steps);
  pair.kernel({x.data(), count, factors.data(), steps, errors.data()});
  pair.generic({x.data(), count, factors.data(), steps, expected.data()});
  if (!errors.intact()) fail("wrote outside of its output");
  if (std::memcmp(errors.data(), expected.data(), steps * sizeof(double)) != 0) fail("differs from the generic kernel");
}

void check_rf8_codes(Random& random, const Pair<CodesTask>& pair, const Kernels&) {
  const size_t count = between(random, 0, 300);
  Exact<float> x(count, random() % 16);
  fill(random, x.data(), count, false);
  Exact<int32_t> thresholds(kResiduals);
  for (size_t i = 0; i < kResiduals; ++i) thresholds[i] = static_cast<int32_t>((i << 20) + random() % (1 << 20));
  const float scale = static_cast<float>(between(random, 1, 1000)) / 300;
  Guarded<uint8_t> codes(count);
  Guarded<uint8_t> expected(count);
  pair.kernel({x.data(), count, scale, thresholds.data(), codes.data()});
  pair.generic({x.data(), count, scale, thresholds.data(), expected.data()});
  if (!codes.intact()) fail("wrote outside of its output");
  if (std::memcmp(codes.data(), expected.data(), count) != 0) fail("differs from the generic kernel");
}

}  // namespace regc::test

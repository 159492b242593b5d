// Sums over bytes of five trits, for instruction sets whose dot() takes any unsigned byte.
#pragma once

#include "kernels/kernels.h"

namespace regc::kernels::REGC_ISA {

// sums[t] += sum of digit * q over some blocks of T tiles. A byte f is a fraction f / 256 and its first digit
// floor(3 f / 256) is (3 f - next) / 256, where next = 3 f modulo 256 is the fraction of the digits after it.
// So the digits need not be isolated: 256 times the sum is three times the sum of f * q less that of
// next * q. That takes 20 instructions for five digits, isolating them by averages and a mask 28.
template <int T, class Streams>
REGC_INLINE void ternary5_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  constexpr size_t kMost = 1600;  // 256 * 2 * 127 * 20 * 1600 still fits int32; what leads to it may wrap
  for (size_t done = 0; done < blocks; done += kMost) {
    I16 these[T];
    I16 nexts[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) these[t] = nexts[t] = zero_i();
    const size_t stop = min_of(done + kMost, blocks);
    for (size_t block = done; block < stop; ++block, q += 20) {
      streams.fetch(block);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        B64 fraction = load_b(streams.at(block, t));
#pragma GCC unroll 5
        for (size_t p = 0; p < 5; ++p) {
          const B64 x = fill_4(q + 4 * p);
          these[t] = dot(these[t], fraction, x);
          fraction = times_3(fraction);
          nexts[t] = dot(nexts[t], fraction, x);
        }
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const I16 thrice = add_i(these[t], add_i(these[t], these[t]));
      sums[t] = add_i(sums[t], shift_right_8(sub_i(thrice, nexts[t])));
    }
  }
}

}  // namespace regc::kernels::REGC_ISA

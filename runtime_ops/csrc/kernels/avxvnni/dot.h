// Sums of products of bytes in AVX2 registers, by the instruction of AVX-VNNI.
#pragma once

namespace regc::kernels::REGC_ISA {

// Register tile of the panel kernels: 6 rows of 1 tile are 12 of 16 registers, with 2 for weights and 1 for
// activations.
constexpr int kPanelRows = 6;
constexpr int kPanelTiles = 1;
constexpr size_t kTernaryStreamRows = 5;
constexpr size_t kTernary5StreamRows = 3;

// sum + the four products of each lane, unsigned times signed.
REGC_INLINE I16 dot(I16 sum, B64 u8, B64 s8) {
  return {_mm256_dpbusd_avx_epi32(sum.lo, u8.lo, s8.lo), _mm256_dpbusd_avx_epi32(sum.hi, u8.hi, s8.hi)};
}

// sums[t] += sum of code * q over some blocks of T tiles. Fields 0 and 2 (after a shift) share one
// accumulator, fields 1 and 3, which count four times, the other.
template <int T, class Streams>
REGC_INLINE void ternary_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  const B64 even_mask = fill_b(0x03);
  const B64 odd_mask = fill_b(0x0C);
  I16 even[T];
  I16 odd[T];
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) even[t] = odd[t] = zero_i();
  for (size_t block = 0; block < blocks; ++block, q += 16) {
    streams.fetch(block);
    const B64 x[4] = {fill_4(q), fill_4(q + 4), fill_4(q + 8), fill_4(q + 12)};
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      const B64 code = load_b(streams.at(block, t));
      const B64 next = {_mm256_srli_epi16(code.lo, 4), _mm256_srli_epi16(code.hi, 4)};
      even[t] = dot(even[t], and_b(code, even_mask), x[0]);
      odd[t] = dot(odd[t], and_b(code, odd_mask), x[1]);
      even[t] = dot(even[t], and_b(next, even_mask), x[2]);
      odd[t] = dot(odd[t], and_b(next, odd_mask), x[3]);
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) {
    const I16 quarter = {_mm256_srai_epi32(odd[t].lo, 2), _mm256_srai_epi32(odd[t].hi, 2)};
    sums[t] = add_i(sums[t], add_i(even[t], quarter));
  }
}

}  // namespace regc::kernels::REGC_ISA

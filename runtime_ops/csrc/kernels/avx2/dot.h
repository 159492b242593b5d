// Sums of products of bytes in AVX2 registers.
#pragma once

namespace regc::kernels::REGC_ISA {

// Register tile of the panel kernels: 4 rows of 1 tile are 8 of 16 registers; 6 would leave none for the
// products.
constexpr int kPanelRows = 4;
constexpr int kPanelTiles = 1;
constexpr size_t kTernaryStreamRows = 8;
constexpr size_t kTernary5StreamRows = 3;

// sum + the four products of each lane, unsigned times signed. The pair sums fit int16 where |s8| <= 64.
REGC_INLINE __m256i dot_half(__m256i sum, __m256i u8, __m256i s8) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u8, s8), _mm256_set1_epi16(1)));
}
REGC_INLINE I16 dot(I16 sum, B64 u8, B64 s8) {
  return {dot_half(sum.lo, u8.lo, s8.lo), dot_half(sum.hi, u8.hi, s8.hi)};
}

// Sum of code * q over at most 8 blocks of one half of a tile. Fields 0 and 2 (after a shift) share one int16
// accumulator, fields 1 and 3, which count four times, the other: |4 * sum| <= 8 * 2 * 2032 still fits.
REGC_INLINE __m256i ternary_half_sums(const uint8_t* codes, size_t blocks, const uint8_t* q) {
  const __m256i even_mask = _mm256_set1_epi8(0x03);
  const __m256i odd_mask = _mm256_set1_epi8(0x0C);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();
  for (size_t block = 0; block < blocks; ++block, codes += 64, q += 16) {
    const __m256i code = load_half(codes);
    const __m256i next = _mm256_srli_epi16(code, 4);
    const __m256i x0 = fill_4(q).lo, x1 = fill_4(q + 4).lo, x2 = fill_4(q + 8).lo, x3 = fill_4(q + 12).lo;
    even = _mm256_add_epi16(even, _mm256_maddubs_epi16(_mm256_and_si256(code, even_mask), x0));
    odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(_mm256_and_si256(code, odd_mask), x1));
    even = _mm256_add_epi16(even, _mm256_maddubs_epi16(_mm256_and_si256(next, even_mask), x2));
    odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(_mm256_and_si256(next, odd_mask), x3));
  }
  const __m256i ones = _mm256_set1_epi16(1);
  return _mm256_add_epi32(_mm256_madd_epi16(even, ones), _mm256_srai_epi32(_mm256_madd_epi16(odd, ones), 2));
}

// sums[t] += sum of code * q over some blocks of T tiles.
template <int T, class Streams>
REGC_INLINE void ternary_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  constexpr size_t kBlocks = 8;
  for (size_t done = 0; done < blocks; done += kBlocks) {
    const size_t some = blocks - done < kBlocks ? blocks - done : kBlocks;
    for (size_t block = done; block < done + some; ++block) streams.fetch(block);
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      const uint8_t* codes = streams.at(done, t);
      sums[t] = add_i(sums[t], {ternary_half_sums(codes, some, q + 16 * done),
                                ternary_half_sums(codes + 32, some, q + 16 * done)});
    }
  }
}

// Sum of digit * q over at most 8 blocks of one half of a tile: |sum| <= 8 * 5 * 508 fits int16.
REGC_INLINE __m256i ternary5_half_sums(const uint8_t* codes, size_t blocks, const uint8_t* q) {
  __m256i sum = _mm256_setzero_si256();
  for (size_t block = 0; block < blocks; ++block, codes += 64, q += 20) {
    __m256i fraction = load_half(codes);
#pragma GCC unroll 5
    for (size_t p = 0; p < 5; ++p) {
      const __m256i high = _mm256_srli_epi16(ternary5_digits(fraction), 6);
      const __m256i digit = _mm256_and_si256(high, _mm256_set1_epi8(3));
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(digit, fill_4(q + 4 * p).lo));
      fraction = times_3(fraction);
    }
  }
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

// sums[t] += sum of digit * q over some blocks of T tiles.
template <int T, class Streams>
REGC_INLINE void ternary5_sums(const Streams& streams, size_t blocks, const uint8_t* q, I16 (&sums)[T]) {
  constexpr size_t kBlocks = 8;
  for (size_t done = 0; done < blocks; done += kBlocks) {
    const size_t some = blocks - done < kBlocks ? blocks - done : kBlocks;
    for (size_t block = done; block < done + some; ++block) streams.fetch(block);
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      const uint8_t* codes = streams.at(done, t);
      sums[t] = add_i(sums[t], {ternary5_half_sums(codes, some, q + 20 * done),
                                ternary5_half_sums(codes + 32, some, q + 20 * done)});
    }
  }
}

}  // namespace regc::kernels::REGC_ISA

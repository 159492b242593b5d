// Sums and peaks over the threads of a warp and of a block.
#pragma once

#include "cuda/device.h"

namespace regc::cuda {

constexpr unsigned kWarp = 32;

// The sum over the lanes that differ only in bits `first` and above of their number, in each of them. The order of
// additions is the same for all, so that they get the same bits.
template <class Sum>
REGC_DEVICE Sum sum_lanes(Sum v, unsigned first) {
  for (unsigned bit = first; bit < kWarp; bit *= 2) v += __shfl_xor_sync(0xFFFFFFFFU, v, bit);
  return v;
}

// The largest of all threads of a block of at most 32 warps. `shared` has room for 32, and none may use it before.
REGC_DEVICE int32_t block_peak(int32_t v, int32_t* shared) {
  for (unsigned bit = 1; bit < kWarp; bit *= 2) {
    const int32_t other = __shfl_xor_sync(0xFFFFFFFFU, v, bit);
    v = other > v ? other : v;
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = v;
  __syncthreads();
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) v = shared[warp] > v ? shared[warp] : v;
  return v;
}

// The sum of all threads of a block, as block_peak. All have it before any goes on, so that `shared` may be used again.
REGC_DEVICE uint32_t block_sum(uint32_t v, uint32_t* shared) {
  v = sum_lanes(v, 1);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = v;
  __syncthreads();
  uint32_t sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) sum += shared[warp];
  __syncthreads();
  return sum;
}

}  // namespace regc::cuda

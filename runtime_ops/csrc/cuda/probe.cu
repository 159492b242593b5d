// What a toolkit needs for the kernels, compiled with their options before it is chosen.
#include "cuda/device.h"

#if __CUDACC_VER_MAJOR__ < 12
#error "CUDA 12 or newer is needed"
#endif

__global__ void probe(float* p) {
  __shared__ __align__(128) float sums[256];
  regc::cuda::TileC<regc::cuda::half_t> sum;
  regc::cuda::clear_tile(sum);
  regc::cuda::store_tile(sums, sum);
  p[threadIdx.x] = sums[threadIdx.x];
}

int run(float* p) {
  probe<<<1, 32>>>(p);
  return static_cast<int>(cudaGetLastError());
}

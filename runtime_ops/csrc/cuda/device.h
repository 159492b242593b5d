// What kernels use of a GPU. Without nvcc it comes from emulation.h of tests/native/cuda, which runs the same kernels
// on the CPU: threads are fibers, switched in random order at barriers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>

#define REGC_HD __host__ __device__ __forceinline__
#define REGC_DEVICE __device__ __forceinline__
#define REGC_LAUNCHED(threads) __global__ void __launch_bounds__(threads)
// One-dimensional, for wmma from a multiple of 32 bytes on.
#define REGC_SHARED(type, name, count) __shared__ __align__(128) type name[count]
// Whether there are tiles of bfloat16: from compute capability 8.0 on.
#define REGC_BFLOAT_TILES (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)

namespace regc::cuda {

using half_t = __half;
using bfloat_t = __nv_bfloat16;
using Word2 = uint2;
using Word4 = uint4;

REGC_DEVICE Word4 load_once(const uint8_t* p) { return __ldcs(reinterpret_cast<const uint4*>(p)); }
REGC_DEVICE Word4 load_16(const void* p) { return __ldg(static_cast<const uint4*>(p)); }
REGC_DEVICE Word2 load_8(const void* p) { return __ldg(static_cast<const uint2*>(p)); }
REGC_DEVICE uint32_t load_4(const void* p) { return __ldg(static_cast<const unsigned*>(p)); }
// Shared memory, aligned: of a memcpy nvcc would make stores of single bytes.
REGC_DEVICE void store_16(void* p, Word4 v) { *static_cast<uint4*>(p) = v; }
REGC_DEVICE void store_4(void* p, uint32_t v) { *static_cast<uint32_t*>(p) = v; }
REGC_DEVICE void store_2(void* p, uint16_t v) { *static_cast<uint16_t*>(p) = v; }
REGC_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
REGC_DEVICE uint16_t float_to_half(float v) { return __half_as_ushort(__float2half_rn(v)); }
REGC_DEVICE uint32_t float_bits(float v) { return __float_as_uint(v); }
REGC_DEVICE float bits_float(uint32_t v) { return __uint_as_float(v); }

// sum + four products of unsigned bytes with signed ones.
REGC_DEVICE int32_t dot4(uint32_t u8, uint32_t s8, int32_t sum) {
  int32_t result;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(u8), "r"(s8), "r"(sum));
  return result;
}

// Bytes of `low` (0 to 3) and `high` (4 to 7), each chosen by a nibble of at most 7.
REGC_DEVICE uint32_t permute(uint32_t low, uint32_t high, uint32_t nibbles) { return __byte_perm(low, high, nibbles); }

// Two halves, zero where they are denormal.
REGC_DEVICE uint32_t flushed(uint32_t halves) {
  uint32_t result;
  asm("mul.rn.ftz.f16x2 %0, %1, %2;" : "=r"(result) : "r"(halves), "r"(0x3C003C00U));
  return result;
}

// 16x16 tiles in the registers of a warp: a[16][16] * transpose(b[16][16]) in c[16][16].
template <class Element>
struct TileSum;
template <>
struct TileSum<int8_t> {
  using Element = signed char;
  using Sum = int;
};
template <>
struct TileSum<half_t> {
  using Element = half_t;
  using Sum = float;
};
template <>
struct TileSum<bfloat_t> {
  using Element = bfloat_t;
  using Sum = float;
};
template <class T>
using TileA = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, typename TileSum<T>::Element,
                                     nvcuda::wmma::row_major>;
template <class T>
using TileB = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, typename TileSum<T>::Element,
                                     nvcuda::wmma::col_major>;
template <class T>
using TileC = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, typename TileSum<T>::Sum>;

// From a multiple of 32 bytes on; rows begin `pitch` elements after each other, a multiple of 16 bytes.
template <class Tile, class T>
REGC_DEVICE void load_tile(Tile& tile, const T* p, unsigned pitch) {
  nvcuda::wmma::load_matrix_sync(tile, reinterpret_cast<const typename TileSum<T>::Element*>(p), pitch);
}
template <class Tile>
REGC_DEVICE void clear_tile(Tile& tile) {
  nvcuda::wmma::fill_fragment(tile, 0);
}
template <class C, class A, class B>
REGC_DEVICE void multiply_tiles(C& c, const A& a, const B& b) {
  nvcuda::wmma::mma_sync(c, a, b, c);
}
template <class Sum, class C>
REGC_DEVICE void store_tile(Sum* p, const C& c) {
  nvcuda::wmma::store_matrix_sync(p, c, 16, nvcuda::wmma::mem_row_major);
}

// Whether the current device multiplies tiles of bfloat16.
inline bool has_bfloat_tiles() {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 8;
}

struct Grid {
  unsigned x;
  unsigned y = 1;
  unsigned z = 1;
};

// Starts kernel(arguments) and does not wait for it; an error of the CUDA runtime, or 0. The error is that of this
// launch, which cudaGetLastError() need not be, and nobody finds it there later.
template <class Arguments>
int launch(void (*kernel)(Arguments), Grid grid, unsigned threads, void* stream, Arguments arguments) {
  void* list[] = {&arguments};
  const cudaError_t error = cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(grid.x, grid.y, grid.z),
                                             dim3(threads), list, 0, static_cast<cudaStream_t>(stream));
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<int>(error);
}

}  // namespace regc::cuda

#else
#include "emulation.h"
#endif

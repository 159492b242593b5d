// A GPU of one thread at a time, for kernels of runtime_ops/csrc/cuda: what cuda/device.h has from nvcc otherwise.
//
// Blocks of threads run one after the other; their threads are fibers, which are switched at barriers and within
// warps, always to one drawn at random. So a barrier that is missing gives wrong results: shared memory is filled with
// a pattern before each block, and of two threads that race either comes first now and then. Barriers that not all
// threads reach, too much shared memory and grids that no GPU takes are errors. Memory is the process's own, with exact
// bounds: a sanitizer sees what a kernel reads and writes beyond it, and what is not aligned.
#pragma once

#include <cmath>
#include <type_traits>

#include "machine.h"

#define REGC_HD inline
#define REGC_DEVICE inline
#define REGC_LAUNCHED(threads) void
#define REGC_BFLOAT_TILES 1
#define REGC_SHARED(type, name, count)                            \
  static regc::emulation::Shared<type, (count)> name##_in_shared; \
  type* const name = name##_in_shared.data()

inline void __syncthreads() { regc::emulation::Machine::instance().block_barrier(); }
inline void __syncwarp() { regc::emulation::Machine::instance().warp_barrier(); }
template <class T>
T __shfl_xor_sync(unsigned, T v, unsigned bits) {
  return regc::emulation::exchange(v, regc::emulation::Machine::instance().lane() ^ bits);
}
template <class T>
T __shfl_sync(unsigned, T v, unsigned lane) {
  return regc::emulation::exchange(v, lane);
}
inline unsigned __ballot_sync(unsigned, bool passes) {
  unsigned bits = 0;
  for (unsigned lane = 0; lane < regc::emulation::kLanes; ++lane)
    bits |= regc::emulation::exchange<uint32_t>(passes ? 1 : 0, lane) << lane;
  return bits;
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

namespace regc::cuda {

using half_t = _Float16;
struct bfloat_t {
  uint16_t bits;
  operator float() const {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
  }
};

struct Word2 {
  uint32_t x, y;
};
struct Word4 {
  uint32_t x, y, z, w;
};

template <class T>
const T& aligned(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0) throw std::runtime_error("an address is not aligned");
  return *static_cast<const T*>(p);
}
inline Word4 load_once(const uint8_t* p) { return aligned<Word4>(p); }
inline Word4 load_16(const void* p) { return aligned<Word4>(p); }
inline Word2 load_8(const void* p) { return aligned<Word2>(p); }
inline uint32_t load_4(const void* p) { return aligned<uint32_t>(p); }

inline void store_16(void* p, Word4 v) { const_cast<Word4&>(aligned<Word4>(p)) = v; }
inline void store_4(void* p, uint32_t v) { const_cast<uint32_t&>(aligned<uint32_t>(p)) = v; }
inline void store_2(void* p, uint16_t v) { const_cast<uint16_t&>(aligned<uint16_t>(p)) = v; }

template <class To, class From>
To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
inline float half_to_float(uint16_t bits) { return static_cast<float>(same_bits<half_t>(bits)); }
inline uint16_t float_to_half(float v) { return same_bits<uint16_t>(static_cast<half_t>(v)); }
inline uint32_t float_bits(float v) { return same_bits<uint32_t>(v); }
inline float bits_float(uint32_t v) { return same_bits<float>(v); }

inline int32_t dot4(uint32_t u8, uint32_t s8, int32_t sum) {
  for (int i = 0; i < 32; i += 8) sum += static_cast<uint8_t>(u8 >> i) * static_cast<int8_t>(s8 >> i);
  return sum;
}

inline uint32_t permute(uint32_t low, uint32_t high, uint32_t nibbles) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const uint32_t nibble = nibbles >> 4 * i & 15U;
    if (nibble > 7) throw std::runtime_error("a nibble is above 7");
    result |= static_cast<uint32_t>(bytes >> 8 * nibble & 0xFFU) << 8 * i;
  }
  return result;
}

inline uint32_t flushed(uint32_t halves) {
  for (int i = 0; i < 32; i += 16)
    if ((halves >> i & 0x7C00U) == 0) halves &= ~(0x7FFFU << i);
  return halves;
}

// Lane 0 holds the tile of its warp.
template <class T>
struct TileA {
  T value[16][16];
};
template <class T>
using TileB = TileA<T>;
template <class T>
struct TileC {
  std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float> value[16][16];
};

inline bool holds_tile() { return emulation::Machine::instance().lane() == 0; }

template <class T>
void load_tile(TileA<T>& tile, const T* p, unsigned pitch) {
  if (reinterpret_cast<uintptr_t>(p) % 32 != 0 || pitch * sizeof(T) % 16 != 0)
    throw std::runtime_error("a tile is not aligned");
  for (int row = 0; holds_tile() && row < 16; ++row)
    std::memcpy(tile.value[row], p + row * pitch, sizeof(tile.value[row]));
}
template <class T>
void clear_tile(TileC<T>& tile) {
  if (holds_tile()) std::memset(tile.value, 0, sizeof(tile.value));
}
template <class T>
void multiply_tiles(TileC<T>& c, const TileA<T>& a, const TileB<T>& b) {
  using Sum = std::decay_t<decltype(c.value[0][0])>;
  if (!holds_tile()) return;
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 16; ++n)
      for (int k = 0; k < 16; ++k) c.value[m][n] += static_cast<Sum>(a.value[m][k]) * static_cast<Sum>(b.value[n][k]);
}
template <class Sum, class T>
void store_tile(Sum* p, const TileC<T>& tile) {
  static_assert(sizeof(Sum) == sizeof(tile.value[0][0]));
  if (reinterpret_cast<uintptr_t>(p) % 32 != 0) throw std::runtime_error("a tile is not aligned");
  if (holds_tile()) std::memcpy(p, tile.value, sizeof(tile.value));
}

inline bool has_bfloat_tiles() { return emulation::Machine::instance().bfloat_tiles; }

struct Grid {
  unsigned x;
  unsigned y = 1;
  unsigned z = 1;
};

template <class Arguments>
int launch(void (*kernel)(Arguments), Grid grid, unsigned threads, void*, const Arguments& arguments) {
  emulation::Machine::instance().run({grid.x, grid.y, grid.z}, threads, [&] { kernel(arguments); });
  return 0;
}

}  // namespace regc::cuda

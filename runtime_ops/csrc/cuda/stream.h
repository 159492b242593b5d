// A few rows: the packed weights are read once for up to four of them. A block of threads has a tile of sixteen
// outputs; its warps take turns over 512 bytes of codes, in which every lane has four outputs of one block of inputs.
//
// What a GPU needs to read at its full bandwidth is bytes on their way, 16 to 24 KB for each multiprocessor of an H100
// or H200. So every thread asks for codes kAhead turns before it uses them: ptxas would load them one at a time.
#pragma once

#include "cuda/decode.h"
#include "cuda/elements.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr size_t kStreamRows = 8;     // most rows that are streamed
constexpr unsigned kWarpBlocks = 8;   // blocks of codes that a warp reads at once
constexpr unsigned kStreamWarps = 8;  // of a block of threads, unless outputs are few

struct StreamArgs {
  Weight weight;
  const uint8_t* q;        // int8 formats: [rows][q_stride], with
  size_t q_stride;         // bytes, a multiple of 16
  const float* row_scale;  // [rows]
  Input in;                // formats of float activations, in_fours()
  Out out;
  unsigned rows;
};

// What a lane works on: rows from `row` on, four outputs from 4 * quad on of a tile, and one block of codes.
struct Place {
  unsigned row;
  size_t tile;
  size_t block;
  unsigned quad;
};

REGC_DEVICE void words_of(const Word4& v, uint32_t (&word)[4]) {
  word[0] = v.x;
  word[1] = v.y;
  word[2] = v.z;
  word[3] = v.w;
}

// The multipliers of four outputs, a byte each.
REGC_DEVICE uint32_t multipliers_of(const Weight& w, const Place& at) {
  return w.multiplied ? load_4(w.multiplier + group_of(w, at.tile, at.block) * kTile + 4 * at.quad) : 0x01010101U;
}

// Rows that are none are computed like the first, and not stored.
REGC_DEVICE size_t row_of(const StreamArgs& a, const Place& at, unsigned r) {
  return at.row + r < a.rows ? at.row + r : 0;
}

// The trits of four outputs, plus one.
template <class Codes>
REGC_DEVICE void fields_of(const Word4& codes, uint32_t (&field)[4][Codes::kSteps]) {
  uint32_t word[4];
  words_of(codes, word);
#pragma unroll
  for (int i = 0; i < 4; ++i) Codes::fields(word[i], field[i]);
}

template <class Codes>
struct TernaryStream {
  using Sum = int32_t;

  template <int kRows>
  REGC_DEVICE static void add(const StreamArgs& a, const Place& at, const Word4& codes, Sum (&sum)[4][kRows]) {
    uint32_t field[4][Codes::kSteps];
    fields_of<Codes>(codes, field);
    const uint32_t multipliers = multipliers_of(a.weight, at);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      uint32_t q[Codes::kSteps];
      load_q(a.q + row_of(a, at, r) * a.q_stride + at.block * Codes::kInputs, q);
      int32_t excess = 0;  // fields are trit + 1
#pragma unroll
      for (int p = 0; p < Codes::kSteps; ++p) excess = dot4(0x01010101U, q[p], excess);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        int32_t part = -excess;
#pragma unroll
        for (int p = 0; p < Codes::kSteps; ++p) part = dot4(field[i][p], q[p], part);
        sum[i][r] += part * static_cast<int32_t>(multipliers >> 8 * i & 0xFFU);
      }
    }
  }
  REGC_DEVICE static float value(const StreamArgs& a, size_t row, Sum sum) {
    return static_cast<float>(sum) * a.row_scale[row];
  }

 private:
  REGC_DEVICE static void load_q(const uint8_t* from, uint32_t (&q)[4]) { words_of(load_16(from), q); }
  REGC_DEVICE static void load_q(const uint8_t* from, uint32_t (&q)[5]) {
#pragma unroll
    for (int p = 0; p < 5; ++p) q[p] = load_4(from + 4 * p);
  }
};

// X is Wide or Narrow.
template <class X, int kRows>
REGC_DEVICE void add_four(const StreamArgs& a, const Place& at, size_t k, const float (&weight)[4][4],
                          float (&sum)[4][kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float x[4];
    X::four(a.in, row_of(a, at, r) * a.weight.inputs + k, x);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[i][r] = fmaf(weight[i][j], x[j], sum[i][r]);
    }
  }
}

// Float activations.
template <class Codes, class X>
struct TernaryFloatStream {
  using Sum = float;

  template <int kRows>
  REGC_DEVICE static void add(const StreamArgs& a, const Place& at, const Word4& codes, Sum (&sum)[4][kRows]) {
    uint32_t field[4][Codes::kSteps];
    fields_of<Codes>(codes, field);
    const uint32_t multipliers = multipliers_of(a.weight, at);
    float part[4][kRows] = {};
#pragma unroll
    for (int p = 0; p < Codes::kSteps; ++p) {
      const size_t k = at.block * Codes::kInputs + 4 * p;
      if (k >= a.weight.inputs) break;
      float weight[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) weight[i][j] = trit(field[i][p], j);
      }
      add_four<X>(a, at, k, weight, part);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto multiplier = static_cast<float>(multipliers >> 8 * i & 0xFFU);
#pragma unroll
      for (int r = 0; r < kRows; ++r) sum[i][r] = fmaf(part[i][r], multiplier, sum[i][r]);
    }
  }
  REGC_DEVICE static float value(const StreamArgs&, size_t, Sum sum) { return sum; }

 private:
  // 2^23 + field has the field in its low bits: two operations, where a conversion takes the time of eight.
  REGC_DEVICE static float trit(uint32_t field, int j) {
    return bits_float(permute(field, 0x4B000000U, 0x7440U + j)) - 8388609.0F;
  }
};

template <class X>
struct RF8Stream {
  using Sum = float;

  template <int kRows>
  REGC_DEVICE static void add(const StreamArgs& a, const Place& at, const Word4& codes, Sum (&sum)[4][kRows]) {
    uint32_t word[4];
    uint32_t pair[4][2];  // of each output the inputs 0 and 1, and 2 and 3
    words_of(codes, word);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t two[2];
      rf8_halves_of(word[i], two);
      pair[i % 2 * 2][i / 2] = two[0];
      pair[i % 2 * 2 + 1][i / 2] = two[1];
    }
    float weight[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        weight[i][k] = half_to_float(static_cast<uint16_t>(pair[i][k / 2] >> 16 * (k % 2) & 0xFFFFU));
    }
    add_four<X>(a, at, 4 * at.block, weight, sum);
  }
  REGC_DEVICE static float value(const StreamArgs&, size_t, Sum sum) { return sum; }
};

// Of a block of threads, at most. More rows need more registers.
template <int kRows>
constexpr unsigned kMostWarps = kRows == 1 ? 2 * kStreamWarps : kStreamWarps;

template <class Format, int kRows>
REGC_LAUNCHED(kMostWarps<kRows> * kWarp) stream(StreamArgs a) {
  using Sum = typename Format::Sum;
  constexpr int kAhead = kRows == 1 ? 4 : 2;
  REGC_SHARED(Sum, parts, kMostWarps<kRows> * kTile * kRows);  // [warps][kTile][kRows]
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned warps = blockDim.x / kWarp;
  const size_t blocks = a.weight.blocks;
  const size_t step = warps * kWarpBlocks;
  Place at{blockIdx.y * kRows, blockIdx.x, warp * kWarpBlocks + lane / 4, lane % 4};
  const uint8_t* codes = a.weight.codes + at.tile * blocks * kUnit + 16 * at.quad;
  Word4 ahead[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    const size_t block = at.block + i * step;
    ahead[i] = block < blocks ? load_once(codes + block * kUnit) : Word4{0, 0, 0, 0};
  }
  Sum sum[4][kRows] = {};
  while (at.block < blocks) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i, at.block += step) {
      const Word4 now = ahead[i];
      const size_t next = at.block + kAhead * step;
      if (next < blocks) ahead[i] = load_once(codes + next * kUnit);
      if (at.block < blocks) Format::add(a, at, now, sum);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const Sum part = sum_lanes(sum[i][r], 4);
      if (lane < 4) parts[(warp * kTile + 4 * lane + i) * kRows + r] = part;
    }
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < kTile * kRows; i += blockDim.x) {
    const unsigned row = at.row + i / kTile;
    const size_t output = at.tile * kTile + i % kTile;
    if (row >= a.rows || output >= a.weight.outputs) continue;
    Sum total = 0;
    for (unsigned part = 0; part < warps; ++part) total += parts[(part * kTile + i % kTile) * kRows + i / kTile];
    finish(a.weight, a.out, row, output, Format::value(a, row, total));
  }
}

}  // namespace regc::cuda

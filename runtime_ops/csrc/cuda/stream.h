// A few rows: the packed weights are read once, for all of them. A block of threads has a tile of sixteen outputs; its
// warps take turns over 512 bytes of codes, in which every lane has four outputs of one block of inputs.
#pragma once

#include "cuda/decode.h"
#include "cuda/elements.h"
#include "cuda/warp.h"

namespace regc::cuda {

constexpr size_t kStreamRows = 8;    // most rows that are streamed
constexpr unsigned kStreamWarps = 8; // of a block of threads, at most
constexpr unsigned kWarpBlocks = 8;  // blocks of codes that a warp reads at once

struct StreamArgs {
  Weight weight;
  const uint8_t* q;        // int8 formats: [rows][q_stride], with
  size_t q_stride;         // bytes, a multiple of 16
  const float* row_scale;  // [rows]
  const int32_t* sums;     // [rows][blocks]
  Input in;                // formats of float activations
  bool whole;              // every four inputs of x from a multiple of four on lie in one aligned vector
  Out out;
  unsigned rows;
};

// What a lane works on: four outputs from 4 * quad on of a tile, and one block of codes.
struct Place {
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

template <class Codes>
struct TernaryStream {
  using Sum = int32_t;

  template <int kRows>
  REGC_DEVICE static void add(const StreamArgs& a, const Place& at, const Word4& codes, Sum (&sum)[4][kRows]) {
    const Weight& w = a.weight;
    uint32_t word[4];
    uint32_t field[4][Codes::kSteps];
    words_of(codes, word);
#pragma unroll
    for (int i = 0; i < 4; ++i) Codes::fields(word[i], field[i]);
    uint32_t multipliers = 0x01010101U;
    if (w.multiplied) multipliers = load_4(w.multiplier + group_of(w, at.tile, at.block) * kTile + 4 * at.quad);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const size_t row = r < static_cast<int>(a.rows) ? r : 0;  // rows that are none are computed, and not stored
      uint32_t q[Codes::kSteps];
      load_q(a.q + row * a.q_stride + at.block * Codes::kInputs, q);
      const int32_t excess = a.sums[row * w.blocks + at.block];  // fields are trit + 1
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
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float x[4];
      load_x(a, r < static_cast<int>(a.rows) ? r : 0, 4 * at.block, x);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[i][r] = fmaf(weight[i][k], x[k], sum[i][r]);
      }
    }
  }
  REGC_DEVICE static float value(const StreamArgs&, size_t, Sum sum) { return sum; }

 private:
  // Inputs k to k + 3 of a row; zeros for those that it lacks.
  REGC_DEVICE static void load_x(const StreamArgs& a, size_t row, size_t k, float (&x)[4]) {
    const size_t inputs = a.weight.inputs;
    if (a.whole && a.in.type == Type::float32) {
      uint32_t bits[4];
      words_of(load_16(static_cast<const float*>(a.in.x) + row * inputs + k), bits);
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] = bits_float(bits[j]);
      return;
    }
    if (a.whole) {
      const Word2 pairs = load_8(static_cast<const uint16_t*>(a.in.x) + row * inputs + k);
      const uint32_t word[2] = {pairs.x, pairs.y};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const auto bits = static_cast<uint16_t>(word[j / 2] >> 16 * (j % 2) & 0xFFFFU);
        x[j] = a.in.type == Type::float16 ? half_to_float(bits) : bfloat16_to_float(bits);
      }
      return;
    }
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
      x[j] = k + j < inputs ? load_element(a.in.x, row * inputs + k + j, a.in.type) : 0.0F;
  }
};

template <class Format, int kRows>
REGC_LAUNCHED(kStreamWarps* kWarp) stream(StreamArgs a) {
  using Sum = typename Format::Sum;
  REGC_SHARED(Sum, parts, kStreamWarps * kTile * kRows);  // [warps][kTile][kRows]
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warp = threadIdx.x / kWarp;
  const unsigned warps = blockDim.x / kWarp;
  Place at{blockIdx.x, warp * kWarpBlocks + lane / 4, lane % 4};
  const uint8_t* codes = a.weight.codes + at.tile * a.weight.blocks * kUnit + 16 * at.quad;
  Sum sum[4][kRows] = {};
#pragma unroll 4
  for (; at.block < a.weight.blocks; at.block += warps * kWarpBlocks)
    Format::add(a, at, load_once(codes + at.block * kUnit), sum);
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
    const unsigned row = i / kTile;
    const size_t output = at.tile * kTile + i % kTile;
    if (row >= a.rows || output >= a.weight.outputs) continue;
    Sum total = 0;
    for (unsigned part = 0; part < warps; ++part) total += parts[(part * kTile + i % kTile) * kRows + row];
    finish(a.weight, a.out, row, output, Format::value(a, row, total));
  }
}

}  // namespace regc::cuda

// The formats of panel.h: how codes of a slice are loaded, and what they decode to in shared memory.
#pragma once

#include "cuda/decode.h"

namespace regc::cuda {

// A format has its Element and Sum, kInputs of a slice, the kItems that hold a tile's codes of a slice, load() of one
// of them and store() of what it decodes to: weights of output n and input k belong at place(n, k).

// One item is a row of a block of codes.
template <class Codes>
struct TernaryPanel {
  using Element = int8_t;
  using Sum = int32_t;
  static constexpr size_t kUnits = 4;
  static constexpr size_t kInputs = kUnits * Codes::kInputs;
  static constexpr size_t kItems = kUnits * kTile;
  struct Item {
    uint32_t codes;
    uint32_t multiplier;
  };

  REGC_DEVICE static Item load(const Weight& w, size_t tile, size_t slice, size_t item) {
    const size_t block = slice * kUnits + item / kTile;
    if (tile * kTile >= w.outputs || block >= w.blocks) return {0, 0};  // all levels are zero
    return {load_4(w.codes + (tile * w.blocks + block) * kUnit + item % kTile * 4),
            w.multiplied ? w.multiplier[group_of(w, tile, block) * kTile + item % kTile] : 1U};
  }
  template <class Place>
  REGC_DEVICE static void store(const Item& loaded, size_t item, const Place& place) {
    uint32_t field[Codes::kSteps];
    Codes::fields(loaded.codes, field);
#pragma unroll
    for (int p = 0; p < Codes::kSteps; ++p) {
      const uint32_t levels = ternary_levels(field[p], loaded.multiplier);
      store_4(place(item % kTile, item / kTile * Codes::kInputs + 4 * p), levels);
    }
  }
};

// One item is four outputs of a block of codes.
struct RF8Panel {
  using Element = half_t;
  using Sum = float;
  static constexpr size_t kUnits = 8;
  static constexpr size_t kInputs = kUnits * 4;
  static constexpr size_t kItems = kUnits * 4;
  using Item = Word4;

  REGC_DEVICE static Item load(const Weight& w, size_t tile, size_t slice, size_t item) {
    const size_t block = slice * kUnits + item / 4;
    if (tile * kTile >= w.outputs || block >= w.blocks) return Word4{0, 0, 0, 0};
    return load_16(w.codes + (tile * w.blocks + block) * kUnit + item % 4 * 16);
  }
  template <class Place>
  REGC_DEVICE static void store(const Item& loaded, size_t item, const Place& place) {
    const uint32_t word[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
      for (int rows = 0; rows < 2; ++rows) {
        uint32_t halves[2];
        rf8_halves_of(word[2 * pair + rows], halves);
#pragma unroll
        for (int i = 0; i < 2; ++i)
          store_4(place(item % 4 * 4 + 2 * rows + i, item / 4 * 4 + 2 * pair), halves[i]);
      }
    }
  }
};

}  // namespace regc::cuda

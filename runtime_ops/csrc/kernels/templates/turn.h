// Sixteen vectors turned through memory, for instruction sets that have no better way.
#pragma once

namespace regc::kernels::REGC_ISA {

// Element j of vector i becomes element i of vector j.
REGC_INLINE void turn_16(F16 (&v)[16]) {
  float rows[16][16], columns[16][16];
  for (size_t i = 0; i < 16; ++i) store_f(rows[i], v[i]);
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 16; ++j) columns[j][i] = rows[i][j];
  }
  for (size_t i = 0; i < 16; ++i) v[i] = load_f(columns[i]);
}

}  // namespace regc::kernels::REGC_ISA

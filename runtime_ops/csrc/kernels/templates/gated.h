// Weights stored input by input, of which a row of x uses only the inputs that pass its gate. Every output is
// one chain of fused multiply-adds over them in ascending order. A dense product of x with zeros in place of
// the others adds zeros to the same chain, so that streams and panels agree.
#pragma once

namespace regc::kernels::REGC_ISA {

inline void gate(const GateTask& task) {
  const GatedMatrix& w = *task.weight;
  for (size_t row = 0; row < task.rows; ++row) {
    const size_t first = row * w.inputs;
    const float* x = task.x + first;
    for (size_t k = 0; task.gated != nullptr && k < w.inputs; ++k)
      task.gated[first + k] = std::fabs(x[k]) * w.norms[k] < w.threshold ? 0.0F : x[k];
    size_t count = 0;
    for (size_t k = 0; task.kept != nullptr && k < w.inputs; ++k) {
      task.kept[first + count] = x[k];
      task.place[first + count] = static_cast<uint32_t>(k);
      count += std::fabs(x[k]) * w.norms[k] < w.threshold ? 0 : 1;  // no branch: it could not be foretold
    }
    if (task.kept != nullptr) task.count[row] = count;
  }
}

// Adds the inputs whose weights start at `weights` to the sums of some tiles. `next` are the inputs after them:
// where they lie, the hardware cannot foresee.
template <class Rows, size_t kInputs>
REGC_INLINE void add_inputs(const uint8_t* const (&weights)[kInputs], const uint8_t* const (&next)[kInputs],
                            const float* x, size_t tiles, float* sums) {
  constexpr size_t kTiles = 4;
  F16 activation[kInputs];
#pragma GCC unroll 8
  for (size_t i = 0; i < kInputs; ++i) activation[i] = fill_f(x[i]);
  size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    const size_t byte = tile * Rows::kBytes;
    F16 sum[kTiles];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTiles; ++t) sum[t] = load_f(sums + (tile + t) * kTile);
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i) {
      F16 weight[kTiles];
      for (size_t ahead = 0; ahead < 4 * Rows::kBytes; ahead += 64) __builtin_prefetch(next[i] + byte + ahead);
      Rows::load(weights[i] + byte, weight);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTiles; ++t) sum[t] = fma_f(weight[t], activation[i], sum[t]);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < kTiles; ++t) store_f(sums + (tile + t) * kTile, sum[t]);
  }
  for (; tile < tiles; ++tile) {
    F16 sum = load_f(sums + tile * kTile);
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i)
      sum = fma_f(Rows::load_one(weights[i] + tile * Rows::kBytes), activation[i], sum);
    store_f(sums + tile * kTile, sum);
  }
}

// Adds the kept inputs of a row from i on, in eights, as long as they lie before input `end`. Returns the first
// that is left.
template <class Rows>
REGC_INLINE size_t add_slice(const uint8_t* values, size_t stride, const uint32_t* place, const float* x, size_t i,
                             size_t count, size_t end, size_t tiles, float* sums) {
  constexpr size_t kInputs = 8;
  for (; i + kInputs <= count && place[i + kInputs - 1] < end; i += kInputs) {
    const uint8_t* weights[kInputs];
    const uint8_t* next[kInputs];
    for (size_t j = 0; j < kInputs; ++j) {
      weights[j] = values + place[i + j] * stride;
      next[j] = values + place[min_of(i + kInputs + j, count - 1)] * stride;
    }
    add_inputs<Rows, kInputs>(weights, next, x + i, tiles, sums);
  }
  return i;
}

template <class Rows>
inline void stream_gated(const GatedTask& task) {
  constexpr size_t kSlice = 64;  // inputs whose weights stay in L2 while all rows use them
  alignas(64) float sums[kGatedRows][kGatedTiles * kTile];
  size_t done[kGatedRows] = {};
  const GatedMatrix& w = *task.weight;
  const size_t tiles = task.tile_end - task.tile_begin;
  const size_t stride = ceil_div(w.outputs, kTile) * Rows::kBytes;
  const uint8_t* values = w.values + task.tile_begin * Rows::kBytes;
  for (size_t row = 0; row < task.rows; ++row) std::memset(sums[row], 0, tiles * kTile * sizeof(float));
  const size_t slice = task.rows == 1 ? w.inputs : kSlice;
  for (size_t begin = 0; begin < w.inputs; begin += slice) {
    for (size_t row = 0; row < task.rows; ++row) {
      done[row] = add_slice<Rows>(values, stride, task.place + row * w.inputs, task.x + row * w.inputs, done[row],
                                  task.count[row], begin + slice, tiles, sums[row]);
    }
  }
  for (size_t row = 0; row < task.rows; ++row) {
    for (size_t i = done[row]; i < task.count[row]; ++i) {
      const uint8_t* const weights[1] = {values + task.place[row * w.inputs + i] * stride};
      add_inputs<Rows, 1>(weights, weights, task.x + row * w.inputs + i, tiles, sums[row]);
    }
    for (size_t t = 0; t < tiles; ++t)
      finish(task, row, load_columns(w, task.tile_begin + t), load_f(sums[row] + t * kTile));
  }
}

}  // namespace regc::kernels::REGC_ISA

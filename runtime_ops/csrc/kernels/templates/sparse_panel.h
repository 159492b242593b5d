// Block-sparse weights and more than a few rows, whose activations lie in panels of kPackedRows, input by input.
#pragma once

namespace regc::kernels::REGC_ISA {

constexpr size_t kPanelBytes = kPackedRows * kUnit;  // of sixteen vectors
constexpr size_t kSparseTiles = 16;                  // that meet a part of x while it is in L2

inline void pack_rows(const PackTask& task) {
  for (size_t first = 0; first < task.rows; first += kPackedRows) {
    const size_t height = min_of(kPackedRows, task.rows - first);
    float* panel = task.packed + first * task.padded;
    for (size_t k = 0; k < task.inputs; k += kTile) {
      const size_t some = min_of(kTile, task.inputs - k);
      F16 v[kPackedRows];
      for (size_t row = 0; row < kPackedRows; ++row)
        v[row] = row < height ? load_some(task.x + (first + row) * task.inputs + k, some) : zero_f();
      turn_16(v);
      for (size_t i = 0; i < some; ++i) store_f(panel + (k + i) * kPackedRows, v[i]);
    }
    float* padding = panel + task.inputs * kPackedRows;
    std::memset(padding, 0, (task.padded - task.inputs) * kPackedRows * sizeof(float));
  }
}

// Sixteen sums of sixteen rows, from a vector an output to a vector a row.
REGC_INLINE void turn_sums(uint8_t* sums) {
  F16 v[kPackedRows];
#pragma GCC unroll 16
  for (size_t i = 0; i < kPackedRows; ++i) v[i] = FloatSteps::load(sums + i * kUnit);
  turn_16(v);
#pragma GCC unroll 16
  for (size_t i = 0; i < kPackedRows; ++i) FloatSteps::store(sums + i * kUnit, v[i]);
}

// Some steps of what a tile keeps, in whole blocks, and their weights, decoded. In between, the bytes from `ahead` on
// are asked for, `ahead_step` at every step: so that all passes over a slice share in reading the next.
struct Slice {
  const Kept* kept;
  size_t begin;
  size_t end;
  const uint8_t* weights;
  const uint8_t* ahead;
  size_t ahead_step;

  // Calls function(weights of a step from some output on, activations of the first panel that they meet).
  template <class Function>
  REGC_INLINE void each(Slice& slice, size_t output, const uint8_t* x, const Function& function) {
    const Kept& kept = *slice.kept;
    const size_t block = size_t{1} << kept.log2;
    const uint8_t* weights = slice.weights + 4 * output;
    const uint8_t* ahead = slice.ahead;
    for (size_t i = slice.begin; i < slice.end; i += block) {
      const uint8_t* at = x + Kept::place(kept, i) * kUnit;
      for (size_t k = 0; k < block; ++k, weights += kUnit, at += kUnit, ahead += slice.ahead_step) {
        __builtin_prefetch(ahead, 0, 2);
        function(weights, at);
      }
    }
    slice.ahead = ahead;
  }
};

// The register tile where lanes are outputs: R rows of a panel, whose activations are broadcast.
template <class Steps, size_t R>
REGC_INLINE void output_lanes(Slice& slice, const uint8_t* panel, uint8_t* sums) {
  typename Steps::Sum sum[R];
  const auto none = Steps::zero();
#pragma GCC unroll 16
  for (size_t r = 0; r < R; ++r) sum[r] = Steps::open(sums + r * kUnit, none);
  Slice::each(slice, 0, panel, [&](const uint8_t* weights, const uint8_t* x) {
    const auto weight = Steps::load(weights);
#pragma GCC unroll 16
    for (size_t r = 0; r < R; ++r) sum[r] = Steps::step(sum[r], weight, Steps::fill(x + 4 * r));
  });
#pragma GCC unroll 16
  for (size_t r = 0; r < R; ++r) Steps::close(sums + r * kUnit, sum[r]);
}

// The register tile where lanes are rows: P panels of them by O outputs of a tile, whose weights are broadcast. With
// P = 3 and O = 8, 24 multiply-adds take 11 loads; where lanes are outputs, 16 take 17, and loads are the limit.
template <class Steps, size_t P, size_t O>
REGC_INLINE void row_lanes(Slice& slice, const uint8_t* panels, size_t stride, size_t output, uint8_t* sums) {
  typename Steps::Sum sum[P][O];
  const auto none = Steps::zero();
  sums += output * kUnit;
#pragma GCC unroll 4
  for (size_t p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (size_t o = 0; o < O; ++o) sum[p][o] = Steps::open(sums + p * kPanelBytes + o * kUnit, none);
  }
  Slice::each(slice, output, panels, [&](const uint8_t* weights, const uint8_t* x) {
    typename Steps::Weight activation[P];
#pragma GCC unroll 4
    for (size_t p = 0; p < P; ++p) activation[p] = Steps::load(x + p * stride);
#pragma GCC unroll 16
    for (size_t o = 0; o < O; ++o) {
      const auto weight = Steps::fill(weights + 4 * o);
#pragma GCC unroll 4
      for (size_t p = 0; p < P; ++p) sum[p][o] = Steps::step(sum[p][o], activation[p], weight);
    }
  });
#pragma GCC unroll 4
  for (size_t p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (size_t o = 0; o < O; ++o) Steps::close(sums + p * kPanelBytes + o * kUnit, sum[p][o]);
  }
}

// P panels in as few passes over a slice as its sums fit registers.
template <class Steps, size_t P>
inline void whole_panels(Slice& slice, const uint8_t* panels, size_t stride, uint8_t* sums) {
  constexpr size_t kOutputs = P == 1 ? kTile : kTile / 2;
  for (size_t output = 0; output < kTile; output += kOutputs)
    row_lanes<Steps, P, kOutputs>(slice, panels, stride, output, sums);
}

// Up to kSparseRows of a panel, in whole fours; rows of padding are multiplied too.
template <class Steps>
inline void some_rows(Slice& slice, const uint8_t* panel, size_t rows, uint8_t* sums) {
  switch (ceil_div(rows, 4)) {
#define REGC_FOURS(F)                                                                          \
  case F:                                                                                      \
    if constexpr (4 * F <= kSparseRows) output_lanes<Steps, 4 * F>(slice, panel, sums);        \
    break;
    REGC_FOURS(1)
    REGC_FOURS(2)
    REGC_FOURS(3)
#undef REGC_FOURS
    default:
      break;
  }
}

// How many panels of some rows are multiplied with rows as lanes: those that are full, or nearly.
REGC_INLINE size_t panels_of_lanes(size_t rows) {
  static_assert(kSparseRows % 4 == 0 && kSparseRows < kPackedRows, "what some_rows() knows");
  return kLanePanels == 0 ? 0 : (rows + kPackedRows - kSparseRows - 1) / kPackedRows;
}

// All rows against a slice, of which every pass asks for a part of the `next` bytes after those in `ahead`.
template <class Steps>
inline void multiply_kept(Slice& slice, size_t next, const uint8_t* x, size_t stride, size_t rows, uint8_t* sums) {
  const size_t panels = panels_of_lanes(rows);
  const size_t lanes = panels * kPackedRows;
  const size_t groups = panels == 0 ? 0 : ceil_div(panels, kLanePanels);
  const size_t passes = 2 * groups + (lanes < rows ? ceil_div(rows - lanes, kSparseRows) : 0);
  slice.ahead_step = ceil_div(next, passes * (slice.end - slice.begin));
  for (size_t group = 0; group < groups; ++group) {
    const size_t first = panels * group / groups;
    const uint8_t* at = x + first * stride;
    uint8_t* group_sums = sums + first * kPanelBytes;
    switch (panels * (group + 1) / groups - first) {
#define REGC_PANELS(P)                                                                                \
  case P:                                                                                             \
    if constexpr (P <= kLanePanels) whole_panels<Steps, P>(slice, at, stride, group_sums); \
    break;
      REGC_PANELS(1)
      REGC_PANELS(2)
      REGC_PANELS(3)
#undef REGC_PANELS
      default:
        break;
    }
  }
  for (size_t row = lanes; row < rows; row += kSparseRows) {
    const uint8_t* at = x + row / kPackedRows * stride + row % kPackedRows * 4;
    some_rows<Steps>(slice, at, min_of(rows - row, kSparseRows), sums + row * kUnit);
  }
}

// Steps of a tile that lie before a place in x, rounded up to whole slices.
template <size_t kSlice>
REGC_INLINE size_t steps_before(const Kept& kept, size_t place) {
  size_t low = 0;
  for (size_t high = kept.count >> kept.log2; low < high;) {
    const size_t middle = (low + high) / 2;
    if (Kept::place(kept, middle << kept.log2) < place) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return min_of(ceil_div(low << kept.log2, kSlice) * kSlice, kept.count);
}

// Steps of x of which all panels together stay in L2 while every tile of a task meets them: nearly equal parts of
// `steps` in whole blocks of weights. Without parts, 128 rows of 4096x4096 had to read the weights four times.
REGC_INLINE size_t steps_at_once(size_t steps, size_t panels) {
  constexpr size_t kCacheBytes = 512 * 1024;
  constexpr size_t kWhole = 32;
  const size_t most = kCacheBytes / (panels * kUnit);
  return ceil_div(ceil_div(steps, ceil_div(steps, most)), kWhole) * kWhole;
}

// Adds what a tile keeps between two places in x to its sums.
template <class Rows>
inline void add_kept(const SparseTask& task, size_t tile, size_t from, size_t to, uint8_t* sums) {
  using Steps = typename Rows::Steps;
  constexpr size_t kSlice = min_of(128, Steps::kMostSteps);  // with their activations of three panels: 32 KB of L1
  alignas(64) uint8_t buffer[kSlice * kUnit];
  const Kept kept = kept_of<Rows>(*task.weight, tile);
  const size_t last = steps_before<kSlice>(kept, to);
  for (size_t begin = steps_before<kSlice>(kept, from); begin < last; begin += kSlice) {
    const size_t end = min_of(begin + kSlice, last);
    const uint8_t* values = kept.values + begin * Rows::kBytes;
    Slice slice{&kept, begin, end, Rows::slice(values, end - begin, buffer), kept.values + end * Rows::kBytes, 0};
    multiply_kept<Steps>(slice, kSlice * Rows::kBytes, reinterpret_cast<const uint8_t*>(task.x),
                         task.x_stride * kPanelBytes / kPackedRows, task.rows, sums);
  }
}

// Some tiles of a task, whose sums stay in L2.
template <class Rows>
inline void panel_tiles(const SparseTask& task, size_t first_tile, size_t tiles,
                        uint8_t (*sums)[kSparseRowBlock * kUnit]) {
  Columns columns[kSparseTiles];
  const size_t panels = ceil_div(task.rows, kPackedRows);
  for (size_t t = 0; t < tiles; ++t) std::memset(sums[t], 0, panels * kPanelBytes);
  const size_t part = steps_at_once(task.x_stride, panels);
  for (size_t from = 0; from < task.x_stride; from += part)
    for (size_t t = 0; t < tiles; ++t) add_kept<Rows>(task, first_tile + t, from, from + part, sums[t]);
  for (size_t t = 0; t < tiles; ++t) {
    columns[t] = load_columns(*task.weight, first_tile + t);
    for (size_t p = 0; p < panels_of_lanes(task.rows); ++p) turn_sums(sums[t] + p * kPanelBytes);
  }
  for (size_t row = 0; row < task.rows; ++row) {
    for (size_t t = 0; t < tiles; ++t)
      finish(task, row, columns[t], Rows::Steps::value(sums[t] + row * kUnit, task.row_scale, row));
  }
}

template <class Rows>
inline void panel_blocks(const SparseTask& task) {
  alignas(64) uint8_t sums[kSparseTiles][kSparseRowBlock * kUnit];
  if (task.rows == 0) return;
  for (size_t tile = task.tile_begin; tile < task.tile_end; tile += kSparseTiles)
    panel_tiles<Rows>(task, tile, min_of(task.tile_end - tile, kSparseTiles), sums);
}

}  // namespace regc::kernels::REGC_ISA

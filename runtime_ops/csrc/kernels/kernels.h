// The kernels' tasks and their dispatch. Nothing here or below knows ONNX Runtime; all memory is the
// caller's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace regc::kernels {

#if defined(__BYTE_ORDER__)
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed weights are little-endian words");
#endif

constexpr size_t kTile = 16;          // outputs of a tile, in every format
constexpr size_t kTernaryBlock = 16;  // inputs that 64 bytes of codes hold
constexpr size_t kTernary5Block = 20;
constexpr size_t kTernarySteps = 4;   // of four int8 inputs each, in a block
constexpr size_t kRF8Block = 4;
constexpr size_t kMaxMultiplier = 64;               // u8 * s8 pair sums still fit int16
constexpr size_t kMaxInt8Inputs = size_t{1} << 17;  // 127 * 64 * inputs still fits int32
constexpr size_t kUnit = 64;                        // bytes of codes that hold 16 outputs of one block
constexpr size_t kPackedRows = 16;                  // rows of x that block-sparse panels interleave
constexpr size_t kGatedRows = 4;                    // most rows of a gated stream
constexpr size_t kGatedTiles = 128;                 // tiles of a gated stream, whose sums stay in L1
constexpr size_t kGatedRowBlock = 128;              // rows that one gathering of gated weights serves
constexpr size_t kGatedPanelTiles = 128;            // of a task of gated panels: two pages of float32 weights an input
constexpr size_t kGatedSums = 4096;                 // tiles of gated panels times rows: their sums stay in L2
constexpr size_t kSparseRowBlock = 128;             // rows that one reading of block-sparse values serves
constexpr size_t kConvPositions = 384;              // positions of a convolution whose sums stay in L1
constexpr size_t kCellBytes = 4;                    // of a cell of an image: four int8 channels
constexpr size_t kJudged = 16;                      // values that rf8_judge takes at a time
constexpr size_t kResiduals = 7;                    // of an octave of RF8

// Functions in this header are static: compiled for several instruction sets, they must not be merged by the
// linker.
static constexpr size_t ceil_div(size_t a, size_t b) { return a / b + (a % b != 0 ? 1 : 0); }
static constexpr size_t min_of(size_t a, size_t b) { return a < b ? a : b; }

// What follows sum * scale + bias; templates/endings.h says what each computes.
enum class Ending : uint8_t { none, relu, gelu, gelu_tanh, silu, add };

// Where the results of a task go, and what becomes of them on the way.
struct Out {
  float* y;            // [rows][outputs]
  const float* other;  // [rows][outputs], which Ending::add adds; else null
  Ending ending;
};

// What every weight [outputs, inputs] has: y = ending(sum * scale + bias).
struct Affine {
  const float* scale;  // [outputs]
  const float* bias;   // [outputs] with bias_step 1, one value with bias_step 0
  size_t bias_step;
  size_t outputs;
  size_t inputs;
};

// A packed weight; see runtime_ops/formats for the layouts.
struct Matrix : Affine {
  const uint8_t* codes;       // [tiles][blocks][64]
  const uint8_t* multiplier;  // [tiles][groups][16]; null for RF8
  size_t blocks;
  size_t groups;
  size_t group_blocks;  // blocks of a group; the last group may be shorter
  bool multiplied;      // whether any multiplier differs from 1
};

// Rows of float32 to int8: q = rint(x * (127 / amax)) with amax = max(max |x|, 1e-30f), and all zeros with an
// infinite scale for a row with NaN or infinity. Padding is written as zero. Each byte is stored exclusive-or
// `flip`: 0 for int8, 0x80 for the unsigned q + 128.
struct QuantizeTask {
  const float* x;  // [rows][inputs]
  size_t rows;
  size_t inputs;
  size_t padded;  // bytes of a row of q
  uint8_t flip;
  uint8_t* q;        // [rows][padded]
  float* row_scale;  // [rows]: amax / 127
  int32_t* sums;     // [rows][groups]: sum of q over each group; null when not wanted
  size_t group;
  size_t groups;
};

// Rows of float32 to float16: rounded = x / row_scale, to the nearest, with the power of two that brings the
// largest finite magnitude of a row to 128 .. 256. Padding is zero. The kernel is null on instruction sets whose panel
// kernels of RF8 take rows of float32.
struct RoundTask {
  const float* x;  // [rows][inputs]
  size_t rows;
  size_t inputs;
  size_t padded;      // inputs of a row of rounded
  uint16_t* rounded;  // [rows][padded]
  float* row_scale;   // [rows]
};

// y[rows, 16 * tile_begin .. 16 * tile_end) = ending(x * transpose(W) * scale + bias).
struct MatMulTask {
  const Matrix* weight;
  const uint8_t* x;  // rows of float32, of rounded halves, or of quantized bytes (stream: flip 0, panel:
                     // flip 0x80), in whole blocks, padded with zeros
  size_t x_stride;   // bytes
  const float* row_scale;  // [rows], for rounded and quantized rows
  const int32_t* sums;     // [rows][groups], for ternary_stream and ternary5_stream
  Out out;
  size_t rows;
  size_t tile_begin;
  size_t tile_end;
};

// The kept blocks of a weight: 16 outputs by 2**block_log2 inputs.
struct SparseMatrix : Affine {
  const uint8_t* values;  // [blocks][2**block_log2][16] float32 or RF8 codes
  const int32_t* index;   // [blocks]: ascending within a tile
  const int32_t* start;   // [tiles + 1]: the first block of each tile
  size_t block_log2;
};

// Rows of x turned into panels of kPackedRows, input by input. Padding is zero.
struct PackTask {
  const float* x;  // [rows][inputs]
  size_t rows;
  size_t inputs;
  size_t padded;  // inputs of a panel
  float* packed;  // [ceil(rows / kPackedRows)][padded][kPackedRows]
};

// y[rows, 16 * tile_begin .. 16 * tile_end) of a block-sparse weight.
struct SparseTask {
  const SparseMatrix* weight;
  const float* x;          // stream: [rows][x_stride]; panel: packed rows
  size_t x_stride;         // inputs in whole blocks, padded with zeros
  const float* row_scale;  // panel: [rows] if packed are rounded rows of halves, two of them as one float; x_stride
                           // counts those; else null
  Out out;
  size_t rows;      // panel: at most kSparseRowBlock
  size_t tile_begin;
  size_t tile_end;
};

// A weight stored input by input, of which a row uses the inputs that pass its gate.
struct GatedMatrix : Affine {
  const uint8_t* values;  // [inputs][tiles][16] float32 or RF8 codes
  const float* norms;     // [inputs]
  float threshold;        // of gate
  size_t active;          // of gate_top: how many inputs of a row pass
};

// Which inputs of each row pass. gate: not |x| * norm < threshold. gate_top: the `active` of them of the largest
// |x * norm|, of equal ones the first; NaN counts as infinity.
struct GateTask {
  const GatedMatrix* weight;
  const float* x;  // [rows][inputs]
  size_t rows;
  float* gated;     // [rows][inputs]: x, zero where it does not pass; null when only kept is wanted
  float* kept;      // [rows][inputs]: the x that pass, side by side; null when not wanted
  uint32_t* place;  // [rows][inputs]: which inputs those are
  size_t* count;    // [rows]: how many they are
};

// y[rows, 16 * tile_begin .. 16 * tile_end) of a gated weight.
struct GatedTask {
  const GatedMatrix* weight;
  const float* x;           // stream: [rows][inputs] kept; panel: [rows][x_stride] gated, or null
  const uint32_t* place;    // of stream, with count
  const size_t* count;
  const uint16_t* rounded;  // panel with x null: [rows][x_stride] gated, as round_rows leaves them
  size_t x_stride;          // of panel
  const float* row_scale;   // [rows], of rounded
  Out out;
  size_t rows;        // stream: at most kGatedRows
  size_t tile_begin;  // stream: at most kGatedTiles tiles
  size_t tile_end;
};

// Images as a convolution reads them: in cells of four bytes, which hold the next four channels of one place, flip
// 0x80. Rows and columns that a stride never visits together are kept apart, in phases: so every tap of the kernel
// finds the cells of neighbouring outputs side by side. Output (i, j) of tap (a, b) reads cell
// [..][a * dilation % stride][b * dilation % stride][i + a * dilation / stride][j + b * dilation / stride].
struct Geometry {
  size_t height, width;                // of x
  size_t stride_high, stride_wide;     // of the convolution
  size_t pad_top, pad_left;            // zeros before the first row and column of x
  size_t phases_high, phases_wide;     // at most the strides: phases that no tap reads are left out
  size_t plane_height, plane_width;    // of a phase
  size_t output_height, output_width;  // at most those of a phase: between outputs lie places that are none
};

// The largest magnitude; infinite with a NaN among the values.
struct PeakTask {
  const float* x;
  size_t count;
  float* peak;
};

// One image to cells: q = rint(x * inverse), all zeros with an inverse of 0.
struct LayTask {
  const Geometry* geometry;
  const float* x;  // [channels][height][width]
  float inverse;
  size_t cell_begin;  // which fours of channels
  size_t cell_end;
  uint32_t* cells;        // [channels / 4][phases_high][phases_wide][cell_stride], of this image
  size_t cell_stride;     // cells from one phase to the next
};

// y[images][16 * tile_begin .. 16 * tile_end) at positions [position_begin, position_end) of one or more images. A
// position counts places of a phase, row by row and image after image.
struct ConvTask {
  const Matrix* weight;
  const Geometry* geometry;
  const uint32_t* cells;     // of the first image
  const size_t* offsets;     // [blocks * steps]: from a position to the cell that a step multiplies
  const float* image_scale;  // [images]
  Out out;                   // [images][outputs][output_height][output_width]
  size_t position_begin;
  size_t position_end;  // at most position_begin + kConvPositions
  size_t tile_begin;
  size_t tile_end;
};

// By how much values miss the nearest members of RF8 once they are multiplied by each of some factors: the sums of
// squares.
struct JudgeTask {
  const float* x;  // [count]: magnitudes, of which no product reaches 2
  size_t count;    // a multiple of kJudged
  const float* factors;  // [steps]
  size_t steps;
  double* errors;  // [steps]
};

// The RF8 codes of x / scale. A magnitude of 2 or more gets that of the largest member.
struct CodesTask {
  const float* x;  // [count], without NaN
  size_t count;
  float scale;
  const int32_t* thresholds;  // [kResiduals]: the least 23-bit significand of codes 1..6, and of the next octave
  uint8_t* codes;             // [count]
};

struct Kernels {
#define REGC_KERNEL(name, task) void (*name)(const task&);
#include "kernels/kernels.inc"
#undef REGC_KERNEL
  // The most rows for which streaming beats decoding a panel, of each pair of kernels.
  size_t ternary_stream_rows;
  size_t ternary5_stream_rows;
  size_t float_stream_rows;
  size_t rf8_stream_rows;
};

// The kernels for an instruction set, which the CPU must have.
const Kernels& kernels_for(Isa isa) noexcept;

}  // namespace regc::kernels

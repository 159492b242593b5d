// Products with packed weights on a GPU: what the launchers take. Nothing here or below knows ONNX Runtime; all
// pointers but those of structs are to memory of the device.
#pragma once

#include "kernels/kernels.h"

namespace regc::cuda {

using kernels::Affine;
using kernels::ceil_div;
using kernels::Ending;
using kernels::kTile;
using kernels::kUnit;

enum class Type : uint8_t { float32, float16, bfloat16 };

enum class Format : uint8_t {
  ternary,         // int8 activations
  ternary5,
  ternary_float,   // float32 activations
  ternary5_float,
  rf8,
  sparse,          // blocks of float32
  sparse_rf8,
  gated,           // float32
  gated_rf8,
  gated_topk,
  gated_topk_rf8,
};

// Which inputs of a row pass that uses a number of them: those of a larger score |x * norm| than `least`, and of those
// that equal it the ones up to input `last`.
struct Cut {
  float least;
  uint32_t last;
};

// A weight of any format; see runtime_ops/formats for the layouts, and kernels.h for the fields that keep its names.
struct Weight : Affine {
  Format format;
  const uint8_t* codes;       // or values; starts at a multiple of 16 bytes
  const uint8_t* multiplier;  // ternary; starts at a multiple of 4 bytes
  bool multiplied;
  size_t blocks;
  size_t groups;
  size_t group_blocks;
  const int32_t* index;  // sparse
  const int32_t* start;
  size_t block_log2;
  const float* norms;  // gated
  const float* threshold;
  size_t active;    // gated_topk: how many inputs of a row pass
  const Cut* cuts;  // gated_topk, of each row: what the launchers find and give to the kernels
};

// Activations [rows][inputs].
struct Input {
  const void* x;
  Type type;
};

// Results [rows][outputs], and what becomes of them on the way.
struct Out {
  void* y;
  const void* other;  // of the same shape and type as y, which Ending::add adds; else null
  Type type;
  Ending ending;
};

// A packed matrix of which rows are looked up.
struct Table {
  enum class Layout : uint8_t { rf8, rf8_tiled, ternary, ternary_tiled };
  Layout layout;
  size_t rows;
  size_t columns;
  const uint8_t* codes;
  const uint8_t* multiplier;  // ternary
  size_t group;
  size_t groups;
  const float* scale;
};

// Row numbers, int32 or int64.
struct Indices {
  const void* index;
  bool wide;  // int64
  size_t count;
};

// Dimensions of a sum of two tensors and how far its next element lies in each; 0 where that is repeated.
constexpr size_t kMaxRank = 8;
struct Broadcast {
  size_t rank;
  size_t count;  // elements of the sum
  int64_t size[kMaxRank];
  int64_t a_stride[kMaxRank];
  int64_t b_stride[kMaxRank];
};

// A stream of the device; null is its default stream.
using Stream = void*;

// What the launchers return: 0, an error of the CUDA runtime, or that a grid of threads cannot be so large: it has room
// for 8 million rows of a product and 2^31 of a lookup. They wait for nothing.
using Error = int;
constexpr Error kTooLarge = -1;

// Bytes of device memory that multiply() needs for so many rows, from a multiple of 256 bytes on.
size_t scratch_bytes(const Weight& weight, size_t rows);

// out[rows, outputs] = ending(x[rows, inputs] * transpose(W) * scale + bias) for rows >= 1. The result of a row does
// not depend on the others, but for the formats of float activations on which kernel their number calls for.
Error multiply(const Weight& weight, const Input& x, size_t rows, const Out& out, void* scratch, Stream stream);

// y[count, columns] = the rows of a table. A row that the table lacks is NaN: the device cannot raise an error.
Error gather(const Table& table, const Indices& indices, void* y, Type type, Stream stream);

// sum = a + b, repeated as by ONNX's Add; b and sum are of a type.
Error add(const float* a, const void* b, void* sum, Type type, const Broadcast& shape, Stream stream);

}  // namespace regc::cuda

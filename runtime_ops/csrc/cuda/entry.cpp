// The launchers with C linkage, for programs without ONNX Runtime: benchmarks/gpu_check.py. Not part of the library.
#include "cuda/products.h"

#define REGC_ENTRY extern "C" __attribute__((visibility("default")))

namespace cuda = regc::cuda;

// So that a caller can tell whether its own declaration is the same.
REGC_ENTRY size_t regc_cuda_weight_size() { return sizeof(cuda::Weight); }
REGC_ENTRY size_t regc_cuda_table_size() { return sizeof(cuda::Table); }

REGC_ENTRY size_t regc_cuda_scratch_bytes(const cuda::Weight* weight, size_t rows) {
  return cuda::scratch_bytes(*weight, rows);
}

REGC_ENTRY int regc_cuda_multiply(const cuda::Weight* weight, const void* x, size_t rows, void* y, const void* other,
                                  int type, int ending, void* scratch, void* stream) {
  const auto element = static_cast<cuda::Type>(type);
  const cuda::Out out{y, other, element, static_cast<cuda::Ending>(ending)};
  return cuda::multiply(*weight, {x, element}, rows, out, scratch, stream);
}

REGC_ENTRY int regc_cuda_gather(const cuda::Table* table, const void* index, int wide, size_t count, void* y, int type,
                                void* stream) {
  return cuda::gather(*table, {index, wide != 0, count}, y, static_cast<cuda::Type>(type), stream);
}

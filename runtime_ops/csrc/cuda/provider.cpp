// What touches the device itself. Its twin without one is in tests/native/cuda.
#include <cuda_runtime_api.h>

#include "cuda/runtime.h"

namespace regc::cuda {

void place_on_cuda(abi::CustomOp& op) {
  op.GetExecutionProviderType = [](const abi::CustomOp*) { return "CUDAExecutionProvider"; };
}

void check_cuda(Error error, const std::string& node) {
  if (error == 0) return;
  throw std::runtime_error(node + "CUDA: " + cudaGetErrorString(static_cast<cudaError_t>(error)));
}

Error copy_to_host(void* to, const void* from, size_t bytes) {
  return static_cast<Error>(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

}  // namespace regc::cuda

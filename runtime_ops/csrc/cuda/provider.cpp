// What touches the device itself. Its twin without one is in tests/native/cuda.
#include <cuda_runtime_api.h>

#include "cuda/runtime.h"

namespace regc::cuda {

void place_on_cuda(abi::CustomOp& op) {
  op.GetExecutionProviderType = [](const abi::CustomOp*) { return "CUDAExecutionProvider"; };
}

void check_cuda(Error error, const std::string& node) {
  if (error == 0) return;
  if (error == kTooLarge) throw std::runtime_error(node + "has more rows than a GPU takes at once: run smaller batches");
  throw std::runtime_error(node + "CUDA: " + cudaGetErrorString(static_cast<cudaError_t>(error)));
}

Error copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  const auto in = static_cast<cudaStream_t>(stream);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, in);
  return static_cast<Error>(error != cudaSuccess ? error : cudaStreamSynchronize(in));
}

int use_device(int ordinal) {
  int before = ordinal;
  cudaGetDevice(&before);
  if (before != ordinal) cudaSetDevice(ordinal);  // when it fails, so does the launch that follows, and says so
  return before;
}

}  // namespace regc::cuda

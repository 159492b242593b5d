// What the operators need of ONNX Runtime's CUDA provider and of the CUDA runtime.
#pragma once

#include <string>
#include <vector>

#include "abi/ort_abi.h"
#include "cuda/products.h"
#include "ops/error.h"
#include "ops/tensor.h"

namespace regc::cuda {

// Puts an operator on the CUDA provider.
void place_on_cuda(abi::CustomOp& op);

// Throws with the text of an error of the CUDA runtime; `node` comes first.
void check_cuda(Error error, const std::string& node);

// Copies memory of the device, or of the host, after all that the device has to do before.
Error copy_to_host(void* to, const void* from, size_t bytes);

// Copies of tensors of the device, for checks of what is in them. Waits for the device: for when a kernel is created.
class HostCopies {
 public:
  ops::Tensor of(const ops::Tensor& tensor, const std::string& node);

 private:
  std::vector<std::vector<uint64_t>> memory_;
};

// The stream that a node's work goes to.
Stream stream_of(const abi::Api& api, const OrtKernelContext* context);

// Memory of the device for one call, from the allocator of input 0. It is given back to the provider's arena while
// kernels still use it: what gets it next is in the same stream, and so runs after them.
class DeviceMemory {
 public:
  DeviceMemory(const abi::Api& api, const OrtKernelContext* context, size_t size);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const { return data_; }

 private:
  const abi::Api& api_;
  OrtAllocator* allocator_ = nullptr;
  void* data_ = nullptr;  // null when nothing was asked for
};

}  // namespace regc::cuda

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

// Copies memory of the device, or of the host, after all that the stream has to do before.
Error copy_to_host(void* to, const void* from, size_t bytes, Stream stream);

// Makes a device the one that the thread launches on, and returns which that was before.
int use_device(int ordinal);

// Copies of tensors of the device, for checks of what is in them. Waits for the stream: for when a kernel is created.
class HostCopies {
 public:
  explicit HostCopies(Stream stream) : stream_(stream) {}
  ops::Tensor of(const ops::Tensor& tensor, const std::string& node);

 private:
  Stream stream_;
  std::vector<std::vector<uint64_t>> memory_;
};

// The stream that a node's work goes to.
Stream stream_of(const abi::Api& api, const OrtKernelContext* context);

// While it lives, the thread launches on the device that has input 0: ONNX Runtime has seen to that, but by a CUDA
// runtime of its own.
class OnDevice {
 public:
  OnDevice(const abi::Api& api, const OrtKernelContext* context);
  ~OnDevice() { use_device(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
};

// Memory of the device for one call, from the allocator of input 0. It is given back to the provider's arena while
// kernels still use it, which therefore has to know their stream: runs of one session in several threads have several.
// ONNX Runtime 1.17 cannot be told; there, they must not run at the same time.
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

#include "cuda/runtime.h"

namespace regc::cuda {

namespace {

size_t element_bytes(int type) {
  switch (type) {
    case abi::kUInt8:
      return 1;
    case abi::kInt64:
      return 8;
    default:
      return 4;  // float32 and int32
  }
}

}  // namespace

ops::Tensor HostCopies::of(const ops::Tensor& tensor, const std::string& node) {
  size_t bytes = element_bytes(tensor.type);
  for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
  std::vector<uint64_t>& copy = memory_.emplace_back(bytes / sizeof(uint64_t) + 1);
  check_cuda(copy_to_host(copy.data(), tensor.data, bytes), node);
  return {tensor.type, tensor.shape, copy.data()};
}

Stream stream_of(const abi::Api& api, const OrtKernelContext* context) {
  void* stream = nullptr;
  ops::check(api.KernelContext_GetGPUComputeStream(context, &stream));
  return stream;
}

DeviceMemory::DeviceMemory(const abi::Api& api, const OrtKernelContext* context, size_t size) : api_(api) {
  if (size == 0) return;
  const OrtValue* input = nullptr;
  const OrtMemoryInfo* memory = nullptr;
  ops::check(api.KernelContext_GetInput(context, 0, &input));
  ops::check(api.GetTensorMemoryInfo(input, &memory));
  ops::check(api.KernelContext_GetAllocator(context, memory, &allocator_));
  OrtStatus* failed = api.AllocatorAlloc(allocator_, size, &data_);
  if (failed == nullptr && data_ != nullptr) return;
  api.ReleaseAllocator(allocator_);
  ops::check(failed);
  throw std::bad_alloc();
}

DeviceMemory::~DeviceMemory() {
  if (allocator_ == nullptr) return;
  if (OrtStatus* failed = api_.AllocatorFree(allocator_, data_)) api_.ReleaseStatus(failed);
  api_.ReleaseAllocator(allocator_);
}

}  // namespace regc::cuda

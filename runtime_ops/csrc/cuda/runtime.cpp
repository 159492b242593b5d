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
  check_cuda(copy_to_host(copy.data(), tensor.data, bytes, stream_), node);
  return {tensor.type, tensor.shape, copy.data()};
}

Stream stream_of(const abi::Api& api, const OrtKernelContext* context) {
  void* stream = nullptr;
  ops::check(api.KernelContext_GetGPUComputeStream(context, &stream));
  return stream;
}

namespace {

const OrtMemoryInfo* memory_of_input(const abi::Api& api, const OrtKernelContext* context) {
  const OrtValue* input = nullptr;
  const OrtMemoryInfo* memory = nullptr;
  ops::check(api.KernelContext_GetInput(context, 0, &input));
  ops::check(api.GetTensorMemoryInfo(input, &memory));
  return memory;
}

int ordinal_of(const abi::Api& api, const OrtMemoryInfo* memory) {
  int ordinal = 0;
  ops::check(api.MemoryInfoGetId(memory, &ordinal));
  return ordinal;
}

}  // namespace

OnDevice::OnDevice(const abi::Api& api, const OrtKernelContext* context)
    : before_(use_device(ordinal_of(api, memory_of_input(api, context)))) {}

DeviceMemory::DeviceMemory(const abi::Api& api, const OrtKernelContext* context, size_t size) : api_(api) {
  if (size == 0) return;
  const OrtMemoryInfo* memory = memory_of_input(api, context);
  ops::check(api.KernelContext_GetAllocator(context, memory, &allocator_));
  const bool ordered = api.KernelContext_GetScratchBuffer != nullptr && stream_of(api, context) != nullptr;
  OrtStatus* failed = ordered ? api.KernelContext_GetScratchBuffer(context, memory, size, &data_)
                              : api.AllocatorAlloc(allocator_, size, &data_);
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

// As much of ONNX Runtime as products need: tensors, nodes whose weights are constants or not, and a parallel loop that
// starts threads. A sanitizer sees all of it, which ONNX Runtime, built without, hides from one: ThreadSanitizer would
// not know what its threads wait for.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "abi/ort_abi.h"

struct OrtStatus {
  std::string text;
};
struct OrtTensorTypeAndShapeInfo {
  int type;
  std::vector<int64_t> shape;
};
struct OrtValue : OrtTensorTypeAndShapeInfo {
  std::vector<uint8_t> bytes;
};
struct OrtCustomOpDomain {
  std::vector<const regc::abi::CustomOp*> operators;
};
struct OrtKernelInfo {
  std::string node;
  const std::vector<OrtValue>* inputs;
  bool constant;  // all inputs but the first, and what is added at the end
};
struct OrtKernelContext {
  const std::vector<OrtValue>* inputs;
  OrtValue output;
  size_t threads;
};
struct OrtSessionOptions {
  OrtCustomOpDomain* domain;
};

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const regc::abi::ApiBase* base);

namespace regc::test {

inline size_t bytes_of(int type) {
  return type == abi::kUInt8 ? 1 : type == abi::kInt64 ? 8 : type >= abi::kFloat16 ? 2 : 4;
}

inline OrtValue tensor(int type, std::vector<int64_t> shape) {
  size_t count = bytes_of(type);
  for (const int64_t size : shape) count *= static_cast<size_t>(size);
  return {{type, std::move(shape)}, std::vector<uint8_t>(count)};
}

// The functions that take the places of ONNX Runtime's.
struct Runtime {
  static OrtStatus* CreateStatus(int, const char* text) { return new OrtStatus{text}; }
  static void ReleaseStatus(OrtStatus* status) { delete status; }
  static OrtStatus* CreateCustomOpDomain(const char*, OrtCustomOpDomain** out) {
    return *out = new OrtCustomOpDomain, nullptr;
  }
  static void ReleaseCustomOpDomain(OrtCustomOpDomain* domain) { delete domain; }
  static OrtStatus* CustomOpDomain_Add(OrtCustomOpDomain* domain, const OrtCustomOp* op) {
    return domain->operators.push_back(reinterpret_cast<const abi::CustomOp*>(op)), nullptr;
  }
  static OrtStatus* AddCustomOpDomain(OrtSessionOptions* options, OrtCustomOpDomain* domain) {
    return options->domain = domain, nullptr;
  }
  static OrtStatus* GetTensorMutableData(OrtValue* value, void** out) { return *out = value->bytes.data(), nullptr; }
  static OrtStatus* GetTensorTypeAndShape(const OrtValue* value, OrtTensorTypeAndShapeInfo** out) {
    return *out = new OrtTensorTypeAndShapeInfo(*value), nullptr;
  }
  static void ReleaseTensorTypeAndShapeInfo(OrtTensorTypeAndShapeInfo* info) { delete info; }
  static OrtStatus* GetTensorElementType(const OrtTensorTypeAndShapeInfo* info, int* out) {
    return *out = info->type, nullptr;
  }
  static OrtStatus* GetDimensionsCount(const OrtTensorTypeAndShapeInfo* info, size_t* out) {
    return *out = info->shape.size(), nullptr;
  }
  static OrtStatus* GetDimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* sizes, size_t count) {
    return std::copy_n(info->shape.begin(), count, sizes), nullptr;
  }
  static OrtStatus* KernelInfo_GetNodeName(const OrtKernelInfo* info, char* out, size_t* size) {
    if (out != nullptr) std::memcpy(out, info->node.c_str(), *size);
    return *size = info->node.size() + 1, nullptr;
  }
  static OrtStatus* KernelInfoGetConstantInput_tensor(const OrtKernelInfo* info, size_t index, int* constant,
                                                      const OrtValue** out) {
    *constant = info->constant ? 1 : 0;
    return *out = info->constant ? &(*info->inputs)[index] : nullptr, nullptr;
  }
  static OrtStatus* KernelContext_GetInput(const OrtKernelContext* context, size_t index, const OrtValue** out) {
    return *out = &(*context->inputs)[index], nullptr;
  }
  static OrtStatus* KernelContext_GetOutput(OrtKernelContext* context, size_t, const int64_t* sizes, size_t count,
                                            OrtValue** out) {
    context->output = tensor((*context->inputs)[0].type, {sizes, sizes + count});
    return *out = &context->output, nullptr;
  }
  // Threads take the next batch when they are free, as those of ONNX Runtime do.
  static OrtStatus* KernelContext_ParallelFor(const OrtKernelContext* context, void (*function)(void*, size_t),
                                              size_t total, size_t, void* user) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < total; i = next++) function(user, i);
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < context->threads; ++i) others.emplace_back(work);
    work();
    for (std::thread& thread : others) thread.join();
    return nullptr;
  }
};

inline const OrtApi* table(uint32_t version) {
  static const auto entries = [] {
    std::array<void (*)(), abi::kApiEntries> all{};
    const auto put = [&](size_t position, auto function) { all[position] = reinterpret_cast<void (*)()>(function); };
    put(0, Runtime::CreateStatus);
    put(26, Runtime::CreateCustomOpDomain);
    put(27, Runtime::CustomOpDomain_Add);
    put(28, Runtime::AddCustomOpDomain);
    put(51, Runtime::GetTensorMutableData);
    put(60, Runtime::GetTensorElementType);
    put(61, Runtime::GetDimensionsCount);
    put(62, Runtime::GetDimensions);
    put(65, Runtime::GetTensorTypeAndShape);
    put(90, Runtime::KernelContext_GetInput);
    put(91, Runtime::KernelContext_GetOutput);
    put(93, Runtime::ReleaseStatus);
    put(99, Runtime::ReleaseTensorTypeAndShapeInfo);
    put(101, Runtime::ReleaseCustomOpDomain);
    put(244, Runtime::KernelInfo_GetNodeName);
    put(249, Runtime::KernelInfoGetConstantInput_tensor);
    put(274, Runtime::KernelContext_ParallelFor);
    return all;
  }();
  return version == abi::kApiVersion ? reinterpret_cast<const OrtApi*>(entries.data()) : nullptr;
}

// The operators of the library.
inline const std::vector<const abi::CustomOp*>& operators() {
  static OrtSessionOptions options{};
  static const abi::ApiBase base{table, [] { return "1.17.0"; }};
  static OrtStatus* const status = RegisterCustomOps(&options, &base);
  if (status != nullptr) throw std::runtime_error(status->text);
  return options.domain->operators;
}

// The text of a status, which it ends; empty for success.
inline std::string said(OrtStatus* status) {
  std::string text = status == nullptr ? "" : status->text;
  delete status;
  return text;
}

// A node of a session. The inputs must outlive it.
class Node {
 public:
  Node(const abi::CustomOp* op, const std::vector<OrtValue>& inputs, bool constant) : op_(op) {
    const OrtKernelInfo info{"layer/7", &inputs, constant};
    error = said(op->CreateKernelV2(op, nullptr, &info, &kernel_));
  }
  ~Node() {
    if (kernel_ != nullptr) op_->KernelDestroy(kernel_);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // y, and in `text` what went wrong.
  OrtValue run(const std::vector<OrtValue>& inputs, size_t threads, std::string& text) const {
    OrtKernelContext context{&inputs, {}, threads};
    text = said(op_->KernelComputeV2(kernel_, &context));
    return context.output;
  }
  std::string error;

 private:
  const abi::CustomOp* op_;
  void* kernel_ = nullptr;
};

}  // namespace regc::test

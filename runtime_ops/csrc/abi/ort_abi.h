// The part of ONNX Runtime's stable C ABI that we call, in our own words: its wheels carry no headers.
// tests/runtime_ops/test_abi.py compares the positions with an official header wherever one is installed.
#pragma once

#include <cstddef>
#include <cstdint>

struct OrtAllocator;
struct OrtApi;
struct OrtCustomOp;
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtMemoryInfo;
struct OrtOpAttr;
struct OrtSessionOptions;
struct OrtShapeInferContext;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

namespace regc::abi {

// The first API version with KernelContext_ParallelFor, the newest entry that we call (ONNX Runtime 1.17).
constexpr uint32_t kApiVersion = 17;
constexpr size_t kApiEntries = 275;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int {
  kAny = 0, kFloat = 1, kUInt8 = 2, kInt32 = 6, kInt64 = 7, kFloat16 = 10, kBFloat16 = 16
};
enum AttributeType : int { kInts = 2 };
enum MemoryType : int { kHostInput = -2, kProviderMemory = 0 };

// What the runtime hands to RegisterCustomOps.
struct ApiBase {
  const OrtApi* (*GetApi)(uint32_t version);  // null when the runtime is older than the version
  const char* (*GetVersionString)();
};

template <class Function>
Function entry(const OrtApi* table, size_t position) {
  using AnyFunction = void (*)();
  return reinterpret_cast<Function>(reinterpret_cast<const AnyFunction*>(table)[position]);
}

// The API version of ONNX Runtime 1.18, the first that gives scratch memory to a stream of a GPU.
constexpr uint32_t kScratchVersion = 18;
constexpr size_t kScratchEntry = 277;
using GetScratch = OrtStatus* (*)(const OrtKernelContext* context, const OrtMemoryInfo* memory, size_t bytes,
                                  void** out);

// The entries that we call by name, of a table of at least version kApiVersion.
struct Api {
  explicit Api(const OrtApi* from, const OrtApi* newer = nullptr)
      : table(from),
        KernelContext_GetScratchBuffer(newer == nullptr ? nullptr : entry<GetScratch>(newer, kScratchEntry)) {}
  const OrtApi* table;  // first, for the initializers below read it
  GetScratch KernelContext_GetScratchBuffer;  // of a table of version kScratchVersion; else null
#define REGC_ORT_ENTRY(position, name, result, parameters) \
  result(*name) parameters = entry<result(*) parameters>(table, position);
#include "abi/ort_entries.inc"
#undef REGC_ORT_ENTRY
};

// The one entry that may be called of a table of any version.
inline OrtStatus* create_status(const OrtApi* table, ErrorCode code, const char* message) {
  return entry<OrtStatus* (*)(int, const char*)>(table, 0)(code, message);
}

// An operator as the runtime sees it. Fields after those of the stated version are never read.
struct CustomOp {
  uint32_t version;
#define REGC_CUSTOM_OP_FIELD(name, result, parameters) result(*name) parameters;
#include "abi/custom_op_fields.inc"
#undef REGC_CUSTOM_OP_FIELD
  // No output reuses an input's memory: GetMayInplace, ReleaseMayInplace, GetAliasMap, ReleaseAliasMap stay
  // null.
  void (*in_place_and_aliases[4])();
};

#define REGC_ORT_ENTRY(position, name, result, parameters) static_assert((position) < kApiEntries, #name);
#include "abi/ort_entries.inc"
#undef REGC_ORT_ENTRY
static_assert(offsetof(CustomOp, CreateKernel) == 1 * sizeof(void*));
static_assert(offsetof(CustomOp, KernelDestroy) == 9 * sizeof(void*));
static_assert(offsetof(CustomOp, CreateKernelV2) == 17 * sizeof(void*));
static_assert(offsetof(CustomOp, InferOutputShapeFn) == 19 * sizeof(void*));
static_assert(offsetof(CustomOp, in_place_and_aliases) == 22 * sizeof(void*));

}  // namespace regc::abi

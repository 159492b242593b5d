// The operators of the CUDA provider as a library for the CPU's: emulated kernels behind the real adapters, so that
// ONNX Runtime can run them where there is no GPU. It has no others.
#include <cstring>

#include "cuda/runtime.h"
#include "ops/operator.h"

namespace regc::kernels {

namespace generic {
extern const Kernels kKernels;
}
const Kernels& kernels_for(Isa) noexcept { return generic::kKernels; }

}  // namespace regc::kernels

namespace regc::cuda {

void place_on_cuda(abi::CustomOp&) {}

void check_cuda(Error error, const std::string& node) {
  if (error != 0) throw std::runtime_error(node + "a launch failed");
}

Error copy_to_host(void* to, const void* from, size_t bytes, Stream) {
  std::memcpy(to, from, bytes);
  return 0;
}

int use_device(int ordinal) { return ordinal; }

}  // namespace regc::cuda

namespace {

struct Domain {
  explicit Domain(const OrtApi* table) : api(table), operators(regc::ops::provider_operators(api)) {
    regc::ops::check(api.CreateCustomOpDomain("ai.regc", &domain));
    for (const auto& op : operators)
      regc::ops::check(api.CustomOpDomain_Add(domain, reinterpret_cast<const OrtCustomOp*>(op.get())));
  }
  const regc::abi::Api api;
  const std::vector<std::shared_ptr<const regc::abi::CustomOp>> operators;
  OrtCustomOpDomain* domain = nullptr;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const regc::abi::ApiBase* base) {
  const OrtApi* table = base->GetApi(regc::abi::kApiVersion);
  const regc::abi::Api api(table);
  return regc::ops::guarded(api, [&] {
    static const Domain domain(table);
    regc::ops::check(api.AddCustomOpDomain(options, domain.domain));
  });
}

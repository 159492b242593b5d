// The library's one exported function.
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

#include "ops/conv.h"
#include "ops/error.h"
#include "ops/gather.h"
#include "ops/matmul.h"

namespace regc::ops {

namespace {

// The operators of domain ai.regc. Sessions keep pointers to them, so they live as long as the library is
// loaded.
class Domain {
 public:
  Domain(const OrtApi* table, const OrtApi* newer) : api_(table, newer), provided_(provider_operators(api_)) {
    check(api_.CreateCustomOpDomain("ai.regc", &domain_));
    for (const auto& spec : {ternary_matmul(), ternary_matmul_float(), ternary5_matmul(),
                             ternary5_matmul_float(), rf8_matmul(), block_sparse_matmul(),
                             block_sparse_rf8_matmul(), gated_matmul(), gated_rf8_matmul(),
                             gated_topk_matmul(), gated_topk_rf8_matmul()}) {
      for (const EndingSpec& ending : kEndings)
        for (const ElementSpec& element : kElements) add(operators_.emplace_back(api_, spec, ending, element.type));
    }
    for (const EndingSpec& ending : kEndings) add(convolutions_.emplace_back(api_, ternary_conv(), ending));
    for (const auto& spec : {rf8_gather(), rf8_tiled_gather(), ternary_gather(), ternary_tiled_gather()})
      for (const ElementSpec& element : kElements) add(gathers_.emplace_back(api_, spec, element));
    for (const auto& op : provided_) add(*op);
  }
  ~Domain() { api_.ReleaseCustomOpDomain(domain_); }
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  void add_to(OrtSessionOptions* options, const OrtApi* table) const {
    if (api_.table != table)
      throw std::runtime_error("ai.regc: this process already uses the library with another ONNX Runtime");
    check(api_.AddCustomOpDomain(options, domain_));
  }

 private:
  void add(const abi::CustomOp& op) {
    check(api_.CustomOpDomain_Add(domain_, reinterpret_cast<const OrtCustomOp*>(&op)));
  }

  const abi::Api api_;
  std::deque<Operator> operators_;  // never moves them
  std::deque<ConvOperator> convolutions_;
  std::deque<GatherOperator> gathers_;
  const std::vector<std::shared_ptr<const abi::CustomOp>> provided_;
  OrtCustomOpDomain* domain_ = nullptr;
};

// A runtime that is asked for a version that it lacks complains on the terminal.
const OrtApi* newer_table(const abi::ApiBase& base) {
  const char* minor = std::strchr(base.GetVersionString(), '.');
  const bool has = minor != nullptr && std::atoi(minor + 1) >= static_cast<int>(abi::kScratchVersion);
  return has ? base.GetApi(abi::kScratchVersion) : nullptr;
}

void add_domain(OrtSessionOptions* options, const OrtApi* table, const abi::ApiBase& base) {
  static const Domain domain(table, newer_table(base));  // immutable once built
  domain.add_to(options, table);
}

// Every runtime since 1.0 has the first API version, and with it the means to report that it is too old.
OrtStatus* too_old(const abi::ApiBase& base) {
  const std::string text = std::string("ai.regc needs ONNX Runtime 1.") + std::to_string(abi::kApiVersion) +
                           " or later, this is " + base.GetVersionString();
  return abi::create_status(base.GetApi(1), abi::kFail, text.c_str());
}

}  // namespace

}  // namespace regc::ops

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const regc::abi::ApiBase* base) {
  using namespace regc;
  const OrtApi* table = base->GetApi(abi::kApiVersion);
  if (table == nullptr) return ops::too_old(*base);
  const abi::Api api(table);
  return ops::guarded(api, [&] { ops::add_domain(options, table, *base); });
}

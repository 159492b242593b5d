// Errors inside the library are exceptions; at its boundary they become statuses of ONNX Runtime.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "abi/ort_abi.h"

namespace regc::ops {

// The model or a tensor breaks a rule of the operator; the text names the node, the reason and the numbers.
class InvalidInput : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A call into the runtime failed; owns its status until it is handed back.
class RuntimeFailure {
 public:
  explicit RuntimeFailure(OrtStatus* status) : status_(status) {}
  OrtStatus* status() const { return status_; }

 private:
  OrtStatus* status_;
};

inline void check(OrtStatus* status) {
  if (status != nullptr) throw RuntimeFailure(status);
}

// Runs a function; null when it returns, else the status that says why it threw.
template <class Function>
OrtStatus* guarded(const abi::Api& api, const Function& function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const RuntimeFailure& failure) {
    return failure.status();
  } catch (const InvalidInput& error) {
    return api.CreateStatus(abi::kInvalidArgument, error.what());
  } catch (const std::bad_alloc&) {
    return api.CreateStatus(abi::kFail, "ai.regc: out of memory");
  } catch (const std::exception& error) {
    return api.CreateStatus(abi::kFail, error.what());
  } catch (...) {
    return api.CreateStatus(abi::kFail, "ai.regc: unknown error");
  }
}

}  // namespace regc::ops

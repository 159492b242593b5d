// Work in the threads of the session.
#pragma once

#include <cstddef>

#include "ops/error.h"

namespace regc::ops {

class Parallel {
 public:
  Parallel(const abi::Api& api, const OrtKernelContext* context) : api_(api), context_(context) {}

  // Calls function(0) .. function(count - 1), which must not throw, in any order and each exactly once. Every
  // index is its own batch: threads take the next one when they are free, so a busy machine does not hold up
  // the rest.
  template <class Function>
  void run(size_t count, const Function& function) const {
    if (count <= 1) {
      if (count == 1) function(0);
      return;
    }
    const auto call = [](void* user, size_t index) { (*static_cast<const Function*>(user))(index); };
    check(api_.KernelContext_ParallelFor(context_, call, count, count, const_cast<Function*>(&function)));
  }

 private:
  const abi::Api& api_;
  const OrtKernelContext* context_;
};

}  // namespace regc::ops

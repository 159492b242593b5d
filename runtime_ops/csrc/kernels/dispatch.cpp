#include "kernels/kernels.h"

namespace regc::kernels {

namespace generic {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avxvnni {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#if defined(REGC_AVX512FP16)
namespace avx512fp16 {
extern const Kernels kKernels;
}
#endif
#elif defined(__aarch64__)
namespace neon {
extern const Kernels kKernels;
}
#endif

const Kernels& kernels_for(Isa isa) noexcept {
#if defined(__x86_64__)
#if defined(REGC_AVX512FP16)
  if (isa == Isa::avx512fp16) return avx512fp16::kKernels;
#endif
  if (isa == Isa::avx512) return avx512::kKernels;
  if (isa == Isa::avxvnni) return avxvnni::kKernels;
  if (isa == Isa::avx2) return avx2::kKernels;
#elif defined(__aarch64__)
  if (isa == Isa::neon) return neon::kKernels;
#else
  (void)isa;
#endif
  return generic::kKernels;
}

}  // namespace regc::kernels

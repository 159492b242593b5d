// Instruction sets that the kernels are built for, and which of them this CPU has.
#pragma once

#include <optional>

namespace regc::kernels {

// From the least to the best.
enum class Isa { generic, neon, avx2, avxvnni, avx512, avx512fp16 };

constexpr int kIsaCount = 6;
constexpr const char* kIsaNames[kIsaCount] = {"generic", "neon", "avx2", "avxvnni", "avx512", "avx512fp16"};

// The best instruction set up to `bound` that the CPU has, the operating system saves, and this library was
// built with. neon includes the dot product extension; avx2 includes FMA; avxvnni is avx2 with AVX-VNNI; avx512
// means F, BW, VL, DQ and VNNI; avx512fp16 is avx512 with VBMI and FP16. A CPU may have avx512 and not avxvnni.
Isa best_isa(Isa bound) noexcept;

// The environment variable REGC_ISA, which bounds the choice; null where it is unset or empty.
const char* isa_bound() noexcept;

// The best instruction set up to the one of a name (null: any); nothing for a name that is none. The CPU is asked once:
// on a virtual machine that takes microseconds.
std::optional<Isa> isa_up_to(const char* name) noexcept;

}  // namespace regc::kernels

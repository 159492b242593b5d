// Instruction sets that the kernels are built for, and which of them this CPU has.
#pragma once

namespace regc::kernels {

enum class Isa { generic, avx2, avx512 };

constexpr int kIsaCount = 3;
constexpr const char* kIsaNames[kIsaCount] = {"generic", "avx2", "avx512"};

// The best instruction set that the CPU has, the operating system saves, and this library was built with.
// avx2 includes FMA; avx512 means F, BW, VL, DQ and VNNI.
Isa best_isa() noexcept;

}  // namespace regc::kernels

// The kernels of one instruction set, REGC_ISA, from its vectors and decoders (included before) and the
// templates.
//
// Everything lies in the instruction set's own namespace: a function shared with other files could be linked
// in their place, and be run by a CPU that lacks its instructions.
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/kernels.h"
// In the order in which they build on each other.
#include "kernels/templates/quantize.h"
#include "kernels/templates/endings.h"
#include "kernels/templates/tiles.h"
#include "kernels/templates/codes.h"
#include "kernels/templates/formats.h"
#include "kernels/templates/stream.h"
#include "kernels/templates/panel.h"
#include "kernels/templates/image.h"
#include "kernels/templates/convolve.h"
#include "kernels/templates/rows.h"
#include "kernels/templates/sparse.h"
#include "kernels/templates/sparse_panel.h"
#include "kernels/templates/gated.h"
#include "kernels/templates/gate_top.h"
#include "kernels/templates/gated_panel.h"
#include "kernels/templates/encode.h"
#if defined(REGC_HALVES)
#include "kernels/templates/halves.h"
#endif

namespace regc::kernels::REGC_ISA {

inline void ternary_stream(const MatMulTask& task) { int8_stream<TernaryInt8>(task); }
inline void ternary_panel(const MatMulTask& task) { panel<TernaryInt8>(task); }
inline void ternary_float_stream(const MatMulTask& task) { float_stream<TernaryFloat>(task); }
inline void ternary_float_panel(const MatMulTask& task) { panel<TernaryFloat>(task); }
inline void ternary5_stream(const MatMulTask& task) { int8_stream<Ternary5Int8>(task); }
inline void ternary5_panel(const MatMulTask& task) { panel<Ternary5Int8>(task); }
inline void ternary5_float_stream(const MatMulTask& task) { float_stream<Ternary5Float>(task); }
inline void ternary5_float_panel(const MatMulTask& task) { panel<Ternary5Float>(task); }
inline void rf8_stream(const MatMulTask& task) { float_stream<RF8Float>(task); }
inline void ternary_conv(const ConvTask& task) { convolve<TernaryInt8>(task); }
inline void sparse_stream(const SparseTask& task) { stream_blocks<FloatRows>(task); }
inline void sparse_panel(const SparseTask& task) { panel_blocks<FloatRows>(task); }
inline void sparse_rf8_stream(const SparseTask& task) { stream_blocks<RF8Rows>(task); }
inline void gated_stream(const GatedTask& task) { stream_gated<FloatRows>(task); }
inline void gated_panel(const GatedTask& task) { panel_gated<FloatRows>(task); }
inline void gated_rf8_stream(const GatedTask& task) { stream_gated<RF8Rows>(task); }
#if !defined(REGC_HALVES)
inline void rf8_panel(const MatMulTask& task) { panel<RF8Float>(task); }
inline void sparse_rf8_panel(const SparseTask& task) { panel_blocks<RF8Rows>(task); }
inline void gated_rf8_panel(const GatedTask& task) { panel_gated<RF8Rows>(task); }
constexpr void (*round_rows)(const RoundTask&) = nullptr;
constexpr size_t kRF8StreamRows = kFloatStreamRows;
#endif

extern const Kernels kKernels;
const Kernels kKernels = {
#define REGC_KERNEL(name, task) name,
#include "kernels/kernels.inc"
#undef REGC_KERNEL
    kTernaryStreamRows,
    kTernary5StreamRows,
    kFloatStreamRows,
    kRF8StreamRows,
};

}  // namespace regc::kernels::REGC_ISA

// The kernels for AVX-512 with VNNI and FP16: RF8 weights meet many rows in float16.
#define REGC_ISA avx512fp16
#define REGC_HALVES
#include "kernels/avx512/simd.h"
#include "kernels/avx512/formats.h"
#include "kernels/templates/digits.h"
#include "kernels/avx512fp16/halves.h"
#include "kernels/templates/table.h"

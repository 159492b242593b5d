// The kernels for AVX-512 with VNNI.
#define REGC_ISA avx512
#include "kernels/avx512/simd.h"
#include "kernels/avx512/formats.h"
#include "kernels/templates/digits.h"
#include "kernels/templates/table.h"

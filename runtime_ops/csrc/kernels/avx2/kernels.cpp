// The kernels for AVX2 with FMA.
#define REGC_ISA avx2
#include "kernels/avx2/simd.h"
#include "kernels/avx2/formats.h"
#include "kernels/avx2/dot.h"
#include "kernels/templates/turn.h"
#include "kernels/templates/table.h"

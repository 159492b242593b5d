// The kernels for AVX2 with FMA and AVX-VNNI: CPUs that have the byte product, but not 512 bits.
#define REGC_ISA avxvnni
#include "kernels/avx2/simd.h"
#include "kernels/avx2/formats.h"
#include "kernels/avxvnni/dot.h"
#include "kernels/templates/digits.h"
#include "kernels/templates/turn.h"
#include "kernels/templates/table.h"

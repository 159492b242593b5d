// The kernels for AArch64 with the dot product extension.
#define REGC_ISA neon
#include "kernels/neon/formats.h"
#include "kernels/templates/turn.h"
#include "kernels/templates/table.h"

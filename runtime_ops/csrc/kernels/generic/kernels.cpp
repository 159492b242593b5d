// The kernels in portable C++: the twin of every other instruction set, and what other CPUs run.
#define REGC_ISA generic
#include "kernels/generic/formats.h"
#include "kernels/templates/turn.h"
#include "kernels/templates/table.h"

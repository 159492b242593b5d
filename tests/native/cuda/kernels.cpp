// All kernels and their launchers, emulated.
#include "cuda/launch.h"

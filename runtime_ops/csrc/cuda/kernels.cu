// All kernels and their launchers, for the device.
#include "cuda/launch.h"

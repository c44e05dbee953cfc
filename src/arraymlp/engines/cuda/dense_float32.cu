// The kernels of dense.cuh in single precision.
typedef float Real;
#include "dense.cuh"

// The kernels of dense.cuh in double precision.
typedef double Real;
#include "dense.cuh"

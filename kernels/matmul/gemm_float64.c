/* Matrix product in float64, from the same template as float32. */
#include "matmul/gemm.h"

#include "matmul/real_float64.h"
#include "runtime/pool.h"
#include "runtime/scratch.h"

#define REAL_KERNEL gemm_float64
#include "matmul/gemm_body.h"

const kg_entry KG_TABLE(gemm_float64)[] = {{"gemm:float64", gemm_float64}, {0}};

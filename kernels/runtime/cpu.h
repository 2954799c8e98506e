/* What this processor can do. */
#ifndef KG_CPU_H
#define KG_CPU_H

#include "runtime/kernel.h"

KG_API int kg_cpu_has(const char *level); /* can it run kernels compiled for "generic", "avx2", "avx512", "neon"? */
KG_API const char *kg_cpu_best_level(void);
KG_API const char *kg_cpu_name(void);         /* as the maker calls it */
KG_API int64_t kg_cpu_cache_bytes(int level); /* 1 (data), 2 or 3; 0 if unknown */

#endif

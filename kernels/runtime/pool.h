/* A thread pool for kernels: one parallel loop at a time, claimed chunk by chunk. Loops of as many chunks give each
 * chunk to the same thread again, where that thread is not late. See pool.c. */
#ifndef KG_POOL_H
#define KG_POOL_H

#include "runtime/kernel.h"

typedef void kg_task(void *context, int64_t chunk);

/* Run task(context, 0 .. chunks-1), each once, in any order, and return when all are done. `us` is the estimated time
 * of the whole loop on one thread. The call may come from any thread, and from inside a chunk (then it runs serially).
 */
KG_API void kg_parallel(kg_task *task, void *context, int64_t chunks, double us);

/* The same, beginning with the last chunks: for a loop over what a loop before it has left in each thread's cache. */
KG_API void kg_parallel_from_last(kg_task *task, void *context, int64_t chunks, double us);

KG_API int kg_threads(void);             /* how many threads work on a loop, the caller included */
KG_API void kg_set_threads(int threads); /* 0: what affinity mask and cgroup quota allow. Not from inside a chunk. */
KG_API const char *kg_threads_why(void); /* where that number comes from, for people */

#endif

/* The caching allocator: all memory of arrays comes from here. See memory.c. */
#ifndef KG_MEMORY_H
#define KG_MEMORY_H

#include "runtime/kernel.h"

#include <stddef.h>

typedef struct {
    int64_t live_bytes;   /* in use, as rounded up to size classes */
    int64_t cached_bytes; /* freed, and kept for the next allocation */
    int64_t peak_bytes;   /* the most that was live; small blocks count when a thread's own cache runs empty or full */
    int64_t system_bytes; /* live + cached */
    int64_t hits;         /* allocations served from the cache */
    int64_t misses;       /* allocations that had to ask the system */
} kg_memory_stats_t;

/* 64-byte aligned, content undefined; nbytes may be 0. NULL if the system has no more, even after the cache is
 * released. */
KG_API void *kg_alloc(size_t nbytes);
KG_API void kg_free(void *p, size_t nbytes); /* the same nbytes; by any thread; p may be NULL */

KG_API void kg_memory_release(void); /* returns cached blocks to the system (but those in other threads' own caches) */
KG_API void kg_memory_set_cache_limit(int64_t nbytes); /* the most to keep cached; negative: the default rule */
KG_API void kg_memory_stats(kg_memory_stats_t *out);
KG_API void kg_memory_reset_peak(void);

#endif

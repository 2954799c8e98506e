/* Workspaces: per-thread blocks that only grow, so that no kernel allocates inside a parallel region after its first
 * run. */
#ifndef KG_SCRATCH_H
#define KG_SCRATCH_H

#include "runtime/kernel.h"

#include <stddef.h>

enum {
    KG_SCRATCH_GEMM,        /* panels and strips of one chunk of a matrix product */
    KG_SCRATCH_GEMM_SHARED, /* what all chunks of a matrix product read */
    KG_SCRATCH_CONV,        /* one chunk of a convolution */
    KG_SCRATCH_CONV_SHARED, /* transformed weights, partial weight gradients */
    KG_SCRATCH_ROWS,        /* softmax, normalization, losses: one chunk */
    KG_SCRATCH_PARTIAL,     /* partial sums of a reduction, one slot per part */
    KG_SCRATCH_OTHER,
    KG_SCRATCH_SLOTS
};

/* At least nbytes, 64-byte aligned, huge pages when large. Content undefined; valid until this thread asks for the slot
 * again. Never NULL: ends the process with a message if the system has no memory left. */
KG_API void *kg_scratch(int slot, size_t nbytes);
KG_API size_t kg_scratch_bytes(void); /* held by all threads together */

#endif

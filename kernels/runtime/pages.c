#define _GNU_SOURCE
#include "runtime/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* The first touch of small pages costs 2 GB/s, of huge ones 10. The system gives huge ones only to aligned mappings. */
static void *map_huge(size_t nbytes) {
    size_t mapped = nbytes + HUGE_PAGE;
    char *at = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    size_t page = 4096, before = -(uintptr_t)at & (HUGE_PAGE - 1), kept = (nbytes + page - 1) & -page;
    if (before) munmap(at, before);
    if (mapped - before - kept) munmap(at + before + kept, mapped - before - kept);
#if defined MADV_HUGEPAGE
    madvise(at + before, kept, MADV_HUGEPAGE);
#endif
    return at + before;
}

void *kg_pages_alloc(size_t nbytes) { return nbytes >= HUGE_PAGE ? map_huge(nbytes) : aligned_alloc(64, nbytes); }

void kg_pages_free(void *p, size_t nbytes) {
    if (nbytes >= HUGE_PAGE)
        munmap(p, (nbytes + 4095) & -(size_t)4096);
    else
        free(p);
}

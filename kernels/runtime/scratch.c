#include "runtime/scratch.h"

#include "runtime/pages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct arena {
    void *at;
    size_t nbytes;
};

static KG_THREAD_LOCAL struct arena arenas[KG_SCRATCH_SLOTS];
static _Atomic size_t held;
static pthread_key_t at_exit;

static void free_arenas(void *own) { /* runs when a thread ends */
    for (struct arena *a = own; a < (struct arena *)own + KG_SCRATCH_SLOTS; a++) {
        if (a->at) kg_pages_free(a->at, a->nbytes), held -= a->nbytes;
        *a = (struct arena){0};
    }
}

static void make_key(void) { pthread_key_create(&at_exit, free_arenas); }

static void *grow(struct arena *a, size_t nbytes) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    pthread_setspecific(at_exit, arenas);
    if (a->at) kg_pages_free(a->at, a->nbytes), held -= a->nbytes;
    nbytes =
        (nbytes + nbytes / 4 + 4095) & -(size_t)4096; /* a quarter more: sizes that creep up do not grow it each time */
    *a = (struct arena){kg_pages_alloc(nbytes), nbytes};
    if (!a->at) {
        fprintf(stderr, "kernelgrad: no memory for a workspace of %zu bytes\n", nbytes);
        abort();
    }
    held += nbytes;
    return a->at;
}

void *kg_scratch(int slot, size_t nbytes) {
    struct arena *a = &arenas[slot];
    return nbytes <= a->nbytes && a->at ? a->at : grow(a, nbytes ? nbytes : 1);
}

size_t kg_scratch_bytes(void) { return held; }

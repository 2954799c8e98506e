/* Blocks from the system: 64-byte aligned, in huge pages from 2 MB on. For memory.c and scratch.c. */
#ifndef KG_PAGES_H
#define KG_PAGES_H

#include <stddef.h>

/* A thread's own pointer, read by one instruction. musl cannot load a library that asks for this. */
#if defined __GLIBC__
#define KG_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define KG_THREAD_LOCAL _Thread_local
#endif

void *kg_pages_alloc(size_t nbytes); /* nbytes: a multiple of 64, not 0. NULL if there is none. */
void kg_pages_free(void *p, size_t nbytes);

#endif

/* What a kernel is: one C signature for all, and the tables that name them. */
#ifndef KG_KERNEL_H
#define KG_KERNEL_H

#include <stdint.h>

#if defined _WIN32
#define KG_API __declspec(dllexport)
#else
#define KG_API __attribute__((visibility("default")))
#endif

/* arrays: pointers, inputs then outputs, NULL where an optional one is absent. sizes and scalars: integer and floating
 * parameters. The call does work items start .. stop-1 of sizes[0] (all of them for a kernel that is registered as
 * whole). */
typedef void kg_kernel(void *const *arrays, const int64_t *sizes, const double *scalars, int64_t start, int64_t stop);

typedef struct {
    const char *name; /* "silu_forward"; entries for other dtypes than float32 end in ":dtype" */
    kg_kernel *run;
} kg_entry;

typedef struct {
    const char *family, *level;
    const kg_entry *entries; /* ends with a zero entry */
} kg_table;

extern KG_API const kg_table kg_tables[];

#define KG_PASTE_(a, b) a##_##b
#define KG_PASTE(a, b) KG_PASTE_(a, b)
/* A name of this instruction set's own: KG_NAME(gemm) is gemm_avx512. For what several files of one family share. */
#define KG_NAME(name) KG_PASTE(name, KG_ISA)
#define KG_TABLE(family) KG_PASTE(kg_##family, KG_ISA)

#endif

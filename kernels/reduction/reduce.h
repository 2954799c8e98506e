/* Reduce and spread over (outer, n, inner), in parallel; bits as tree.h fixes them. Shared by the files of this family
 * and by batch normalization. */
#ifndef KG_REDUCTION_REDUCE_H
#define KG_REDUCTION_REDUCE_H

#include "reduction/tree.h"
#include "runtime/kernel.h"

/* out (outer, inner) = `kind` of x (outer, n, inner) over n. y is like x and c like out, where the kind reads them. */
#define reduce KG_NAME(kg_reduce)
void reduce(tree_kind kind, const float *x, const float *y, const float *c, float *out, int64_t outer, int64_t n,
            int64_t inner);

/* What each element of (outer, n, inner) gets back; a and b are (outer, inner). */
typedef enum {
    SPREAD_COPY,     /* b */
    SPREAD_PRODUCT,  /* x b */
    SPREAD_CENTERED, /* (x - a) b */
    SPREAD_EXP,      /* exp(x - a) b */
    SPREAD_EQUAL,    /* b where x == a, else 0 */
    SPREAD_PROD      /* a / x, or b where x == 0 */
} spread_kind;
#define spread KG_NAME(kg_spread)
void spread(spread_kind kind, const float *x, const float *a, const float *b, float *out, int64_t outer, int64_t n,
            int64_t inner);

/* Calls body for ranges of outer: in parallel where there are rows enough, else once, and the body's reductions share
 * the work out themselves. So a body of several passes over a row finds it in the cache. */
typedef void outer_body(void *context, int64_t start, int64_t stop);
#define over_outer KG_NAME(kg_over_outer)
void over_outer(outer_body *body, void *context, int64_t outer, int64_t elements, double ns);

#endif

/* How many threads this process may use, and why. For pool.c. */
#ifndef KG_THREADS_H
#define KG_THREADS_H

#include <stddef.h>

/* KERNELGRAD_NUM_THREADS if set, otherwise the affinity mask cut to the cgroup's CPU quota. Writes the reason. */
int kg_default_threads(char *why, size_t size);

/* The quota of the control group named in `membership` (as /proc/self/cgroup) under `root` (as /sys/fs/cgroup), the
 * tightest from the group itself up to the root, in processors; 0 when there is none. Versions 2 and 1. */
double kg_cgroup_quota(const char *membership, const char *root);

#endif

#define _GNU_SOURCE
#include "runtime/threads.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_in(const char *mount, const char *group, const char *name) {
    char path[4096 + 256];
    int length = snprintf(path, sizeof path, "%s%s/%s", mount, group, name);
    return length < (int)sizeof path ? fopen(path, "r") : NULL;
}

static double quota_v2(const char *mount, const char *group) { /* cpu.max holds "quota period", or "max period" */
    double quota, period;
    FILE *file = open_in(mount, group, "cpu.max");
    if (!file) return 0;
    int found = fscanf(file, "%lf %lf", &quota, &period);
    fclose(file);
    return found == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

static double read_number(FILE *file) { /* -1 if there is none */
    double value = -1;
    if (!file) return -1;
    if (fscanf(file, "%lf", &value) != 1) value = -1;
    fclose(file);
    return value;
}

static double quota_v1(const char *mount, const char *group) {
    double quota = read_number(open_in(mount, group, "cpu.cfs_quota_us"));
    double period = read_number(open_in(mount, group, "cpu.cfs_period_us"));
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The tightest quota of group, its parents and the mount's root: inside a container the path may name groups that exist
 * only outside, while the container's own group is mounted as the root. */
static double tightest(const char *mount, char *group, double (*quota_of)(const char *, const char *)) {
    double limit = 0;
    for (char *slash = group;; *slash = 0) {
        double quota = quota_of(mount, group);
        if (quota > 0 && (limit == 0 || quota < limit)) limit = quota;
        if (!(slash = strrchr(group, '/'))) return limit;
    }
}

static int names_cpu(const char *controllers, size_t n) { /* is "cpu" in a list such as "cpu,cpuacct"? */
    for (const char *at = controllers, *end = at + n; at < end;) {
        size_t length = strcspn(at, ",:");
        if (length == 3 && memcmp(at, "cpu", 3) == 0) return 1;
        at += length + 1;
    }
    return 0;
}

double kg_cgroup_quota(const char *membership, const char *root) {
    char line[4096], mount[256];
    double limit = 0;
    FILE *file = fopen(membership, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) { /* "id:controllers:/path", no controllers in version 2 */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        size_t n = (size_t)(group - ++controllers);
        double quota = 0;
        if (n == 0)
            quota = tightest(root, group + 1, quota_v2);
        else if (names_cpu(controllers, n)) {
            snprintf(mount, sizeof mount, "%s/cpu", root);
            quota = tightest(mount, group + 1, quota_v1);
        }
        if (quota > 0 && (limit == 0 || quota < limit)) limit = quota;
    }
    fclose(file);
    return limit;
}

int kg_default_threads(char *why, size_t size) {
    const char *wish = getenv("KERNELGRAD_NUM_THREADS");
    int n = wish ? atoi(wish) : 0;
    if (n > 0) {
        snprintf(why, size, "KERNELGRAD_NUM_THREADS=%d", n);
        return n;
    }
    n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(why, size, "the machine has %d processors", n);
#if defined __linux__
    cpu_set_t cpus;
    int online = n;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) n = CPU_COUNT(&cpus);
    if (n != online) snprintf(why, size, "the affinity mask allows %d of %d processors", n, online);
    double quota = kg_cgroup_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota > 0 && quota < n) {
        n = quota < 1 ? 1 : (int)(quota + 0.5);
        snprintf(why, size, "the control group's quota is %.2f of %d processors", quota, online);
    }
#endif
    return n < 1 ? 1 : n;
}

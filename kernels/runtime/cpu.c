#include "runtime/cpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#if defined __x86_64__ || defined __i386__
#include <cpuid.h>
#endif
#if defined __APPLE__
#include <sys/sysctl.h>
#endif

int kg_cpu_has(const char *level) {
    if (strcmp(level, "generic") == 0) return 1;
#if defined __x86_64__
    __builtin_cpu_init(); /* also asks whether the system saves the wide registers */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (strcmp(level, "avx2") == 0) return avx2;
    if (strcmp(level, "avx512") == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#elif defined __aarch64__
    if (strcmp(level, "neon") == 0) return 1;
#endif
    return 0;
}

const char *kg_cpu_best_level(void) {
    static const char *const levels[] = {"avx512", "avx2", "neon"};
    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++)
        if (kg_cpu_has(levels[i])) return levels[i];
    return "generic";
}

const char *kg_cpu_name(void) {
    static char name[64];
    if (name[0]) return name;
    char found[64] = "";
#if defined __x86_64__ || defined __i386__
    unsigned words[12] = {0}, highest = __get_cpuid_max(0x80000000u, NULL);
    if (highest >= 0x80000004u)
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    memcpy(found, words, sizeof words);
#elif defined __APPLE__
    size_t size = sizeof found;
    sysctlbyname("machdep.cpu.brand_string", found, &size, NULL, 0);
#else
    char line[256], *colon;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if ((strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0) &&
            (colon = strchr(line, ':'))) {
            snprintf(found, sizeof found, "%.60s", colon + 2);
            found[strcspn(found, "\n")] = 0;
            break;
        }
    if (file) fclose(file);
#endif
    const char *start = found + strspn(found, " ");
    size_t length = strlen(start);
    while (length && start[length - 1] == ' ') length--;
    if (!length) start = "unknown processor", length = strlen(start);
    memcpy(name, start, length);
    return name;
}

int64_t kg_cpu_cache_bytes(int level) {
    long nbytes = 0;
#if defined __APPLE__
    static const char *const names[] = {"hw.l1dcachesize", "hw.l2cachesize", "hw.l3cachesize"};
    int64_t found = 0;
    size_t size = sizeof found;
    if (level >= 1 && level <= 3 && sysctlbyname(names[level - 1], &found, &size, NULL, 0) == 0) nbytes = (long)found;
#elif defined _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    if (level >= 1 && level <= 3) nbytes = sysconf(names[level - 1]);
#endif
    return nbytes > 0 ? nbytes : 0;
}

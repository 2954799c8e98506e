/* The thread pool: every chunk runs exactly once, with several callers, nested, resized during calls, and after fork;
 * and the reading of control groups. Exit status 0 and "ok" when nothing is wrong. Build with -fsanitize=thread as well
 * (then TSAN_OPTIONS=die_after_fork=0). Arguments: rounds, default 500; "nofork" to leave out forking. */
#define _GNU_SOURCE
#include "runtime/pool.h"
#include "runtime/threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x)                                           \
    do {                                                   \
        if (!(x)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                       \
        }                                                  \
    } while (0)

struct counts { /* plain ints: each chunk must run exactly once, unshared */
    int *visits;
    int64_t chunks;
    int level;
};

static void count(void *context, int64_t chunk) {
    struct counts *c = context;
    c->visits[chunk]++;
    if (c->level > 0) { /* nested calls run serially */
        int visits[3] = {0};
        struct counts inner = {visits, 3, 0};
        kg_parallel(count, &inner, 3, 1000);
        CHECK(visits[0] == 1 && visits[1] == 1 && visits[2] == 1);
    }
    if (chunk % 7 == 3)
        for (volatile int i = 0; i < 300; i++) {}
}

static void check_once(unsigned *seed) {
    int visits[200] = {0};
    struct counts c = {visits, 1 + rand_r(seed) % 200, rand_r(seed) % 8 == 0};
    (rand_r(seed) % 4 ? kg_parallel : kg_parallel_from_last)(count, &c, c.chunks, rand_r(seed) % 100);
    for (int i = 0; i < 200; i++) CHECK(visits[i] == (i < c.chunks)); /* also: all is visible to the caller */
}

static int rounds;

static void *caller(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    for (int i = 0; i < rounds; i++) {
        check_once(&seed);
        if (i % 1000 == 0) usleep((useconds_t)(rand_r(&seed) % 400));
    }
    return NULL;
}

static void check_fork(void) {
    pid_t child = fork();
    if (child == 0) {
        unsigned seed = 9;
        alarm(20); /* a child that hangs dies */
        for (int i = 0; i < 300; i++) check_once(&seed);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_callers(int with_fork) {
    static const int threads[] = {1, 2, 4, 6, 8}; /* more than there are cores */
    for (size_t s = 0; s < sizeof threads / sizeof *threads; s++) {
        kg_set_threads(threads[s]);
        CHECK(kg_threads() == threads[s] && strstr(kg_threads_why(), "set_num_threads"));
        pthread_t t[4];
        for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, caller, (void *)(i + 1));
        if (threads[s] == 4) kg_set_threads(3); /* while others call */
        for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
        if (with_fork) check_fork();
    }
}

/* ---- Control groups, from a made-up /proc and /sys ---- */

static char root[64];

static void put(const char *name, const char *text) { /* directories in `name` are made */
    char path[256], *slash = path;
    snprintf(path, sizeof path, "%s/%s", root, name);
    while ((slash = strchr(slash + 1, '/'))) *slash = 0, mkdir(path, 0700), *slash = '/';
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0);
    fclose(file);
}

static double quota(const char *membership) {
    char path[128];
    put("self", membership);
    snprintf(path, sizeof path, "%s/self", root);
    return kg_cgroup_quota(path, root);
}

static void check_control_groups(void) {
    strcpy(root, "/tmp/pool_check_XXXXXX");
    CHECK(mkdtemp(root));
    put("pod/job/cpu.max", "250000 100000\n");
    put("pod/cpu.max", "max 100000\n");
    put("open/cpu.max", "max 100000\n");
    CHECK(quota("0::/pod/job\n") == 2.5);
    CHECK(quota("0::/pod\n") == 0 && quota("0::/open\n") == 0 && quota("0::/gone\n") == 0 && quota("") == 0);
    put("pod/cpu.max", "150000 100000\n"); /* the parent is tighter */
    CHECK(quota("0::/pod/job\n") == 1.5);
    put("cpu/box/cpu.cfs_quota_us", "50000\n");
    put("cpu/box/cpu.cfs_period_us", "100000\n");
    CHECK(quota("9:name=systemd:/\n2:cpuacct,cpu:/box/inner\n0::/\n") == 0.5);
    put("cpu/box/cpu.cfs_quota_us", "-1\n");
    CHECK(quota("2:cpu,cpuacct:/box\n") == 0 && quota("3:cpuset:/box\n") == 0);
    put("cpu.max", "300000 100000\n"); /* a container sees its own group as the root */
    CHECK(quota("0::/docker/0123abc\n") == 3);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK(system(command) == 0);
}

static void check_defaults(void) {
    char why[128];
    setenv("KERNELGRAD_NUM_THREADS", "3", 1);
    CHECK(kg_default_threads(why, sizeof why) == 3 && strcmp(why, "KERNELGRAD_NUM_THREADS=3") == 0);
    unsetenv("KERNELGRAD_NUM_THREADS");
    CHECK(kg_default_threads(why, sizeof why) >= 1);
    kg_set_threads(0);
    printf("default: %d threads, because %s\n", kg_threads(), kg_threads_why());
}

int main(int argc, char **argv) {
    rounds = argc > 1 ? atoi(argv[1]) : 500;
    check_control_groups();
    check_callers(argc < 3);
    check_defaults();
    puts("ok");
}

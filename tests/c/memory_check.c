/* The caching allocator: every block is whole and its own, by any thread, after fork, at thread exit; the counters add
 * up. Exit status 0 and "ok" when nothing is wrong. Meant for the sanitizers too. */
#include "runtime/memory.h"
#include "runtime/scratch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x)                                           \
    do {                                                   \
        if (!(x)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                       \
        }                                                  \
    } while (0)

enum { SLOTS = 64 };

static struct {
    unsigned char *at;
    size_t nbytes;
} slots[SLOTS]; /* handed from thread to thread */
static pthread_mutex_t slot_lock[SLOTS];

static kg_memory_stats_t stats(void) {
    kg_memory_stats_t s;
    kg_memory_stats(&s);
    CHECK(s.live_bytes >= 0 && s.cached_bytes >= 0 && s.system_bytes == s.live_bytes + s.cached_bytes);
    CHECK(s.peak_bytes >= s.live_bytes && s.hits >= 0 && s.misses >= 0);
    return s;
}

static size_t some_size(unsigned *seed) {
    int bits = rand_r(seed) % (rand_r(seed) % 50 ? 17 : 23);
    return (size_t)rand_r(seed) % ((size_t)1 << bits);
}

static void fill(unsigned char *p, size_t nbytes) {
    if (nbytes) p[0] = (unsigned char)nbytes, p[nbytes / 2] = 7, p[nbytes - 1] = (unsigned char)(nbytes >> 8);
}

static void exchange(unsigned *seed) {
    int i = rand_r(seed) % SLOTS;
    size_t nbytes = some_size(seed);
    unsigned char *mine = kg_alloc(nbytes), *old;
    CHECK(mine && (size_t)mine % 64 == 0);
    fill(mine, nbytes);
    pthread_mutex_lock(&slot_lock[i]);
    size_t old_nbytes = slots[i].nbytes;
    old = slots[i].at;
    slots[i].at = mine;
    slots[i].nbytes = nbytes;
    pthread_mutex_unlock(&slot_lock[i]);
    if (old && old_nbytes > 2) CHECK(old[old_nbytes / 2] == 7 || old_nbytes < 4);
    kg_free(old, old_nbytes);
}

static void *client(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    for (int i = 0; i < 20000; i++) {
        exchange(&seed);
        if (i % 4000 == 0) kg_memory_release();
        if (i % 3000 == 0) memset(kg_scratch(i % KG_SCRATCH_SLOTS, some_size(&seed)), 1, 1), stats();
    }
    return NULL;
}

static void check_threads(void) {
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, client, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < SLOTS; i++) kg_free(slots[i].at, slots[i].nbytes), slots[i].at = NULL;
    kg_memory_release();
    kg_memory_stats_t s = stats();
    CHECK(s.live_bytes == 0 && s.cached_bytes == 0);
    CHECK(kg_scratch_bytes() == 0); /* arenas end with their threads */
}

static void check_sizes(void) {
    for (size_t nbytes = 0; nbytes < 5000000; nbytes += 1 + nbytes / 7) {
        unsigned char *p = kg_alloc(nbytes), *q = kg_alloc(nbytes);
        CHECK(p && q && p != q && (size_t)p % 64 == 0 && (nbytes < 2 << 20 || (size_t)p % (2 << 20) == 0));
        memset(p, 1, nbytes), memset(q, 2, nbytes);
        CHECK(nbytes == 0 || (p[nbytes - 1] == 1 && q[nbytes - 1] == 2));
        kg_free(p, nbytes), kg_free(q, nbytes);
        CHECK(kg_alloc(nbytes) == q); /* the warmest block comes back first */
        kg_free(q, nbytes);
    }
    kg_free(NULL, 12);
    CHECK(kg_alloc((size_t)1 << 60) == NULL && kg_alloc((size_t)-1) == NULL);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    CHECK(kg_alloc((size_t)1 << 46) == NULL);
#endif
}

static void step(void **held, size_t n) { /* what a training step does: much is held at once, and then nothing */
    for (size_t i = 0; i < n; i++) held[i] = kg_alloc(i * i * 977 % 3000000);
    for (size_t i = 0; i < n; i++) kg_free(held[i], i * i * 977 % 3000000);
}

static void check_steady_state(void) {
    void *held[300];
    kg_memory_release();
    step(held, 300);
    kg_memory_stats_t before = stats();
    for (int i = 0; i < 5; i++) step(held, 300);
    CHECK(stats().misses == before.misses && stats().system_bytes == before.system_bytes);
}

static void check_bound(void) {
    const size_t large = (size_t)40 << 20;
    kg_memory_release();
    kg_memory_reset_peak();
    for (size_t nbytes = large; nbytes < 10 * large; nbytes += large) /* each a class of its own */
        kg_free(kg_alloc(nbytes), nbytes);
    CHECK(stats().system_bytes <= (int64_t)(9 * large + 9 * large / 2 + 1));
    kg_memory_set_cache_limit(0);
    CHECK(stats().cached_bytes < 100 << 10); /* what is in this thread's front */
    kg_free(kg_alloc(large), large);
    CHECK(stats().cached_bytes < 100 << 10);
    kg_memory_set_cache_limit(-1);
}

static void *leave_some(void *arg) {
    void **out = arg;
    *out = kg_alloc(1000);
    kg_free(kg_alloc(2000), 2000);
    return NULL;
}

static void check_thread_exit(void) {
    pthread_t t;
    void *block;
    kg_memory_release();
    int64_t live = stats().live_bytes;
    pthread_create(&t, NULL, leave_some, &block);
    pthread_join(t, NULL);
    CHECK(stats().live_bytes == live + 1024 && stats().cached_bytes > 0);
    kg_free(block, 1000);
    CHECK(stats().live_bytes == live);
}

static void *keep_allocating(void *stop) {
    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
        kg_free(kg_alloc(3 << 20), 3 << 20), kg_free(kg_alloc(64), 64);
    return NULL;
}

static void check_fork(void) { /* while another thread may hold the lock */
    bool stop = false;
    pthread_t t;
    pthread_create(&t, NULL, keep_allocating, &stop);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            for (size_t nbytes = 1; nbytes < 3000000; nbytes *= 3) kg_free(kg_alloc(nbytes), nbytes);
            stats();
            kg_memory_release();
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
}

static void report_speed(void) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    const int n = 5000000;
    for (int i = 0; i < n; i++) kg_free(kg_alloc(256), 256);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("alloc + free of 256 bytes: %.1f ns\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / n);
}

int main(int argc, char **argv) {
    (void)argv;
    for (int i = 0; i < SLOTS; i++) pthread_mutex_init(&slot_lock[i], NULL);
    check_threads();
    check_sizes();
    check_steady_state();
    check_bound();
    check_thread_exit();
    if (argc < 2) check_fork();
    report_speed();
    puts("ok");
}

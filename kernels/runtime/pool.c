/* A claim-based thread pool that costs a fair share, and no more, when other processes want the same cores.
 *
 * A job is (task, context, chunks). One atomic word holds the epoch (40 bits) and the chunks left to claim (24 bits).
 * Whoever is free, the caller included, claims a chunk by decrementing it; the caller then waits only for chunks that
 * were claimed, so a worker that never gets a core delays nobody. Which chunk a claim stands for: each thread has a
 * part of the chunks to itself, the same part in every job of that many chunks, so that it meets the data that its own
 * cache still holds; once its part is done it takes from the others'. There are as many claims as chunks, so whoever
 * has claimed finds one. Three rules carry the correctness:
 *   1. The job's fields change only while the word says "none left". A worker reads word, fields, and then claims by
 *      compare-and-swap; success proves that the fields belong to this epoch (as in a sequence lock).
 *   2. A worker reports its chunks in one addition when it finds none left. The epoch cannot advance before that.
 *   3. Each sleeper announces itself, looks again, then sleeps; each waker changes the state, then looks for sleepers.
 *      With sequentially consistent operations at least one of the two sees the other.
 */
#define _GNU_SOURCE
#include "runtime/pool.h"

#include "runtime/pages.h"
#include "runtime/threads.h"
#include "runtime/wait.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_WORKERS 255
#define LEFT_BITS 24
#define LEFT_MASK (((int64_t)1 << LEFT_BITS) - 1)

#define SPIN_US 50        /* a worker without work, a caller without answer; then they sleep */
#define CROWDED_SPIN_US 5 /* the same while another process wants our cores */
#define PREEMPTED_US 100  /* a spinning thread that saw no time pass for this long had lost its core */
#define CROWDED_US 20000  /* how long one such sighting is believed */
#define SERIAL_US 4       /* less work than this is not worth sharing; the hand-over takes 0.3 */
#define WAKE_US 60        /* less than this is not worth a wake-up: 10-20 us here, 20-90 us until the worker arrives */

struct worker {
    pthread_t thread;
    _Atomic int cpu; /* where it went to sleep */
};

struct part {
    _Alignas(64) _Atomic int64_t taken; /* chunks of this part, or more: those who come too late count, too */
};

static struct {
    _Alignas(64) _Atomic uint64_t word; /* epoch << LEFT_BITS | chunks left */
    _Atomic(kg_task *) task;
    _Atomic(void *) context;
    _Atomic int64_t chunks;
    _Atomic int parts;
    _Atomic int chunk_us;   /* what one chunk may take; for so long who has none left waits for the others' last */
    _Atomic bool from_last; /* each part from its last chunk to its first */
    _Atomic int caller_cpu;
    _Alignas(64) _Atomic uint32_t finished; /* chunks reported; the caller sleeps on it */
    _Atomic bool caller_sleeps;
    _Alignas(64) _Atomic uint32_t gate; /* workers sleep on it */
    _Atomic int sleeping, spinning;
    _Atomic int64_t crowded_until; /* us */
    _Atomic int64_t small_last;    /* a run of regions too small to wake anybody: when, and how much work so far */
    _Atomic int small_us;
    _Alignas(64) _Atomic bool taken; /* a caller owns the pool; also guards what follows */
    _Atomic int threads;             /* 0: not yet asked */
    _Atomic bool stop;
    int workers;
    struct worker worker[MAX_WORKERS];
    struct part part[MAX_WORKERS + 1]; /* the caller's, then those of the workers */
} pool;

static KG_THREAD_LOCAL bool inside; /* this thread runs a chunk, or is a worker */

static char why[128];
static pthread_mutex_t why_lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_us(void) { /* no system call: the kernel's shared page reads the time-stamp counter */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void pause_briefly(void) {
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
}

/* ---- Where threads run: known on Linux only ---- */

#if defined __linux__
static cpu_set_t allowed; /* where workers may run; guarded by pool.taken */

static void note_allowed(void) { sched_getaffinity(0, sizeof allowed, &allowed); }
static int current_cpu(void) { return sched_getcpu(); }

/* Some schedulers wake a worker on the waker's own core although others are idle (virtual machines that pack their
 * load, energy-aware ones), and it then waits there until the caller has done everything alone. */
static void keep_off(struct worker *worker, int cpu) {
    cpu_set_t cpus = allowed;
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &cpus);
    if (CPU_COUNT(&cpus)) pthread_setaffinity_np(worker->thread, sizeof cpus, &cpus);
    worker->cpu = -1;
}
#else
static void note_allowed(void) {}
static int current_cpu(void) { return -1; }
static void keep_off(struct worker *worker, int cpu) { (void)worker, (void)cpu; }
#endif

/* ---- Waiting: spin a little, watch the clock, notice when somebody else had our core ---- */

struct spin {
    int64_t started, last;
    int limit;
};

static struct spin spin_start(int expected_us) {
    int64_t now = now_us();
    return (struct spin){now, now, expected_us + (now < pool.crowded_until ? CROWDED_SPIN_US : SPIN_US)};
}

static bool spin_again(struct spin *spin) {
    for (int i = 0; i < 4; i++) pause_briefly(); /* with the clock some 0.1 us: half of it is what a chunk waits for */
    int64_t now = now_us(), gap = now - spin->last;
    if (gap > PREEMPTED_US) pool.crowded_until = now + CROWDED_US;
    spin->last = now;
    return gap <= PREEMPTED_US && now - spin->started < spin->limit;
}

/* ---- Working ---- */

static bool none_left(void) { return ((int64_t)pool.word & LEFT_MASK) == 0; }

/* For who has claimed: the next chunk of part `own`, or else of the first part after it that has one. */
static int64_t next_chunk(int own, int64_t chunks) {
    const int parts = pool.parts;
    for (int p = own < parts ? own : 0;; p = p + 1 < parts ? p + 1 : 0) {
        const int64_t first = chunks * p / parts, last = chunks * (p + 1) / parts - 1;
        if (pool.part[p].taken > last - first) continue;
        const int64_t i = atomic_fetch_add(&pool.part[p].taken, 1);
        if (i <= last - first) return pool.from_last ? last - i : first + i;
    }
}

static void work(int own) {
    int64_t done = 0, chunks = 0, left;
    uint64_t word = pool.word;
    while ((left = (int64_t)word & LEFT_MASK)) {
        kg_task *task = pool.task;
        void *context = pool.context;
        chunks = pool.chunks;
        if (!atomic_compare_exchange_weak(&pool.word, &word, word - 1)) continue;
        task(context, next_chunk(own, chunks));
        done++;
        word = pool.word;
    }
    if (done && atomic_fetch_add(&pool.finished, (uint32_t)done) + done == chunks && pool.caller_sleeps)
        wake(&pool.finished, 1);
}

static void *worker_main(void *self) {
    struct worker *worker = self;
    inside = true;
    while (!pool.stop) {
        work((int)(worker - pool.worker) + 1);
        bool found = false;
        int cpu = current_cpu();
        worker->cpu = cpu;
        if (cpu < 0 || cpu != pool.caller_cpu) { /* spinning on the caller's core would only delay the caller */
            pool.spinning++;
            struct spin spin = spin_start(pool.chunk_us < SPIN_US ? pool.chunk_us : SPIN_US);
            while (!(found = !none_left() || pool.stop) && spin_again(&spin)) {}
            pool.spinning--;
        }
        if (found) continue;
        uint32_t gate = pool.gate;
        pool.sleeping++;
        if (none_left() && !pool.stop) sleep_while(&pool.gate, gate);
        pool.sleeping--;
    }
    return NULL;
}

/* ---- How many threads ---- */

static int default_threads(void) {
    pthread_mutex_lock(&why_lock);
    int n = kg_default_threads(why, sizeof why);
    pthread_mutex_unlock(&why_lock);
    return n > MAX_WORKERS + 1 ? MAX_WORKERS + 1 : n;
}

int kg_threads(void) {
    int n = pool.threads;
    if (n == 0) pool.threads = n = default_threads();
    return n;
}

const char *kg_threads_why(void) {
    static KG_THREAD_LOCAL char copy[sizeof why];
    kg_threads();
    pthread_mutex_lock(&why_lock);
    memcpy(copy, why, sizeof why);
    pthread_mutex_unlock(&why_lock);
    return copy;
}

/* ---- Workers come and go ---- */

static void forget_everything(void) { /* in a forked child there are no workers, and nobody owns the pool */
    int threads = pool.threads;
    memset((void *)&pool, 0, sizeof pool);
    pool.threads = threads;
    pthread_mutex_init(&why_lock, NULL);
    forget_sleepers();
}

static void register_fork(void) { pthread_atfork(NULL, NULL, forget_everything); }

static void start_workers(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigset_t all, before;
    pthread_once(&once, register_fork);
    sigfillset(&all); /* signals belong to the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    note_allowed();
    for (; pool.workers < pool.threads - 1; pool.workers++) {
        struct worker *w = &pool.worker[pool.workers];
        w->cpu = -1;
        if (pthread_create(&w->thread, NULL, worker_main, w)) break;
        keep_off(w, pool.caller_cpu);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void kg_set_threads(int threads) {
    if (inside) return;
    int n = threads > 0 ? threads : default_threads();
    while (atomic_exchange(&pool.taken, true)) sched_yield();
    pool.stop = true;
    pool.gate++;
    wake(&pool.gate, MAX_WORKERS);
    while (pool.workers) pthread_join(pool.worker[--pool.workers].thread, NULL);
    pool.stop = false;
    pool.threads = n > MAX_WORKERS + 1 ? MAX_WORKERS + 1 : n;
    pool.taken = false;
    if (threads > 0) {
        pthread_mutex_lock(&why_lock);
        snprintf(why, sizeof why, "set_num_threads(%d)", threads);
        pthread_mutex_unlock(&why_lock);
    }
}

/* ---- The caller ---- */

static void wait_for_claimed(int64_t chunks) {
    struct spin spin = spin_start(pool.chunk_us);
    uint32_t finished;
    while ((finished = pool.finished) != (uint32_t)chunks) {
        if (spin_again(&spin)) continue;
        pool.crowded_until = now_us() + CROWDED_US; /* chunks are short: a worker has lost its core in one */
        pool.caller_sleeps = true;
        if (pool.finished == finished) sleep_while(&pool.finished, finished);
        pool.caller_sleeps = false;
    }
}

/* One region under WAKE_US does not pay for a wake-up, but a dense run of them does: then the worker stays awake. */
static bool worth_waking(double us) {
    if (us >= WAKE_US) return true;
    int64_t now = now_us();
    int so_far = now - pool.small_last < 4 * SPIN_US ? pool.small_us + (int)us : (int)us;
    pool.small_last = now;
    pool.small_us = so_far < 2 * WAKE_US ? so_far : 0;
    return so_far >= 2 * WAKE_US;
}

/* May this loop be shared? If so the pool is the caller's, and *wake_up says whether sleepers are worth a wake-up. */
static bool take_pool(int64_t chunks, double us, bool *wake_up) {
    if (chunks < 2 || us < SERIAL_US || chunks > LEFT_MASK || inside || kg_threads() == 1) return false;
    *wake_up = worth_waking(us);
    return (*wake_up || pool.spinning > 0) && !atomic_exchange(&pool.taken, true);
}

static void share(kg_task *task, void *context, int64_t chunks, double us, bool from_last) {
    bool wake_up;
    if (!take_pool(chunks, us, &wake_up)) {
        for (int64_t i = 0; i < chunks; i++) task(context, from_last ? chunks - 1 - i : i);
        return;
    }
    pool.caller_cpu = current_cpu();
    if (pool.workers < pool.threads - 1) start_workers();
    pool.task = task;
    pool.context = context;
    pool.chunks = chunks;
    pool.chunk_us = (int)(2 * us / (double)chunks); /* twice the estimate, which may be wrong */
    pool.parts = chunks <= pool.workers ? (int)chunks : pool.workers + 1;
    pool.from_last = from_last;
    for (int p = 0; p < pool.parts; p++) pool.part[p].taken = 0;
    pool.finished = 0;
    pool.word = ((pool.word >> LEFT_BITS) + 1) << LEFT_BITS | (uint64_t)chunks;

    int helpers = chunks - 1 < pool.workers ? (int)chunks - 1 : pool.workers;
    int missing = helpers - pool.spinning;
    if (wake_up && missing > 0 && pool.sleeping > 0) {
        for (int i = 0; i < pool.workers; i++)
            if (pool.worker[i].cpu == pool.caller_cpu) keep_off(&pool.worker[i], pool.caller_cpu);
        pool.gate++;
        wake(&pool.gate, missing);
    }
    inside = true;
    work(0);
    inside = false;
    wait_for_claimed(chunks);
    pool.taken = false;
}

void kg_parallel(kg_task *task, void *context, int64_t chunks, double us) { share(task, context, chunks, us, false); }

void kg_parallel_from_last(kg_task *task, void *context, int64_t chunks, double us) {
    share(task, context, chunks, us, true);
}

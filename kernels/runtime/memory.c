/* A caching allocator for arrays.
 *
 * Sizes are rounded up to classes: multiples of 64 bytes up to 512, then eighths of powers of two. The caller passes
 * the size back when it frees, so blocks have no headers. Freed blocks wait in two places: each thread's front, stacks
 * of blocks up to 64 KB that need no lock, and one locked pool of stacks for all sizes, which fronts fill from and
 * spill to. A block may be freed by any thread; it then waits in that thread's front.
 *
 * Counters: a front counts its own allocations and the net bytes it handed out, so the quick path has no shared writes;
 * the pool knows what came from the system. Cached is then system minus live.
 *
 * The default bound keeps live + cached within 1.5 times the peak of live (and allows 256 MB in any case): a training
 * step frees nearly all it held, and finds it again in the next. Beyond the bound, the class that has not been asked
 * for longest is returned to the system.
 */
#include "runtime/memory.h"

#include "runtime/pages.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Under AddressSanitizer the rest of a block beyond the bytes asked for is fenced off, so that an overrun shows. */
#if defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, nbytes) ((void)(p), (void)(nbytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, nbytes) ((void)(p), (void)(nbytes))
#endif

#define SMALL_CLASSES 64 /* up to 64 KB: 8 multiples of 64, then 7 octaves of 8 */
#define CLASSES (8 + (47 - 9) * 8)
#define MOST ((size_t)1 << 47)  /* more than an address space has */
#define FRONT_BYTES (512 << 10) /* what one class of one front may hold, */
#define FRONT_BLOCKS 256        /* and in how many blocks */
#define ALWAYS_ALLOWED ((int64_t)256 << 20)

struct block {
    struct block *next;
};

struct stack {
    struct block *top;
    int64_t count;
};

/* Only the owner writes a front's counters. Others read them, hence the relaxed atomics: plain moves. */
struct front {
    struct stack stacks[SMALL_CLASSES];
    _Atomic int64_t live, allocations;
    struct front *next;
};

static struct {
    pthread_mutex_t lock;
    struct stack stacks[CLASSES];
    int64_t last_used[CLASSES], clock;
    int64_t system, misses, peak, limit;
    int64_t live, allocations; /* of large blocks, and of threads that have ended */
    struct front *fronts;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = -1};

static KG_THREAD_LOCAL struct front *own;
static pthread_key_t at_exit;

/* ---- Size classes ---- */

static inline int class_of(size_t nbytes) {
    if (nbytes <= 512) return nbytes ? (int)((nbytes - 1) / 64) : 0;
    int octave = 63 - __builtin_clzll(nbytes - 1);
    return 8 + (octave - 9) * 8 + (int)((nbytes - 1) >> (octave - 3) & 7);
}

static inline size_t class_bytes(int class) {
    if (class < 8) return (size_t)(class + 1) * 64;
    return (size_t)((class & 7) + 9) << (class / 8 + 5); /* octave = class / 8 + 8; a step is 1/8 of 2^octave */
}

static inline int64_t front_limit(int class) { /* 256 blocks or 512 KB, whichever is less: 8 blocks of 64 KB */
    int64_t n = class < 8 ? FRONT_BLOCKS : FRONT_BYTES >> (class / 8 + 9);
    return n > FRONT_BLOCKS ? FRONT_BLOCKS : n;
}

/* ---- Stacks and counters ---- */

static inline void push(struct stack *s, void *p) {
    struct block *b = p;
    b->next = s->top;
    s->top = b;
    s->count++;
}

static inline void *pop(struct stack *s) {
    struct block *b = s->top;
    if (b) s->top = b->next, s->count--;
    return b;
}

static inline int64_t read_counter(const _Atomic int64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void count(_Atomic int64_t *counter, int64_t change) {
    atomic_store_explicit(counter, read_counter(counter) + change, memory_order_relaxed);
}

/* ---- Under the lock ---- */

static int64_t live_now(void) {
    int64_t live = pool.live;
    for (struct front *f = pool.fronts; f; f = f->next) live += read_counter(&f->live);
    if (live > pool.peak) pool.peak = live;
    return live;
}

static void return_to_system(int class, int64_t until) { /* blocks of one class, until the system bytes are that few */
    void *p;
    while (pool.system > until && (p = pop(&pool.stacks[class]))) {
        kg_pages_free(p, class_bytes(class));
        pool.system -= (int64_t)class_bytes(class);
    }
}

static void release_all(void) {
    for (int class = 0; class < CLASSES; class++) return_to_system(class, -1);
}

static void trim(void) {
    int64_t bound = pool.peak + pool.peak / 2;
    if (bound < ALWAYS_ALLOWED) bound = ALWAYS_ALLOWED;
    if (pool.limit >= 0) bound = live_now() + pool.limit;
    while (pool.system > bound) {
        int oldest = -1;
        for (int class = 0; class < CLASSES; class++)
            if (pool.stacks[class].top && (oldest < 0 || pool.last_used[class] < pool.last_used[oldest]))
                oldest = class;
        if (oldest < 0) return; /* the rest is in use, or in fronts */
        return_to_system(oldest, bound);
    }
}

static void spill(struct front *f, int class, int64_t keep) {
    while (f->stacks[class].count > keep) push(&pool.stacks[class], pop(&f->stacks[class]));
    pool.last_used[class] = ++pool.clock;
}

static void spill_all(struct front *f) {
    for (int class = 0; class < SMALL_CLASSES; class++)
        if (f->stacks[class].top) spill(f, class, 0);
}

static void *take(int class) { /* from the pool, or else the system */
    pool.last_used[class] = ++pool.clock;
    void *p = pop(&pool.stacks[class]);
    if (p) return p;
    size_t nbytes = class_bytes(class);
    if (!(p = kg_pages_alloc(nbytes))) {
        if (own) spill_all(own);
        release_all();
        if (!(p = kg_pages_alloc(nbytes))) return NULL;
    }
    pool.misses++;
    pool.system += (int64_t)nbytes;
    return p;
}

/* ---- Threads begin, end and fork ---- */

static void end_front(void *ended) {
    struct front *f = ended;
    pthread_mutex_lock(&pool.lock);
    spill_all(f);
    pool.live += read_counter(&f->live);
    pool.allocations += read_counter(&f->allocations);
    struct front **at = &pool.fronts;
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    trim();
    pthread_mutex_unlock(&pool.lock);
    own = NULL; /* a later destructor that still frees arrays begins a new front, and this runs again */
    free(f);
}

static void before_fork(void) { pthread_mutex_lock(&pool.lock); }
static void after_fork(void) { pthread_mutex_unlock(&pool.lock); }
static void
after_fork_in_child(void) { /* other threads are gone; what waited in their fronts is lost, their arrays live on */
    struct front *next;
    pthread_mutex_init(&pool.lock, NULL);
    for (struct front *f = pool.fronts; f; f = next) {
        next = f->next;
        if (f == own) continue;
        pool.live += read_counter(&f->live);
        pool.allocations += read_counter(&f->allocations);
    }
    pool.fronts = own;
    if (own) own->next = NULL;
}

static void set_up(void) {
    pthread_key_create(&at_exit, end_front);
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static bool begin_front(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
    struct front *f = calloc(1, sizeof *f);
    if (!f) return false;
    pthread_mutex_lock(&pool.lock);
    f->next = pool.fronts;
    pool.fronts = f;
    pthread_mutex_unlock(&pool.lock);
    own = f;
    pthread_setspecific(at_exit, f);
    return true;
}

/* ---- The slow halves of kg_alloc and kg_free ---- */

static __attribute__((noinline)) void *alloc_slowly(int class) {
    int64_t nbytes = (int64_t)class_bytes(class);
    bool small = class < SMALL_CLASSES;
    if (!own && !begin_front()) return NULL;
    pthread_mutex_lock(&pool.lock);
    void *p = take(class), *more;
    if (p && small) { /* fill half of the front from what is there */
        for (int64_t n = front_limit(class) / 2; n > 1 && (more = pop(&pool.stacks[class])); n--)
            push(&own->stacks[class], more);
        count(&own->live, nbytes);
        count(&own->allocations, 1);
    } else if (p)
        pool.live += nbytes, pool.allocations++;
    live_now(); /* notes the peak */
    pthread_mutex_unlock(&pool.lock);
    return p;
}

static __attribute__((noinline)) void free_slowly(void *p, int class) {
    bool front = own || begin_front();
    pthread_mutex_lock(&pool.lock);
    live_now(); /* before it falls */
    if (class < SMALL_CLASSES && front) {
        count(&own->live, -(int64_t)class_bytes(class));
        push(&own->stacks[class], p);
        if (own->stacks[class].count > front_limit(class)) spill(own, class, front_limit(class) / 2);
    } else {
        pool.live -= (int64_t)class_bytes(class);
        pool.last_used[class] = ++pool.clock;
        push(&pool.stacks[class], p);
    }
    trim();
    pthread_mutex_unlock(&pool.lock);
}

/* ---- The interface ---- */

static inline void *fenced(void *p, size_t nbytes, int class) {
    if (p) ASAN_POISON_MEMORY_REGION((char *)p + nbytes, class_bytes(class) - nbytes);
    return p;
}

void *kg_alloc(size_t nbytes) {
    if (nbytes > MOST) return NULL;
    int class = class_of(nbytes);
    struct front *f = own;
    if (f && class < SMALL_CLASSES) {
        void *p = pop(&f->stacks[class]);
        if (p) {
            count(&f->live, (int64_t)class_bytes(class));
            count(&f->allocations, 1);
            return fenced(p, nbytes, class);
        }
    }
    return fenced(alloc_slowly(class), nbytes, class);
}

void kg_free(void *p, size_t nbytes) {
    if (!p) return;
    int class = class_of(nbytes);
    struct front *f = own;
    ASAN_UNPOISON_MEMORY_REGION(p, class_bytes(class));
    if (f && class < SMALL_CLASSES && f->stacks[class].count < front_limit(class)) {
        count(&f->live, -(int64_t)class_bytes(class));
        push(&f->stacks[class], p);
    } else
        free_slowly(p, class);
}

void kg_memory_release(void) {
    pthread_mutex_lock(&pool.lock);
    if (own) spill_all(own);
    release_all();
    pthread_mutex_unlock(&pool.lock);
}

void kg_memory_set_cache_limit(int64_t nbytes) {
    pthread_mutex_lock(&pool.lock);
    pool.limit = nbytes;
    trim();
    pthread_mutex_unlock(&pool.lock);
}

void kg_memory_reset_peak(void) {
    pthread_mutex_lock(&pool.lock);
    pool.peak = 0;
    live_now();
    pthread_mutex_unlock(&pool.lock);
}

void kg_memory_stats(kg_memory_stats_t *out) {
    pthread_mutex_lock(&pool.lock);
    int64_t live = live_now(), allocations = pool.allocations;
    for (struct front *f = pool.fronts; f; f = f->next) allocations += read_counter(&f->allocations);
    *out =
        (kg_memory_stats_t){live, pool.system - live, pool.peak, pool.system, allocations - pool.misses, pool.misses};
    pthread_mutex_unlock(&pool.lock);
}

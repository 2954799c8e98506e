/* Sleep while a word has a value, and wake those who sleep on it: a futex on Linux, one condition variable elsewhere.
 * For pool.c only. */
#ifndef KG_WAIT_H
#define KG_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#if defined __linux__ && !defined KG_NO_FUTEX
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static inline void wake(_Atomic uint32_t *word, int sleepers) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, sleepers, NULL, NULL, 0);
}
static inline void forget_sleepers(void) {}

#else
#include <pthread.h>

static pthread_mutex_t wait_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wait_changed = PTHREAD_COND_INITIALIZER;

static inline void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    pthread_mutex_lock(&wait_lock);
    while (*word == value) pthread_cond_wait(&wait_changed, &wait_lock);
    pthread_mutex_unlock(&wait_lock);
}
static inline void wake(_Atomic uint32_t *word, int sleepers) {
    (void)word, (void)sleepers; /* all look again: words are few and sleepers, too */
    pthread_mutex_lock(&wait_lock);
    pthread_cond_broadcast(&wait_changed);
    pthread_mutex_unlock(&wait_lock);
}
static inline void forget_sleepers(void) { /* in a forked child: whoever held the lock is not here to release it */
    pthread_mutex_init(&wait_lock, NULL);
    pthread_cond_init(&wait_changed, NULL);
}
#endif

#endif

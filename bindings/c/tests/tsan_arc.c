/*
 * Linked in place of __tsan_atomic64_fetch_sub (ld --wrap) where the Rust standard library was not built for ThreadSanitizer.
 *
 * The last owner of an Arc counts down with a release and then passes a fence, which orders it behind all owners before it.
 * ThreadSanitizer does not understand fences; a standard library that is built for it loads the count in place of the fence. Here the
 * counting down itself acquires: the same order, on the same count, seen. Without it each Arc that changed hands is reported when it
 * is freed. What this hides is alone a missing acquire behind a `fetch_sub` of ours.
 */
#include <stdint.h>

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t value, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t value, int order);

uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at, uint64_t value, int order) {
    return __real___tsan_atomic64_fetch_sub(at, value, order == __ATOMIC_RELEASE ? __ATOMIC_ACQ_REL : order);
}

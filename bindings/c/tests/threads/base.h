/* How many of what there are, checks that end the program, and counters. A part of threads.c. */

enum {
    LAMP_READERS = 3,
    HOST_READERS = 2,
    BULB_READERS = 3,
    READERS = LAMP_READERS + HOST_READERS + BULB_READERS,
    STABLE = 160,  /* lamps from 0 on, whose firmware is the rule's */
    STAGED = 180,  /* up to here those of a rollout that comes and goes */
    BLOCKED = 200, /* up to here; strangers beyond */
    FAILING = 240, /* the host's store fails at this one, by that code */
    BULBS = 48,
    SLOTS = 10,
    STRANGERS_MAX = 40, /* how many bulbs may be new */
    PASSES_MAX = 2000,  /* a round takes some ten passes of each reader */
    BATCH = 24,
    SHELVES = 3
};
static const int64_t NOW = 1795428000000; /* 2026-11-23T10:00:00Z */
static const int64_t ROUND = 7200000;     /* longer than leases and claims, which so never reach into the next round */

static void fail(const char *file, int line, const char *format, ...) {
    char words[512];
    va_list list;
    otagate_last_error(words, sizeof words);
    va_start(list, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, list);
    fprintf(stderr, "; this thread's last error: %s\n", words);
    va_end(list);
    _Exit(1);
}
#define CHECK(condition, ...) ((condition) ? (void)0 : fail(__FILE__, __LINE__, __VA_ARGS__))
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int32_t code_ = (call);                                                                                        \
        CHECK(code_ == OTAGATE_OK, "%s: %s", #call, otagate_code_name(code_));                                         \
    } while (0)

/* Counters and marks. Relaxed: what orders threads here would hide from ThreadSanitizer what the library fails to order. */
static uint64_t look(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
static void add(uint64_t *to, uint64_t count) { __atomic_fetch_add(to, count, __ATOMIC_RELAXED); }
/* Where one must be seen before the other. */
static uint64_t see(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
static void say(uint64_t *to, uint64_t value) { __atomic_store_n(to, value, __ATOMIC_SEQ_CST); }

static uint64_t stop, decisions, applies, reloads, replaces, forced, clones, refusals;

static uint32_t draw(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/*
 * Everything at once: eight readers and one writer, over a fleet, over a store of callbacks, and over a fleet whose rollouts one
 * ledger counts, while handles are cloned, passed from thread to thread and freed in any order.
 *
 *     threads SECONDS FOLDER              checks every answer; ends with counters, or at the first answer that cannot be
 *     threads planted-race FOLDER         two threads at one decision, which the library writes: what ThreadSanitizer must report
 *     threads planted-text-race FOLDER    one reads a text while the other decides on with its reader: for AddressSanitizer
 *
 *   writer --> lamps: revision r means version_at(r), whatever else happens    <-- 3 readers, one with batches
 *     |   \--> host:  the same rule, behind callbacks                          <-- 2 readers
 *     \------> bulbs: a first-come rollout of SLOTS slots, round after round   <-- 3 readers with one ledger, who also move it on
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <otagate.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* In the order in which each needs what stands above it. */
#include "threads/base.h"     /* how many of what there are, checks, counters */
#include "threads/meant.h"    /* the rule, and the fleets by it */
#include "threads/answers.h"  /* what may be told */
#include "threads/handles.h"  /* which go from thread to thread */
#include "threads/lamps.h"    /* readers of a fleet */
#include "threads/host.h"     /* a store of callbacks, and its readers */
#include "threads/bulbs.h"    /* readers with one ledger */
#include "threads/writer.h"

static void check_verdicts(const otagate_fleet *fleet, const uint64_t *counted) {
    uint64_t counts[OTAGATE_REASONS_MAX];
    int reason;
    OK(otagate_fleet_verdicts(fleet, NULL, 0, counts, OTAGATE_REASONS_MAX));
    for (reason = 0; reason < OTAGATE_REASONS_MAX; reason++) {
        CHECK(counts[reason] == look(&counted[reason]), "%s was given %" PRIu64 " times, and counted %" PRIu64,
              otagate_reason_name(reason), look(&counted[reason]), counts[reason]);
    }
}

static void make_world(const char *folder) {
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    struct text text = {NULL, 0, 0};
    int at;
    write_lamps(folder);
    put_lamps(&text, 1);
    OK(otagate_fleet_new(text.at, text.len, &lamps));
    text.len = 0;
    put_bulbs(&text);
    OK(otagate_fleet_new(text.at, text.len, &bulbs));
    free(text.at);
    OK(otagate_ledger_new(BULBS / 2, &ledger)); /* too small for all, so that leases are refused */
    host_alive = calloc(1, sizeof *host_alive);
    CHECK(host_alive != NULL && pthread_mutex_init(&host_alive->lock, NULL) == 0, "no host");
    host_alive->revision = 1;
    callbacks.user_data = host_alive;
    callbacks.destroy = host_destroy;
    callbacks.open_view = host_open;
    callbacks.close_view = host_close;
    callbacks.product_of_key = host_product;
    callbacks.device = host_device;
    callbacks.group = host_group;
    callbacks.register_device = host_register;
    OK(otagate_store_new(&callbacks, &store));
    say(&published, 1);
    say(&announced, 1);
    for (at = 0; at < SHELVES; at++) {
        shelves[LAMPS][at] = another(LAMPS, lamps);
        shelves[BULBS_FLEET][at] = another(BULBS_FLEET, bulbs);
        shelves[STORES][at] = another(STORES, store);
        shelves[LEDGERS][at] = another(LEDGERS, ledger);
        shelves[LAMP_READER][at] = another(LAMP_READER, lamps);
        shelves[HOST_READER][at] = another(HOST_READER, store);
    }
}

static int run(double secs, const char *folder) {
    pthread_t threads[READERS + 1];
    otagate_fleet *count_lamps = NULL, *count_bulbs = NULL;
    int at, kind;
    duration = secs;
    make_world(folder);
    OK(otagate_fleet_clone(lamps, &count_lamps));
    OK(otagate_fleet_clone(bulbs, &count_bulbs));
    CHECK(pthread_barrier_init(&started, NULL, READERS + 2) == 0, "no barrier");
    for (at = 0; at <= READERS; at++) {
        void *(*body)(void *) = at < LAMP_READERS                  ? read_lamps
                                : at < LAMP_READERS + HOST_READERS ? read_host
                                : at < READERS                     ? read_bulbs
                                                                   : write_all;
        CHECK(pthread_create(&threads[at], NULL, body, (void *)(intptr_t)at) == 0, "no thread");
    }
    pthread_barrier_wait(&started);
    /* The handles that everything was made from go first, while all threads are under way. */
    otagate_fleet_free(lamps);
    otagate_fleet_free(bulbs);
    otagate_store_free(store);
    otagate_ledger_free(ledger);
    for (at = 0; at <= READERS; at++) {
        pthread_join(threads[at], NULL);
    }
    pthread_barrier_destroy(&started);
    CHECK(look(&destroyed) == 0, "the store was destroyed while readers of it lay on the shelves");
    for (kind = 0; kind < KINDS; kind++) {
        for (at = 0; at < SHELVES; at++) {
            free_handle(kind, shelves[kind][at]);
        }
    }
    CHECK(look(&destroyed) == 1, "the store was destroyed %d times", (int)look(&destroyed));
    CHECK(views_opened == views_closed && views_opened > 0, "%d views opened, %d closed", (int)views_opened, (int)views_closed);
    CHECK(look(&newcomers) == (look(&strangers) < STRANGERS_MAX ? look(&strangers) : STRANGERS_MAX), "%d bulbs were registered",
          (int)look(&newcomers));
    CHECK(look(&grants) == SLOTS * look(&rounds), "%d slots given in %d rounds", (int)look(&grants), (int)look(&rounds));
    check_verdicts(count_lamps, given);
    check_verdicts(count_bulbs, given_bulbs);
    otagate_fleet_free(count_lamps);
    otagate_fleet_free(count_bulbs);
    printf("decisions %" PRIu64 ", applies %" PRIu64 ", reloads %" PRIu64 ", replaces %" PRIu64 " (%" PRIu64 " back), clones %" PRIu64
           ", refusals %" PRIu64 ", rounds %" PRIu64 ", slots %" PRIu64 ", registered %" PRIu64 "\n",
           decisions, applies, reloads, replaces, forced, clones, refusals, rounds, grants, newcomers);
    return 0;
}

/* What a sanitizer must report. */

static otagate_decision mirror; /* two threads' at once: the fault */
static otagate_reader *shared_reader;

static uint32_t shared_seed = 1;

static void decide_once(void) {
    struct ask ask;
    draw_ask(&ask, &shared_seed);
    OK(otagate_reader_decide(shared_reader, &ask.check_in, NOW, &mirror));
}

static void *decide_into_mirror(void *argument) {
    int turn;
    for (turn = 0; turn < *(const int *)argument; turn++) {
        decide_once();
    }
    add(&stop, 1);
    return NULL;
}

static int planted(const char *folder, int of_text) {
    pthread_t thread;
    uint64_t sum = 0;
    int turns = of_text ? 100 : 50000, turn;
    const volatile char *meant = NULL; /* dies with the next decision */
    make_world(folder);
    if (of_text) {
        OK(otagate_reader_new_of_store(store, &shared_reader));
    } else {
        OK(otagate_reader_new(lamps, &shared_reader));
    }
    mirror = otagate_decision_init();
    for (turn = 0; of_text && meant == NULL && turn < 10000; turn++) {
        decide_once();
        meant = mirror.meant.data;
    }
    CHECK(!of_text || meant != NULL, "nobody is meant anything");
    CHECK(pthread_create(&thread, NULL, decide_into_mirror, &turns) == 0, "no thread");
    while (look(&stop) == 0) {
        if (of_text) {
            sched_yield(); /* the other has decided before the text is read: not by chance */
        } else {
            sum += mirror.revision; /* nothing in C writes it, only the library does */
        }
    }
    if (of_text) {
        sum += (uint64_t)*meant;
    }
    pthread_join(thread, NULL);
    printf("%" PRIu64 ", and nobody saw the race\n", sum);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "planted-race") == 0) {
        return planted(argv[2], 0);
    }
    if (argc == 3 && strcmp(argv[1], "planted-text-race") == 0) {
        return planted(argv[2], 1);
    }
    if (argc != 3 || atof(argv[1]) <= 0) {
        fprintf(stderr, "usage: threads SECONDS|planted-race|planted-text-race FOLDER\n");
        return 2;
    }
    return run(atof(argv[1]), argv[2]);
}

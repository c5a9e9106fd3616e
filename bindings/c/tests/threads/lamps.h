/* Readers of the lamps, a fleet in memory. A part of threads.c. */

static uint64_t published, announced, era; /* the era is odd while the revision may go back */
static uint64_t given[OTAGATE_REASONS_MAX]; /* by the lamps, to be compared with what the fleet counted */

static otagate_fleet *lamps, *bulbs; /* until every thread has its own */
static otagate_store *store;
static otagate_ledger *ledger;
static pthread_barrier_t started;

struct seen {
    uint64_t last, back;
};

static void check_order(struct seen *seen, uint64_t revision) {
    seen->back += revision < seen->last;
    seen->last = revision;
    CHECK(seen->back <= look(&forced), "the revision went back %d times", (int)seen->back);
}

static void decide_many(otagate_reader *reader, struct seen *seen, uint32_t *seed) {
    struct ask asks[BATCH];
    otagate_check_in check_ins[BATCH];
    otagate_decision made[BATCH];
    int at;
    for (at = 0; at < BATCH; at++) {
        draw_ask(&asks[at], seed);
        check_ins[at] = asks[at].check_in;
        made[at] = otagate_decision_init();
    }
    OK(otagate_reader_decide_many(reader, check_ins, NOW, made, BATCH));
    for (at = 0; at < BATCH; at++) {
        check_decision(&asks[at], &made[at]);
        CHECK(made[at].revision == made[0].revision, "a batch of two revisions");
        add(&given[made[at].reason], 1);
    }
    check_order(seen, made[0].revision);
}

static void *read_lamps(void *argument) {
    const int me = (int)(intptr_t)argument, watches = me == 0;
    uint32_t seed = 77u * (uint32_t)me + 1;
    otagate_fleet *mine = NULL;
    otagate_reader *reader = NULL;
    struct seen seen = {0, 0};
    uint64_t turn;
    OK(otagate_fleet_clone(lamps, &mine));
    OK(otagate_reader_new(mine, &reader));
    pthread_barrier_wait(&started);
    for (turn = 1; look(&stop) == 0; turn++) {
        struct ask ask;
        otagate_decision decision = otagate_decision_init();
        uint64_t before = 0, low = 0;
        draw_ask(&ask, &seed);
        if (watches) {
            before = see(&era);
            low = see(&published);
        }
        OK(otagate_reader_decide(reader, &ask.check_in, NOW, &decision));
        /* One of them also compares with what the writer has published, and is about to; the others let nobody order them. */
        if (watches) {
            const uint64_t high = see(&announced);
            CHECK(see(&era) != before || before % 2 != 0 || (low <= decision.revision && decision.revision <= high),
                  "revision %" PRIu64 " is not in %" PRIu64 " to %" PRIu64, decision.revision, low, high);
        }
        add(&given[decision.reason], 1);
        check_order(&seen, decision.revision);
        check_decision(&ask, &decision);
        check_parts(reader, &ask, &decision, &seed);
        if (me == 1 && turn % 16 == 0) {
            decide_many(reader, &seen, &seed);
        }
        if (turn % 64 == 0) {
            check_explanation(reader, NULL, &ask.check_in, turn % 128 == 0 ? OTAGATE_FORMAT_TEXT : OTAGATE_FORMAT_JSON);
            check_own_error(reader, &ask.check_in, me);
        }
        if (turn % 256 == 0) {
            mine = trade(LAMPS, mine, &seed);
            reader = trade_reader(LAMP_READER, reader, mine, &seed);
        }
        if (turn % 2048 == 0) {
            uint64_t counts[OTAGATE_REASONS_MAX];
            otagate_string *told = NULL;
            OK(otagate_fleet_verdicts(mine, "lamp", 4, counts, OTAGATE_REASONS_MAX));
            OK(otagate_fleet_verdicts_json(mine, &told));
            otagate_string_free(told);
            OK(otagate_fleet_to_json(mine, &told));
            CHECK(strstr(otagate_string_data(told), "lamp-0") != NULL, "a fleet without its first lamp");
            otagate_string_free(told);
        }
    }
    /* Some let the fleet go first, some the reader. */
    if (me % 2 == 0) {
        otagate_fleet_free(mine);
        otagate_reader_free(reader);
    } else {
        otagate_reader_free(reader);
        otagate_fleet_free(mine);
    }
    return NULL;
}

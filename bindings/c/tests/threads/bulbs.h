/* Rounds of first-come slots, counted by one ledger. A part of threads.c. */

static uint64_t round_now, finished; /* how many readers are through with it */
static uint64_t granted_in[BULBS];   /* the round in which each bulb was granted a slot last, from 1 */
static uint64_t slots_given, opened_waves, completed, newcomers, grants, rounds, strangers;
static uint64_t given_bulbs[OTAGATE_REASONS_MAX];

struct bulbs {
    otagate_fleet *fleet;
    otagate_ledger *ledger;
    otagate_reader *reader;
    uint32_t seed;
    int me;
};

static otagate_decision attend(struct bulbs *with, const char *serial, const char *version, int64_t now) {
    otagate_check_in check_in = otagate_check_in_init();
    otagate_decision decision = otagate_decision_init();
    check_in.key = otagate_text_of(KEY);
    check_in.serial = otagate_text_of(serial);
    check_in.version = otagate_text_of(version);
    OK(otagate_reader_attend(with->reader, with->ledger, &check_in, 600, now, &decision));
    add(&decisions, 1);
    add(&given_bulbs[decision.reason], 1);
    if (draw(&with->seed, 32) == 0) {
        check_explanation(with->reader, with->ledger, &check_in, OTAGATE_FORMAT_JSON);
    }
    return decision;
}

/* The last byte is sent: told twice it counts once. */
static void send_bulb(struct bulbs *with, int64_t now) {
    otagate_after *after = NULL;
    int32_t noted = 0;
    OK(otagate_reader_after(with->reader, &after));
    CHECK(after != NULL, "nothing is left to do about an offer");
    OK(otagate_after_answer(after, now));
    OK(otagate_after_last_byte(after, 60, now, &noted));
    CHECK(noted == OTAGATE_NOTED_MOVED || noted == OTAGATE_NOTED_KNOWN, "an offer of ours is foreign: %d", noted);
    OK(otagate_after_last_byte(after, 60, now, &noted));
    CHECK(noted == OTAGATE_NOTED_FOREIGN, "what was done once is done again: %d", noted);
    otagate_after_free(after);
}

/* The back end says that it is healthy; other threads may say so of the same bulb, or offer it anew. */
static void confirm_bulb(struct bulbs *with, const char *serial, int64_t now) {
    otagate_report report = otagate_report_init();
    int32_t noted = 0;
    report.product = otagate_text_of("bulb");
    report.serial = otagate_text_of(serial);
    report.outcome = OTAGATE_OUTCOME_CONFIRMED;
    OK(otagate_fleet_report(with->fleet, with->ledger, &report, now, &noted));
    CHECK(noted == OTAGATE_NOTED_MOVED || noted == OTAGATE_NOTED_KNOWN, "a bulb of this round is foreign: %d", noted);
}

/* One bulb checks in. Whoever is granted a slot of this round is counted once, whichever thread was told. */
static void attend_bulb(struct bulbs *with, int bulb, uint64_t round) {
    const int64_t now = NOW + ROUND * (int64_t)round;
    const char *base = VERSIONS[(round + 1) % 2], *target = VERSIONS[round % 2];
    const int arrived = see(&granted_in[bulb]) == round;
    char serial[32], rollout[32];
    otagate_decision decision;
    otagate_offer offer = otagate_offer_init();
    otagate_effect effect = otagate_effect_init();
    otagate_who who = otagate_who_init();
    snprintf(serial, sizeof serial, "bulb-%d", bulb);
    snprintf(rollout, sizeof rollout, "r%" PRIu64, round);
    decision = attend(with, serial, arrived ? target : base, now);
    CHECK(decision.status == 200 || decision.status == 304, "%s for %s", otagate_reason_name(decision.reason), serial);
    OK(otagate_reader_who(with->reader, &who));
    CHECK(is(who.product, "bulb") && is(who.serial, serial) && is(who.group, "canary"), "a decision about somebody else");
    if (arrived) {
        CHECK(decision.reason == OTAGATE_REASON_CURRENT, "%s for %s, which has arrived", otagate_reason_name(decision.reason), serial);
    }
    if (decision.status == 200) {
        OK(otagate_reader_offer(with->reader, &offer));
        CHECK(is(offer.firmware, target), "another firmware than the target of round %" PRIu64, round);
        if (decision.effect == OTAGATE_EFFECT_CLAIM) {
            OK(otagate_reader_effect(with->reader, &effect));
            CHECK(effect.settled == 1, "a claim that is not settled");
        }
        /* Once the rollout has completed the target is meant for all, on nobody's account. */
        if (offer.rollout.len > 0) {
            CHECK(is(offer.rollout, rollout) && offer.attempt > 0, "a slot of another rollout than %s", rollout);
            if (__atomic_exchange_n(&granted_in[bulb], round, __ATOMIC_SEQ_CST) != round) {
                add(&slots_given, 1);
                add(&grants, 1);
            }
            send_bulb(with, now);
        }
    } else if (arrived && draw(&with->seed, 4) == 0) {
        confirm_bulb(with, serial, now);
    }
    do_after(BULB_AFTER, with->reader, now, &with->seed);
}

/* A stranger is registered after its answer, as long as there is room for one. */
static void attend_stranger(struct bulbs *with, uint64_t round) {
    const int64_t now = NOW + ROUND * (int64_t)round;
    char serial[64];
    otagate_after *after = NULL;
    otagate_decision decision;
    snprintf(serial, sizeof serial, "stranger-%d-%" PRIu64, with->me, round);
    add(&strangers, 1);
    decision = attend(with, serial, "1.0.0", now);
    CHECK(decision.reason == OTAGATE_REASON_DEVICE_UNKNOWN && decision.effect == OTAGATE_EFFECT_REGISTER, "a stranger is known");
    OK(otagate_reader_after(with->reader, &after));
    OK(otagate_after_answer(after, now));
    otagate_after_free(after);
    decision = attend(with, serial, "1.0.0", now);
    CHECK(decision.status == 401, "a stranger is told %d", decision.status);
    if (decision.reason == OTAGATE_REASON_DEVICE_NEW) {
        add(&newcomers, 1);
    }
}

static void advance(struct bulbs *with, uint64_t round) {
    otagate_string *moved = NULL;
    const char *outcome, *kind;
    OK(otagate_fleet_advance(with->fleet, with->ledger, NOW + ROUND * (int64_t)round, OTAGATE_FORMAT_JSON, &moved));
    /* Each step that was due has one outcome and one kind; a call may open the wave and, if it was slow, complete as well. */
    outcome = kind = otagate_string_data(moved);
    while ((outcome = strstr(outcome, "\"outcome\":\"")) != NULL && (kind = strstr(kind, "\"kind\":\"")) != NULL) {
        outcome += strlen("\"outcome\":\"");
        kind += strlen("\"kind\":\"");
        if (strncmp(outcome, "done", 4) == 0) {
            add(strncmp(kind, "open-wave", 9) == 0 ? &opened_waves : &completed, 1);
        }
    }
    otagate_string_free(moved);
}

/* For whoever reads that a round does not end: what the two books say. */
static void show_round(struct bulbs *with, uint64_t round) {
    otagate_string *rows = NULL, *statistics = NULL, *fleet = NULL, *moved = NULL;
    const char *rollout;
    OK(otagate_ledger_to_json(with->ledger, &rows));
    OK(otagate_ledger_statistics(with->ledger, with->fleet, "bulb", 4, "canary", 6, &statistics));
    OK(otagate_fleet_to_json(with->fleet, &fleet));
    OK(otagate_fleet_advance(with->fleet, with->ledger, NOW + ROUND * (int64_t)round, OTAGATE_FORMAT_JSON, &moved));
    rollout = strstr(otagate_string_data(fleet), "\"rollout\":{");
    fprintf(stderr, "%s\n%s\nmoved %s\n%.600s\n", otagate_string_data(rows), otagate_string_data(statistics), otagate_string_data(moved),
            rollout == NULL ? "no rollout" : rollout);
    CHECK(0, "round %" PRIu64 " does not end", round);
}

static void *read_bulbs(void *argument) {
    struct bulbs with = {NULL, NULL, NULL, 0, 0};
    uint64_t done = 0;
    with.me = (int)(intptr_t)argument;
    with.seed = 77u * (uint32_t)with.me + 1;
    OK(otagate_fleet_clone(bulbs, &with.fleet));
    OK(otagate_ledger_clone(ledger, &with.ledger));
    OK(otagate_reader_new(with.fleet, &with.reader));
    pthread_barrier_wait(&started);
    while (look(&stop) == 0) {
        const uint64_t round = see(&round_now);
        int passes_left = -1, passes = 0, bulb;
        if (round == done) {
            sched_yield();
            continue;
        }
        attend_stranger(&with, round);
        /* Until the rollout has completed, and once more: no slot is given after that. */
        while (passes_left != 0) {
            const int first = (int)draw(&with.seed, BULBS);
            if (passes_left < 0 && see(&completed) == round) {
                passes_left = 2;
            }
            for (bulb = 0; bulb < BULBS; bulb++) {
                attend_bulb(&with, (first + bulb) % BULBS, round);
            }
            advance(&with, round);
            passes_left -= passes_left > 0;
            if (++passes == PASSES_MAX) {
                show_round(&with, round);
            }
        }
        with.ledger = trade(LEDGERS, with.ledger, &with.seed);
        with.fleet = trade(BULBS_FLEET, with.fleet, &with.seed);
        otagate_reader_free(with.reader);
        OK(otagate_reader_new(with.fleet, &with.reader));
        done = round;
        __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    }
    otagate_ledger_free(with.ledger);
    otagate_fleet_free(with.fleet);
    otagate_reader_free(with.reader);
    return NULL;
}

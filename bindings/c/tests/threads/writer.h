/* The one writer. A part of threads.c. */

static uint64_t apply(const otagate_fleet *fleet, const char *changes) {
    uint64_t revision = 0;
    OK(otagate_fleet_apply(fleet, changes, strlen(changes), &revision));
    add(&applies, 1);
    return revision;
}

/* Takes the lamps from `held` to `next`; what is assigned changes where the rule says so. */
static void step_lamps(otagate_fleet *fleet, uint64_t held, uint64_t next, uint64_t turn, char *buffer, size_t capacity) {
    const int version = version_at(next);
    uint64_t revision = 0;
    int32_t registered = 0;
    otagate_string *notes = NULL;
    say(&announced, next);
    if (next % 2 == 0) {
        snprintf(buffer, capacity,
                 "[{\"change\":\"assign-firmware\",\"product\":\"lamp\",\"group\":\"stable\",\"firmware\":\"%s\"},"
                 "{\"change\":\"assign-config\",\"product\":\"lamp\",\"group\":\"stable\","
                 "\"config\":{\"document\":\"{\\\"is\\\":\\\"%s\\\"}\"}}]",
                 VERSIONS[version], VERSIONS[version]);
        revision = apply(fleet, buffer);
    } else {
        /* From a replacement to the next: what each step needs, the steps before it have made. */
        switch (turn % 7) {
        case 0: {
            otagate_device two[2];
            int at;
            for (at = 0; at < 2; at++) {
                two[at] = otagate_device_init();
                two[at].serial = otagate_text_of(at == 0 ? "guest-1" : "guest-2");
                two[at].group = otagate_text_of("stable");
                two[at].state = OTAGATE_DEVICE_VERIFIED;
            }
            OK(otagate_fleet_add_devices(fleet, "lamp", 4, two, 2, &revision));
            add(&applies, 1);
            break;
        }
        case 1:
            OK(otagate_fleet_register(fleet, "lamp", 4, "newcomer", 8, NOW, &registered));
            CHECK(registered == OTAGATE_REGISTERED_NEW, "the newcomer is %d", registered);
            add(&applies, 1);
            break;
        case 2:
            OK(otagate_fleet_reload(fleet, files[version], strlen(files[version]), NOW, OTAGATE_FORMAT_JSON, &notes));
            CHECK(strstr(otagate_string_data(notes), "\"lints\"") != NULL, "notes: %s", otagate_string_data(notes));
            otagate_string_free(notes);
            add(&reloads, 1);
            break;
        case 3:
            revision = apply(fleet, "[{\"change\":\"put-rollout\",\"product\":\"lamp\",\"group\":\"staged\",\"rollout\":{\"id\":\"half\","
                                    "\"target\":{\"firmware\":\"2.0.0\"},\"waves\":[{\"size\":{\"share-bps\":5000}},{\"size\":\"all\"}]}},"
                                    "{\"change\":\"start-rollout\",\"product\":\"lamp\",\"group\":\"staged\",\"rollout\":\"half\","
                                    "\"at\":1795424400000}]");
            break;
        case 4: {
            otagate_census census = otagate_census_init();
            OK(otagate_fleet_census(fleet, "lamp", 4, "staged", 6, 0, &census));
            CHECK(census.eligible == STAGED - STABLE && census.counted == (STAGED - STABLE) / 2, "%d of %d counted",
                  (int)census.counted, (int)census.eligible);
            snprintf(buffer, capacity,
                     "{\"change\":\"open-wave\",\"product\":\"lamp\",\"group\":\"staged\",\"rollout\":\"half\",\"wave\":0,"
                     "\"opened\":{\"at\":1795426200000,\"threshold\":%" PRIu64 "}}", census.threshold);
            revision = apply(fleet, buffer);
            break;
        }
        case 5:
            revision = apply(fleet, "{\"change\":\"pause-rollout\",\"product\":\"lamp\",\"group\":\"staged\",\"rollout\":\"half\","
                                    "\"cut\":true,\"why\":\"lunch\"}");
            break;
        default:
            revision = apply(fleet, "{\"change\":\"abort-rollout\",\"product\":\"lamp\",\"group\":\"staged\",\"rollout\":\"half\","
                                    "\"fate\":\"leave\"}");
        }
    }
    if (revision == 0) {
        OK(otagate_fleet_revision(fleet, &revision));
    }
    CHECK(revision == next, "%" PRIu64 " came after %" PRIu64, revision, held);
    say(&published, next);
}

/* What is refused changes nothing. */
static void refuse_lamps(otagate_fleet *fleet, uint64_t held, const struct text *same) {
    static const char old[] = "{\"revision\":1,\"products\":[]}";
    static const char nobody[] = "{\"change\":\"remove-device\",\"product\":\"lamp\",\"serial\":\"nobody\"}";
    uint64_t revision = 1;
    CHECK(otagate_fleet_apply(fleet, nobody, sizeof nobody - 1, &revision) == OTAGATE_ERROR_REFUSED && revision == 0, "nobody is removed");
    CHECK(otagate_fleet_apply(fleet, "{", 1, NULL) == OTAGATE_ERROR_JSON, "half a change");
    CHECK(otagate_fleet_replace(fleet, old, sizeof old - 1, 0) == OTAGATE_ERROR_REVISION, "a fleet of an old revision");
    OK(otagate_fleet_replace(fleet, same->at, same->len, 0)); /* what is held already is no change */
    CHECK(otagate_fleet_reload(fleet, "/nowhere/fleet.toml", 19, NOW, OTAGATE_FORMAT_TEXT, NULL) != OTAGATE_OK, "a file that is not there");
    OK(otagate_fleet_revision(fleet, &revision));
    CHECK(revision == held, "what was refused made revision %" PRIu64, revision);
    add(&refusals, 4);
}

/* How many devices are on an account, at whichever outcome: a bulb that one thread saw installed may have asked again by another. */
static long sum_of_waves(const char *statistics) {
    const char *at = strstr(statistics, "\"waves\":["), *end = at == NULL ? NULL : strchr(at, ']');
    long sum = 0;
    CHECK(end != NULL, "no statistics: %s", statistics);
    while ((at = strpbrk(at, "0123456789")) != NULL && at < end) {
        char *after;
        sum += strtol(at, &after, 10);
        at = after;
    }
    return sum;
}

/* Judges the round that is over, and begins the next. */
static void next_round(otagate_fleet *fleet, otagate_ledger *account, char *buffer, size_t capacity) {
    const uint64_t over = see(&round_now), next = over + 1;
    int at;
    if (over > 0) {
        otagate_string *told = NULL;
        int counted = 0;
        char name[32];
        for (at = 0; at < BULBS; at++) {
            counted += see(&granted_in[at]) == over;
        }
        CHECK(counted == SLOTS && see(&slots_given) == SLOTS, "%d slots given of %d", counted, SLOTS);
        CHECK(see(&opened_waves) == over && see(&completed) == over, "a rollout was moved on twice");
        OK(otagate_ledger_statistics(account, fleet, "bulb", 4, "canary", 6, &told));
        CHECK(sum_of_waves(otagate_string_data(told)) == SLOTS, "the ledger counted %s", otagate_string_data(told));
        otagate_string_free(told);
        OK(otagate_ledger_to_json(account, &told));
        otagate_string_free(told);
        snprintf(name, sizeof name, "r%" PRIu64, over);
        OK(otagate_ledger_forget(account, "bulb", 4, "canary", 6, name, strlen(name), NOW + ROUND * (int64_t)over));
        add(&rounds, 1);
    }
    if (look(&stop) != 0) {
        return;
    }
    snprintf(buffer, capacity,
             "[{\"change\":\"put-rollout\",\"product\":\"bulb\",\"group\":\"canary\",\"rollout\":{\"id\":\"r%" PRIu64 "\","
             "\"target\":{\"firmware\":\"%s\"},\"admission\":\"first-come\",\"waves\":[{\"size\":{\"first\":%d}}],"
             "\"complete\":{\"min_finished\":%d,\"success_share_bps\":10000}}}]",
             next, VERSIONS[next % 2], SLOTS, SLOTS);
    apply(fleet, buffer);
    say(&slots_given, 0);
    say(&finished, 0);
    say(&round_now, next);
    /* The readers ask already while it is still a draft. */
    snprintf(buffer, capacity,
             "{\"change\":\"start-rollout\",\"product\":\"bulb\",\"group\":\"canary\",\"rollout\":\"r%" PRIu64 "\",\"at\":%" PRId64 "}",
             next, NOW + ROUND * (int64_t)next);
    apply(fleet, buffer);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double duration;

static void *write_all(void *argument) {
    uint32_t seed = 12345;
    otagate_fleet *fleet = NULL, *round_fleet = NULL;
    otagate_ledger *account = NULL;
    char buffer[1024];
    struct text whole = {NULL, 0, 0};
    uint64_t held = 0, turn;
    double until;
    (void)argument;
    OK(otagate_fleet_clone(lamps, &fleet));
    OK(otagate_fleet_clone(bulbs, &round_fleet));
    OK(otagate_ledger_clone(ledger, &account));
    OK(otagate_fleet_revision(fleet, &held));
    pthread_barrier_wait(&started);
    next_round(round_fleet, account, buffer, sizeof buffer);
    until = seconds() + duration;
    for (turn = 0; seconds() < until; turn++) {
        /* Fourteen steps, then a fleet put in the place of the old one: mostly ahead, sometimes by force far back. */
        if (turn % 15 == 14) {
            const int back = turn % 45 == 44;
            const uint64_t to = back ? 2 + draw(&seed, 100) : held + 1 + draw(&seed, 5);
            whole.len = 0;
            put_lamps(&whole, to);
            if (back) {
                add(&forced, 1);
                say(&era, see(&era) + 1);
            }
            say(&announced, to);
            OK(otagate_fleet_replace(fleet, whole.at, whole.len, back));
            say(&published, to);
            if (back) {
                say(&era, see(&era) + 1);
            }
            add(&replaces, 1);
            held = to;
            /* To an even revision next, with the first of the seven other things behind it. */
            refuse_lamps(fleet, held, &whole);
        } else {
            step_lamps(fleet, held, held + 1, turn % 15 / 2, buffer, sizeof buffer);
            held++;
        }
        pthread_mutex_lock(&host_alive->lock);
        host_alive->revision++;
        pthread_mutex_unlock(&host_alive->lock);
        if (see(&finished) == BULB_READERS) {
            next_round(round_fleet, account, buffer, sizeof buffer);
        }
        if (turn % 64 == 0) {
            fleet = trade(LAMPS, fleet, &seed);
            account = trade(LEDGERS, account, &seed);
        }
    }
    /* The round that runs is the last: its slots are to be counted too. */
    while (see(&finished) != BULB_READERS) {
        sched_yield();
    }
    say(&stop, 1);
    next_round(round_fleet, account, buffer, sizeof buffer);
    free(whole.at);
    otagate_ledger_free(account);
    otagate_fleet_free(fleet);
    otagate_fleet_free(round_fleet);
    return NULL;
}

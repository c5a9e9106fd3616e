/* What a lamp asks, and what it may be told. A part of threads.c. */

static int is(otagate_text text, const char *expected) {
    size_t at;
    for (at = 0; at < text.len; at++) {
        CHECK(text.data[at] >= ' ' && text.data[at] <= '~', "byte %d of a text is %d", (int)at, text.data[at]);
    }
    return text.len == strlen(expected) && (text.len == 0 || memcmp(text.data, expected, text.len) == 0);
}

/* What a check-in of a lamp says, and what comes of it: the same over the fleet and over the host's store. */
struct ask {
    otagate_check_in check_in;
    char serial[32];
    int lamp, version, knows_key;
};

static void draw_ask(struct ask *ask, uint32_t *seed) {
    ask->lamp = (int)draw(seed, BLOCKED + 20);
    ask->version = (int)draw(seed, 2);
    ask->knows_key = draw(seed, 16) != 0;
    snprintf(ask->serial, sizeof ask->serial, "lamp-%d", ask->lamp);
    ask->check_in = otagate_check_in_init();
    ask->check_in.key = otagate_text_of(ask->knows_key ? KEY : "guessed");
    ask->check_in.serial = otagate_text_of(ask->serial);
    ask->check_in.version = otagate_text_of(VERSIONS[ask->version]);
    ask->check_in.want = draw(seed, 8) == 0 ? OTAGATE_WANT_CONFIG : OTAGATE_WANT_FIRMWARE;
}

static void check_decision(const struct ask *ask, const otagate_decision *decision) {
    const char *meant = VERSIONS[version_at(decision->revision)];
    const int wants_config = ask->check_in.want == OTAGATE_WANT_CONFIG;
    int reason = OTAGATE_REASON_SERVE;
    add(&decisions, 1);
    CHECK(decision->struct_size == sizeof *decision, "the size of a decision was changed");
    CHECK(decision->status == otagate_reason_status(decision->reason), "status and reason differ");
    if (!ask->knows_key) {
        reason = OTAGATE_REASON_KEY_UNKNOWN;
    } else if (ask->lamp >= BLOCKED) {
        reason = OTAGATE_REASON_DEVICE_UNKNOWN;
    } else if (ask->lamp >= STAGED) {
        reason = OTAGATE_REASON_DEVICE_BLOCKED;
    } else if (ask->lamp >= STABLE) {
        /* A rollout comes and goes: either version may be meant, and nothing else. */
        if (wants_config) {
            reason = OTAGATE_REASON_NOTHING_ASSIGNED;
        } else {
            CHECK(decision->reason == OTAGATE_REASON_LEFT || is(decision->meant, VERSIONS[0]) || is(decision->meant, VERSIONS[1]),
                  "what is meant is not ours");
            CHECK(decision->status == 200 || decision->status == 304, "%d for a staged lamp", decision->status);
            return;
        }
    } else if (!wants_config) {
        CHECK(is(decision->meant, meant), "revision %" PRIu64 " means %s", decision->revision, meant);
        reason = ask->version == version_at(decision->revision) ? OTAGATE_REASON_CURRENT : OTAGATE_REASON_SERVE;
    }
    CHECK(decision->reason == reason, "%s of revision %" PRIu64 " for %s that says %s", otagate_reason_name(decision->reason),
          decision->revision, ask->serial, VERSIONS[ask->version]);
}

/* What the last decision of the reader points at: read, copied, and read again once others had the time to do harm. */
static void check_parts(otagate_reader *reader, const struct ask *ask, const otagate_decision *decision, uint32_t *seed) {
    const int stable = ask->knows_key && ask->lamp < STABLE, version = version_at(decision->revision);
    char meant[64], locator[64];
    otagate_offer offer = otagate_offer_init(), again = otagate_offer_init();
    otagate_effect effect = otagate_effect_init();
    const size_t len = decision->meant.len;
    CHECK(len < sizeof meant, "what is meant is %d bytes long", (int)len);
    memcpy(meant, len == 0 ? "" : decision->meant.data, len);
    meant[len] = '\0';
    if (draw(seed, 32) == 0) {
        sched_yield();
    }
    CHECK(is(decision->meant, meant), "what is meant has changed");

    if (decision->offer == OTAGATE_OFFER_NONE) {
        CHECK(otagate_reader_offer(reader, &offer) == OTAGATE_ERROR_NOTHING, "an offer of nothing");
    } else {
        OK(otagate_reader_offer(reader, &offer));
        if (offer.kind == OTAGATE_OFFER_CONFIG) {
            CHECK(is(offer.document, version == 0 ? "{\"is\":\"1.0.0\"}" : "{\"is\":\"2.0.0\"}"), "the config of another revision");
        } else {
            const int offered = is(offer.firmware, VERSIONS[1]);
            CHECK(is(offer.firmware, meant) && (!stable || offered == version), "what is not meant is offered");
            CHECK(is(offer.locator, offered ? "image-2.0.0.bin" : "image-1.0.0.bin"), "the file of another firmware");
            CHECK(offer.digests.blake3[0] == (offered ? 0x22 : 0x11), "the digest of another firmware");
        }
        if (draw(seed, 32) == 0) {
            snprintf(locator, sizeof locator, "%.*s", (int)offer.locator.len, offer.locator.len == 0 ? "" : offer.locator.data);
            sched_yield();
            OK(otagate_reader_offer(reader, &again));
            CHECK(is(offer.locator, locator) && is(again.locator, locator), "an offer has changed");
        }
    }
    if (decision->effect == OTAGATE_EFFECT_REGISTER) {
        OK(otagate_reader_effect(reader, &effect));
        CHECK(is(effect.serial, ask->serial) && is(effect.product, "lamp"), "somebody else is to be registered");
    }
}

static void check_explanation(otagate_reader *reader, const otagate_ledger *ledger, const otagate_check_in *check_in, int format) {
    otagate_string *told = NULL;
    const char *data;
    OK(otagate_reader_explain(reader, ledger, check_in, NOW, format, &told));
    data = otagate_string_data(told);
    CHECK(strlen(data) == otagate_string_len(told) && strlen(data) > 20, "an explanation of nothing");
    CHECK(format == OTAGATE_FORMAT_TEXT || (data[0] == '{' && strstr(data, "\"decision\"") != NULL), "no explanation: %s", data);
    otagate_string_free(told);
}

/* A mistake of this thread's own, and that no other thread's stands in the place of its words. */
static void check_own_error(otagate_reader *reader, const otagate_check_in *check_in, int me) {
    char words[256], mine[32];
    otagate_string *told = NULL;
    CHECK(otagate_reader_explain(reader, NULL, check_in, NOW, 100 + me, &told) == OTAGATE_ERROR_ARGUMENT, "format %d", 100 + me);
    sched_yield();
    otagate_last_error(words, sizeof words);
    snprintf(mine, sizeof mine, "%d", 100 + me);
    CHECK(told == NULL && strstr(words, mine) != NULL, "the last error of another: %s", words);
}

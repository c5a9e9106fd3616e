/*
 * A wrong program in front of the C face: every function with every pointer NULL, with lengths that cannot be, structs of foreign sizes, bytes that are no
 * text, numbers that mean nothing; and a host's store that fails, lies and calls back.
 *
 *     hostile FLEET.toml [leaks]      leaks: also what leaks by its nature
 *
 * What is asked each time: the code is the one that the header names; nothing that comes out says "serve"; and the handles work as before. Prints the name
 * of each function that was called; ends with 1 where anything is not as it should be.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "otagate.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define TEXT(text) (text).data, (text).len
#define LITERAL(text) (text), sizeof(text) - 1
/* Calls a function, and takes down that it was. */
#define RUN(function, ...) (mark(#function), function(__VA_ARGS__))
/* Calls a function that must give that code, after which everything works as before. */
#define EXPECT(code, function, ...) expect_code(__LINE__, #function, code, RUN(function, __VA_ARGS__))
#define CHECK(condition) check(__LINE__, #condition, condition)

/* ---- Saying what is wrong. ---- */

static int failures;

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static void fail(const char *format, ...) {
    static char last[600];
    char words[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    failures++;
    /* The same again and again is told once. */
    if (strcmp(words, last) != 0) fprintf(stderr, "%s\n", words);
    memcpy(last, words, sizeof last);
}

static void check(int line, const char *condition, int holds) {
    if (!holds) fail("hostile.c:%d: expected %s", line, condition);
}

static const char *marked[128];

static void mark(const char *function) {
    size_t at = 0;
    while (marked[at] != NULL && strcmp(marked[at], function) != 0) at++;
    marked[at] = function;
}

/* ---- The world: a fleet, and a host's store that says the same. ---- */

#define PRODUCT                                                                                                        \
    "{\"id\":\"p\",\"keys\":[{\"hash\":\"5cbcb0cee824b91866cd67f57a6643ddcb7cd4382029039043513953c759246b\"}],"        \
    "\"versions\":{\"scheme\":\"dotted\"},\"register_on_first_contact\":true,\"default_group\":\"g\"}"
#define ARTIFACT(name)                                                                                                 \
    "\"artifacts\":[{\"size_bytes\":5,\"locator\":\"" name "\",\"digests\":{\"blake3\":"                               \
    "\"b1b4f24cf60df9e9e7bc80a2943c4de4fa3b10412a3a428763804355a719102d\"}}]"
#define FIRMWARE "[{\"version\":\"1\"," ARTIFACT("one") "},{\"version\":\"2\"," ARTIFACT("two") "}]"
#define GROUP                                                                                                          \
    "{\"id\":\"g\",\"firmware\":\"1\",\"downloads_max\":100000,\"resources\":[{\"name\":\"ca.pem\",\"locator\":\"l\"," \
    "\"size_bytes\":3,\"digests\":{\"blake3\":\"b1b4f24cf60df9e9e7bc80a2943c4de4fa3b10412a3a428763804355a719102d\"}}]," \
    "\"rollout\":" ROLLOUT "}"
#define ROLLOUT                                                                                                        \
    "{\"id\":\"r7\",\"target\":{\"firmware\":\"2\"},\"state\":{\"is\":\"running\"},\"started_at\":1,"                  \
    "\"admission\":\"first-come\",\"waves\":[{\"size\":{\"first\":3},\"opened\":{\"at\":1}}]}"
#define DOCUMENT "{\"product\":" PRODUCT ",\"firmware\":" FIRMWARE "}"
#define FLEET                                                                                                          \
    "{\"revision\":5,\"products\":[{\"product\":" PRODUCT ",\"firmware\":" FIRMWARE ",\"groups\":[" GROUP "],"         \
    "\"devices\":[{\"serial\":\"s\",\"state\":\"verified\",\"group\":\"g\"}]}]}"

static const int64_t NOW = 1000;
static const char NOT_UTF8[] = "\xff\xfe";

enum callback { NONE, OPEN_VIEW, PRODUCT_OF_KEY, DEVICE, GROUP_OF, STANDING, REGISTER };
static const char *const callback_names[] = {"none", "open_view", "product_of_key", "device", "group", "standing", "register_device"};

struct host {
    enum callback fails_at; /* gives this code there */
    int32_t code;
    enum callback hook_at; /* does this there, instead of its work */
    int32_t (*hook)(otagate_found *found, const void *argument);
    const void *argument;
    int32_t hooked; /* what the hook gave */
    int hooks;      /* how often */
    int32_t registered;
    int opened, closed, destroyed, registrations;
    int open_now;
};

static struct {
    otagate_fleet *fleet;
    otagate_ledger *ledger;
    struct host host;
    otagate_store *store;
    otagate_reader *reader;       /* of the fleet */
    otagate_reader *store_reader; /* of the store */
    otagate_reader *asked;        /* one of both: the one that is asked wrongly now */
    const char *path;
} w;

/* What a callback gives first of all: a failure, or what a hook makes of it. 0: its work is still to be done. */
static int diverted(struct host *host, enum callback callback, otagate_found *found, int32_t *code) {
    if (host->fails_at == callback) {
        *code = host->code;
        return 1;
    }
    if (host->hook_at == callback && host->hook != NULL) {
        host->hooks++;
        host->hooked = host->hook(found, host->argument);
        *code = 0;
        return 1;
    }
    *code = 0;
    return 0;
}

static int32_t host_open(void *user_data, void **view, uint64_t *revision) {
    struct host *host = user_data;
    int32_t code;
    if (diverted(host, OPEN_VIEW, NULL, &code)) return code;
    host->opened++;
    host->open_now++;
    *view = host;
    *revision = 5;
    return 0;
}

static void host_close(void *user_data, void *view) {
    struct host *host = user_data;
    CHECK(view == user_data);
    host->closed++;
    host->open_now--;
}

static void host_destroy(void *user_data) {
    ((struct host *)user_data)->destroyed++;
}

static int32_t give_document(otagate_found *found, const char *name, const char *document) {
    if (otagate_found_known(found, name, strlen(name), 1) == OTAGATE_OK) return 0;
    otagate_found_document(found, name, strlen(name), 1, document, strlen(document));
    return 0;
}

static int32_t host_product(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    int32_t code;
    CHECK(view == user_data);
    if (diverted(user_data, PRODUCT_OF_KEY, found, &code)) return code;
    return key_hash[0] == 0x5c && key_hash[31] == 0x6b ? give_document(found, "p", DOCUMENT) : 0;
}

static otagate_device good_device(void) {
    otagate_device device = otagate_device_init();
    device.serial = otagate_text_of("s");
    device.group = otagate_text_of("g");
    device.state = OTAGATE_DEVICE_VERIFIED;
    return device;
}

static int32_t host_device(void *user_data, void *view, const char *product, size_t product_len, const char *serial, size_t serial_len,
                           otagate_found *found) {
    int32_t code;
    CHECK(view == user_data);
    if (diverted(user_data, DEVICE, found, &code)) return code;
    if (product_len != 1 || *product != 'p' || serial_len != 1 || *serial != 's') return 0;
    otagate_device device = good_device();
    otagate_found_device(found, &device);
    return 0;
}

static int32_t host_group(void *user_data, void *view, const char *product, size_t product_len, const char *group, size_t group_len,
                          otagate_found *found) {
    int32_t code;
    CHECK(view == user_data && product_len == 1 && *product == 'p');
    if (diverted(user_data, GROUP_OF, found, &code)) return code;
    return group_len == 1 && *group == 'g' ? give_document(found, "g", GROUP) : 0;
}

static int32_t host_standing(void *user_data, void *view, const char *product, size_t product_len, const char *group, size_t group_len,
                             const char *serial, size_t serial_len, otagate_found *found) {
    int32_t code;
    CHECK(view == user_data && product_len == 1 && *product == 'p' && group_len == 1 && *group == 'g');
    CHECK(serial_len == 1 && serial != NULL);
    if (diverted(user_data, STANDING, found, &code)) return code;
    otagate_standing standing = otagate_standing_init();
    otagate_found_standing(found, &standing);
    return 0;
}

static int32_t host_register(void *user_data, const char *product, size_t product_len, const char *serial, size_t serial_len, int64_t at,
                             int32_t *registered) {
    struct host *host = user_data;
    int32_t code;
    CHECK(product_len == 1 && *product == 'p' && serial_len > 0 && serial != NULL && at == NOW);
    CHECK(host->open_now == 0);
    host->registrations++;
    if (diverted(host, REGISTER, NULL, &code)) return code;
    *registered = host->registered;
    return 0;
}

static otagate_store_callbacks callbacks_of(struct host *host) {
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    callbacks.user_data = host;
    callbacks.destroy = host_destroy;
    callbacks.open_view = host_open;
    callbacks.close_view = host_close;
    callbacks.product_of_key = host_product;
    callbacks.device = host_device;
    callbacks.group = host_group;
    callbacks.standing = host_standing;
    callbacks.register_device = host_register;
    return callbacks;
}

static otagate_check_in good_check_in(void) {
    otagate_check_in check_in = otagate_check_in_init();
    check_in.key = otagate_text_of("k");
    check_in.serial = otagate_text_of("s");
    check_in.version = otagate_text_of("1");
    return check_in;
}

/* A struct as it was left by an answer before, which said "serve". */
static otagate_decision served_before(void) {
    otagate_decision decision;
    memset(&decision, 0xaa, sizeof decision);
    decision.struct_size = sizeof decision;
    decision.status = OTAGATE_STATUS_SERVE;
    decision.reason = OTAGATE_REASON_SERVE;
    decision.offer = OTAGATE_OFFER_FIRMWARE;
    decision.meant = otagate_text_of("66.6");
    return decision;
}

static otagate_offer offered_before(void) {
    otagate_offer offer;
    memset(&offer, 0xaa, sizeof offer);
    offer.struct_size = sizeof offer;
    offer.kind = OTAGATE_OFFER_FIRMWARE;
    offer.locator = otagate_text_of("something old");
    return offer;
}

static int is_none(otagate_text text) {
    return text.data == NULL && text.len == 0;
}

static int denies(const otagate_decision *decision) {
    return decision->struct_size == sizeof *decision && decision->status == OTAGATE_STATUS_UNAUTHORIZED &&
           decision->reason == OTAGATE_REASON_NONE && decision->revision == 0 && decision->retry_after_secs == -1 &&
           is_none(decision->meant) && decision->offer == OTAGATE_OFFER_NONE && decision->effect == OTAGATE_EFFECT_NONE;
}

static int offers_nothing(const otagate_offer *offer) {
    static const otagate_digests none;
    return offer->kind == OTAGATE_OFFER_NONE && offer->leased == 0 && offer->size_bytes == 0 && offer->resources_len == 0 &&
           offer->attempt == 0 && is_none(offer->firmware) && is_none(offer->from) && is_none(offer->locator) &&
           is_none(offer->document) && is_none(offer->name) && is_none(offer->rollout) &&
           memcmp(&offer->digests, &none, sizeof none) == 0;
}

/* Whatever was asked before: a good check-in is answered rightly, by the fleet and by the store. */
static void still_works(int line, const char *after) {
    otagate_reader *readers[2] = {w.reader, w.store_reader};
    for (size_t at = 0; at < LEN(readers); at++) {
        otagate_check_in check_in = good_check_in();
        otagate_decision decision = otagate_decision_init();
        otagate_offer offer = otagate_offer_init();
        int32_t code = otagate_reader_decide(readers[at], &check_in, NOW, &decision);
        int32_t offered = otagate_reader_offer(readers[at], &offer);
        if (code != OTAGATE_OK || decision.status != OTAGATE_STATUS_SERVE || offered != OTAGATE_OK || offer.locator.len != 3 ||
            memcmp(offer.locator.data, "two", 3) != 0) {
            fail("hostile.c:%d: after %s the %s gives %s, %d %s", line, after, at == 0 ? "fleet" : "store", otagate_code_name(code),
                 decision.status, otagate_reason_name(decision.reason));
        }
    }
    if (w.host.opened != w.host.closed) {
        fail("hostile.c:%d: after %s %d views were opened, and %d closed", line, after, w.host.opened, w.host.closed);
    }
}

static void expect_code(int line, const char *function, int32_t expected, int32_t found) {
    if (expected != found) {
        char words[300];
        otagate_last_error(words, sizeof words);
        fail("hostile.c:%d: %s: expected %s, found %s: %s", line, function, otagate_code_name(expected), otagate_code_name(found), words);
    }
    still_works(line, function);
}

/* ---- Calls by their texts: each checks by itself that on an error nothing comes out. ---- */

static int32_t silent(const char *function, int32_t code, int says_nothing) {
    if (code != OTAGATE_OK && !says_nothing) fail("%s: gives %s, and something comes out", function, otagate_code_name(code));
    return code;
}

static void *const OLD = (void *)&failures; /* what a pointer was before the call */

static int32_t call_rank(const otagate_text *t) {
    uint64_t rank = 7;
    int32_t code = RUN(otagate_rank, TEXT(t[0]), TEXT(t[1]), TEXT(t[2]), &rank);
    return silent("otagate_rank", code, rank == UINT64_MAX);
}

static int32_t call_key_hash(const otagate_text *t) {
    static const uint8_t none[32];
    uint8_t hash[34];
    memset(hash, 0xaa, sizeof hash);
    int32_t code = RUN(otagate_key_hash, TEXT(t[0]), hash);
    if (hash[32] != 0xaa || hash[33] != 0xaa) fail("otagate_key_hash writes more than 32 bytes");
    return silent("otagate_key_hash", code, memcmp(hash, none, sizeof none) == 0);
}

static int32_t call_parse_range(const otagate_text *t) {
    int32_t kind = OTAGATE_RANGE_WHOLE;
    uint64_t first = 7, last = 7;
    int32_t code = RUN(otagate_parse_range, TEXT(t[0]), 10, &kind, &first, &last);
    return silent("otagate_parse_range", code, kind == OTAGATE_RANGE_UNSATISFIABLE && first == 0 && last == 0);
}

static int32_t call_read_serial(const otagate_text *t) {
    char canonical[OTAGATE_SERIAL_BYTES_MAX];
    size_t len = 7;
    int32_t fault = OTAGATE_SERIAL_IS_FINE;
    int32_t code = RUN(otagate_read_serial, OTAGATE_SERIAL_OPAQUE, TEXT(t[0]), canonical, &len, &fault);
    return silent("otagate_read_serial", code, len == 0 && fault == OTAGATE_SERIAL_IS_MALFORMED);
}

static int32_t call_compare_versions(const otagate_text *t) {
    int32_t equal = 1, order = 0;
    int32_t code = RUN(otagate_compare_versions, TEXT(t[0]), TEXT(t[1]), TEXT(t[2]), &equal, &order);
    return silent("otagate_compare_versions", code, equal == 0 && order == OTAGATE_UNORDERED);
}

static int32_t call_rollout_step(const otagate_text *t) {
    otagate_string *answer = OLD;
    int32_t code = RUN(otagate_rollout_step, TEXT(t[0]), TEXT(t[1]), TEXT(t[2]), NOW, &answer);
    if (code == OTAGATE_OK) otagate_string_free(answer);
    return silent("otagate_rollout_step", code, answer == NULL);
}

static int32_t call_fleet_new(const otagate_text *t) {
    otagate_fleet *fleet = OLD;
    int32_t code = RUN(otagate_fleet_new, TEXT(t[0]), &fleet);
    if (code == OTAGATE_OK) otagate_fleet_free(fleet);
    return silent("otagate_fleet_new", code, fleet == NULL);
}

static int32_t call_fleet_load(const otagate_text *t) {
    otagate_fleet *fleet = OLD;
    otagate_string *notes = OLD;
    int32_t code = RUN(otagate_fleet_load, TEXT(t[0]), NOW, OTAGATE_FORMAT_JSON, &fleet, &notes);
    if (code == OTAGATE_OK) {
        otagate_fleet_free(fleet);
        otagate_string_free(notes);
    }
    return silent("otagate_fleet_load", code, fleet == NULL && notes == NULL);
}

static int32_t call_fleet_reload(const otagate_text *t) {
    otagate_fleet *fleet = NULL;
    otagate_string *notes = OLD;
    otagate_fleet_new(NULL, 0, &fleet);
    int32_t code = RUN(otagate_fleet_reload, fleet, TEXT(t[0]), NOW, OTAGATE_FORMAT_TEXT, &notes);
    if (code == OTAGATE_OK) otagate_string_free(notes);
    otagate_fleet_free(fleet);
    return silent("otagate_fleet_reload", code, notes == NULL);
}

static int32_t call_fleet_apply(const otagate_text *t) {
    uint64_t revision = 7;
    int32_t code = RUN(otagate_fleet_apply, w.fleet, TEXT(t[0]), &revision);
    return silent("otagate_fleet_apply", code, revision == 0);
}

static int32_t call_add_devices(const otagate_text *t) {
    uint64_t revision = 7;
    otagate_device devices[2] = {good_device(), good_device()};
    devices[0].serial = otagate_text_of("fine");
    devices[1].serial = t[1];
    devices[1].group = t[2];
    devices[1].version = t[3];
    devices[1].hardware = t[4];
    /* A fleet of its own: one of the devices would be added. */
    otagate_fleet *fleet = NULL;
    otagate_fleet_new(LITERAL(FLEET), &fleet);
    int32_t code = RUN(otagate_fleet_add_devices, fleet, TEXT(t[0]), devices, LEN(devices), &revision);
    uint64_t now_held = 0;
    otagate_fleet_revision(fleet, &now_held);
    otagate_fleet_free(fleet);
    return silent("otagate_fleet_add_devices", code, revision == 0 && now_held == 5);
}

static int32_t call_register(const otagate_text *t) {
    int32_t registered = OTAGATE_REGISTERED_NEW;
    int32_t code = RUN(otagate_fleet_register, w.fleet, TEXT(t[0]), TEXT(t[1]), NOW, &registered);
    return silent("otagate_fleet_register", code, registered == OTAGATE_REGISTERED_REFUSED);
}

static int32_t call_fleet_device(const otagate_text *t) {
    otagate_string *device = OLD;
    int32_t code = RUN(otagate_fleet_device, w.fleet, TEXT(t[0]), TEXT(t[1]), &device);
    if (code == OTAGATE_OK) otagate_string_free(device);
    return silent("otagate_fleet_device", code, device == NULL);
}

static int32_t call_replace(const otagate_text *t) {
    return RUN(otagate_fleet_replace, w.fleet, TEXT(t[0]), 0);
}

static int32_t call_verdicts(const otagate_text *t) {
    uint64_t counts[OTAGATE_REASONS_MAX], sum = 0;
    memset(counts, 0xaa, sizeof counts);
    int32_t code = RUN(otagate_fleet_verdicts, w.fleet, TEXT(t[0]), counts, LEN(counts));
    for (size_t at = 0; at < LEN(counts); at++) sum |= counts[at];
    return silent("otagate_fleet_verdicts", code, sum == 0);
}

static int counts_nobody(const otagate_census *census) {
    return census->eligible == 0 && census->counted == 0 && census->newcomers == 0 && census->threshold == 0 && census->has_threshold == 0;
}

static int32_t call_census(const otagate_text *t) {
    otagate_census census;
    memset(&census, 0xaa, sizeof census);
    census.struct_size = sizeof census;
    int32_t code = RUN(otagate_fleet_census, w.fleet, TEXT(t[0]), TEXT(t[1]), 0, &census);
    return silent("otagate_fleet_census", code, counts_nobody(&census));
}

static int32_t call_report(const otagate_text *t) {
    otagate_report report = otagate_report_init();
    report.product = t[0];
    report.group = t[1];
    report.serial = t[2];
    report.rollout = t[3];
    report.outcome = OTAGATE_OUTCOME_FAILED;
    int32_t noted = OTAGATE_NOTED_MOVED;
    int32_t code = RUN(otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
    return silent("otagate_fleet_report", code, noted == OTAGATE_NOTED_FOREIGN);
}

static int32_t call_ledger_from_json(const otagate_text *t) {
    otagate_ledger *ledger = OLD;
    int32_t code = RUN(otagate_ledger_from_json, TEXT(t[0]), 10, &ledger);
    if (code == OTAGATE_OK) otagate_ledger_free(ledger);
    return silent("otagate_ledger_from_json", code, ledger == NULL);
}

static int32_t call_statistics(const otagate_text *t) {
    otagate_string *statistics = OLD;
    int32_t code = RUN(otagate_ledger_statistics, w.ledger, w.fleet, TEXT(t[0]), TEXT(t[1]), &statistics);
    if (code == OTAGATE_OK) otagate_string_free(statistics);
    return silent("otagate_ledger_statistics", code, statistics == NULL);
}

static int32_t call_run_statistics(const otagate_text *t) {
    otagate_string *statistics = OLD;
    int32_t code = RUN(otagate_ledger_run_statistics, w.ledger, TEXT(t[0]), TEXT(t[1]), TEXT(t[2]), NOW, 0, &statistics);
    if (code == OTAGATE_OK) otagate_string_free(statistics);
    return silent("otagate_ledger_run_statistics", code, statistics == NULL);
}

static int32_t call_forget(const otagate_text *t) {
    return RUN(otagate_ledger_forget, w.ledger, TEXT(t[0]), TEXT(t[1]), TEXT(t[2]), NOW);
}

/* Of check-ins: key, serial, version, hardware, digest, resource. */
static otagate_check_in check_in_of(const otagate_text *t) {
    otagate_check_in check_in = otagate_check_in_init();
    check_in.key = t[0];
    check_in.serial = t[1];
    check_in.version = t[2];
    check_in.hardware = t[3];
    check_in.digest_hex = t[4];
    check_in.resource = t[5];
    check_in.digest_kind = OTAGATE_DIGEST_BLAKE3;
    check_in.want = OTAGATE_WANT_RESOURCE;
    return check_in;
}

static int is_nobody(const otagate_who *who) {
    return is_none(who->product) && is_none(who->serial) && is_none(who->group) && who->state == -1 && who->reserved == 0;
}

static otagate_who known_before(void) {
    otagate_who who;
    memset(&who, 0xaa, sizeof who);
    who.struct_size = sizeof who;
    return who;
}

/* What a call that failed leaves of the decision before: nothing. */
static void nothing_is_left(const char *function, otagate_reader *reader) {
    otagate_who who = known_before();
    otagate_after *after = OLD;
    otagate_effect effect;
    memset(&effect, 0xaa, sizeof effect);
    effect.struct_size = sizeof effect;
    if (otagate_reader_who(reader, &who) != OTAGATE_ERROR_NOTHING || !is_nobody(&who)) fail("%s: the reader still knows who it was", function);
    if (otagate_reader_effect(reader, &effect) != OTAGATE_ERROR_NOTHING || effect.kind != OTAGATE_EFFECT_NONE) {
        fail("%s: the reader still has an effect", function);
    }
    if (otagate_reader_after(reader, &after) != OTAGATE_OK || after != NULL) fail("%s: something is left to do", function);
}

/* A decision that failed serves nothing, and leaves nothing to be served. */
static int32_t silent_decision(const char *function, int32_t code, const otagate_decision *decision) {
    otagate_offer offer = offered_before();
    if (code != OTAGATE_OK) nothing_is_left(function, w.asked);
    if (code != OTAGATE_OK && (otagate_reader_offer(w.asked, &offer) != OTAGATE_ERROR_NOTHING || !offers_nothing(&offer))) {
        fail("%s: gives %s, and the reader still offers what it did before", function, otagate_code_name(code));
    }
    return silent(function, code, denies(decision));
}

static int32_t call_decide(const otagate_text *t) {
    otagate_check_in check_in = check_in_of(t);
    otagate_decision decision = served_before();
    int32_t code = RUN(otagate_reader_decide, w.asked, &check_in, NOW, &decision);
    return silent_decision("otagate_reader_decide", code, &decision);
}

static int32_t call_decide_many(const otagate_text *t) {
    otagate_check_in check_ins[3] = {good_check_in(), check_in_of(t), good_check_in()};
    otagate_decision decisions[3] = {served_before(), served_before(), served_before()};
    int32_t code = RUN(otagate_reader_decide_many, w.asked, check_ins, NOW, decisions, 3);
    silent("otagate_reader_decide_many", code, denies(&decisions[0]) && denies(&decisions[2]));
    if (code == OTAGATE_OK) CHECK(decisions[0].status == OTAGATE_STATUS_SERVE && decisions[2].status == OTAGATE_STATUS_SERVE);
    return silent_decision("otagate_reader_decide_many", code, &decisions[1]);
}

static int32_t call_attend(const otagate_text *t) {
    otagate_check_in check_in = check_in_of(t);
    otagate_decision decision = served_before();
    int32_t code = RUN(otagate_reader_attend, w.asked, w.ledger, &check_in, 60, NOW, &decision);
    return silent_decision("otagate_reader_attend", code, &decision);
}

static int32_t call_identify(const otagate_text *t) {
    otagate_check_in check_in = check_in_of(t);
    otagate_decision refusal = served_before();
    int32_t may_ask = 1;
    int32_t code = RUN(otagate_reader_identify, w.asked, &check_in, NOW, &may_ask, &refusal);
    silent("otagate_reader_identify", code, may_ask == 0);
    return silent_decision("otagate_reader_identify", code, &refusal);
}

static int32_t call_reader_report(const otagate_text *t) {
    otagate_check_in check_in = check_in_of(t);
    int32_t noted = OTAGATE_NOTED_MOVED;
    int32_t code = RUN(otagate_reader_report, w.asked, w.ledger, &check_in, OTAGATE_OUTCOME_CONFIRMED, NOW, &noted);
    if (code != OTAGATE_OK) nothing_is_left("otagate_reader_report", w.asked);
    return silent("otagate_reader_report", code, noted == OTAGATE_NOTED_FOREIGN);
}

static int32_t call_explain(const otagate_text *t) {
    otagate_check_in check_in = check_in_of(t);
    otagate_string *explanation = OLD;
    int32_t code = RUN(otagate_reader_explain, w.asked, w.ledger, &check_in, NOW, OTAGATE_FORMAT_TEXT, &explanation);
    if (code == OTAGATE_OK) otagate_string_free(explanation);
    return silent("otagate_reader_explain", code, explanation == NULL);
}

/* ---- What a callback puts in. ---- */

/* Decides while the store does this in that callback; gives what the decision came to, and in `w.host.hooked` what the hook gave. */
static int32_t decide_with(enum callback at, int32_t (*hook)(otagate_found *found, const void *argument), const void *argument,
                           const char *key, otagate_decision *decision) {
    otagate_check_in check_in = good_check_in();
    check_in.key = otagate_text_of(key);
    *decision = served_before();
    w.host.hook_at = at;
    w.host.hook = hook;
    w.host.argument = argument;
    w.host.hooked = -1;
    w.host.hooks = 0;
    int32_t code = otagate_reader_decide(w.store_reader, &check_in, NOW, decision);
    w.host.hook = NULL;
    CHECK(w.host.hooks == 1);
    return code;
}

/* A callback that put in what cannot be fails the decision, whatever it gives itself; gives what its call gave. */
static int32_t put_in(enum callback at, int32_t (*hook)(otagate_found *found, const void *argument), const void *argument) {
    otagate_decision decision;
    int32_t code = decide_with(at, hook, argument, "k", &decision);
    /* A document that is wanted, and not given, is a fault too. */
    int is_fault = w.host.hooked != OTAGATE_OK;
    if (is_fault != (code == OTAGATE_ERROR_GARBAGE) && !(w.host.hooked == OTAGATE_OK && code == OTAGATE_ERROR_GARBAGE)) {
        fail("%s gave %s, and the decision %s", callback_names[at], otagate_code_name(w.host.hooked), otagate_code_name(code));
    }
    if (code != OTAGATE_OK && !denies(&decision)) fail("%s gave garbage, and the decision does not deny", callback_names[at]);
    return w.host.hooked;
}

static int32_t hook_known(otagate_found *found, const void *argument) {
    const otagate_text *t = argument;
    return RUN(otagate_found_known, found, TEXT(t[0]), 77);
}

static int32_t hook_document(otagate_found *found, const void *argument) {
    const otagate_text *t = argument;
    return RUN(otagate_found_document, found, TEXT(t[0]), 0, TEXT(t[1]));
}

static int32_t hook_device(otagate_found *found, const void *argument) {
    return RUN(otagate_found_device, found, argument);
}

static int32_t hook_standing(otagate_found *found, const void *argument) {
    return RUN(otagate_found_standing, found, argument);
}

static int32_t call_known_product(const otagate_text *t) {
    return put_in(PRODUCT_OF_KEY, hook_known, t);
}

static int32_t call_known_group(const otagate_text *t) {
    return put_in(GROUP_OF, hook_known, t);
}

static int32_t call_document_product(const otagate_text *t) {
    return put_in(PRODUCT_OF_KEY, hook_document, t);
}

static int32_t call_document_group(const otagate_text *t) {
    return put_in(GROUP_OF, hook_document, t);
}

static int32_t call_found_device(const otagate_text *t) {
    otagate_device device = otagate_device_init();
    device.state = OTAGATE_DEVICE_VERIFIED;
    device.serial = t[0];
    device.group = t[1];
    device.version = t[2];
    device.hardware = t[3];
    device.pin = t[4];
    device.cap = t[5];
    return put_in(DEVICE, hook_device, &device);
}

static int32_t call_found_standing(const otagate_text *t) {
    otagate_standing standing = otagate_standing_init();
    standing.penalty_hop = t[0];
    standing.penalty_until_millis = 0;
    return put_in(STANDING, hook_standing, &standing);
}

/* ---- Every text of every function: NULL, too long, empty, no UTF-8. ---- */

#define OK OTAGATE_OK
#define E(name) OTAGATE_ERROR_##name

static const struct texts {
    const char *function;
    int32_t (*call)(const otagate_text *texts);
    struct {
        const char *what, *good;
        int32_t null, empty, not_utf8; /* the code for NULL with length 0, for something with length 0, for bytes that are no UTF-8 */
    } texts[6];
} by_texts[] = {
    {"otagate_rank", call_rank, {{"salt", "r7", OK, OK, E(TEXT)}, {"product", "p", OK, OK, E(TEXT)}, {"serial", "s", OK, OK, E(TEXT)}}},
    {"otagate_key_hash", call_key_hash, {{"key", "k", OK, OK, OK}}},
    {"otagate_parse_range", call_parse_range, {{"header", "bytes=0-", OK, OK, OK}}},
    {"otagate_read_serial", call_read_serial, {{"serial", "s", OK, OK, OK}}},
    {"otagate_compare_versions", call_compare_versions,
     {{"rules", "{\"scheme\":\"semver\"}", OK, OK, E(JSON)}, {"a", "1.0.0", OK, OK, OK}, {"b", "1.0.0", OK, OK, OK}}},
    {"otagate_rollout_step", call_rollout_step,
     {{"product", PRODUCT, OK, OK, E(JSON)}, {"rollout", ROLLOUT, E(JSON), E(JSON), E(JSON)}, {"statistics", "{}", E(JSON), E(JSON), E(JSON)}}},
    {"otagate_fleet_new", call_fleet_new, {{"spec", FLEET, OK, OK, E(JSON)}}},
    {"otagate_fleet_load", call_fleet_load, {{"path", NULL, E(IO), E(IO), E(TEXT)}}},
    {"otagate_fleet_reload", call_fleet_reload, {{"path", NULL, E(IO), E(IO), E(TEXT)}}},
    {"otagate_fleet_apply", call_fleet_apply, {{"changes", "[]", E(JSON), E(JSON), E(JSON)}}},
    {"otagate_fleet_add_devices", call_add_devices,
     {{"product", "p", E(TEXT), E(TEXT), E(TEXT)},
      {"serial", "t", E(REFUSED), E(REFUSED), E(TEXT)},
      {"group", "g", E(REFUSED), E(REFUSED), E(TEXT)},
      {"version", "1", OK, OK, E(TEXT)},
      {"hardware", "h", OK, OK, E(TEXT)}}},
    {"otagate_fleet_register", call_register,
     {{"product", "p", E(NOTHING), E(NOTHING), E(TEXT)}, {"serial", "s", E(ARGUMENT), E(ARGUMENT), E(ARGUMENT)}}},
    {"otagate_fleet_device", call_fleet_device,
     {{"product", "p", E(NOTHING), E(NOTHING), E(TEXT)}, {"serial", "s", E(ARGUMENT), E(ARGUMENT), E(ARGUMENT)}}},
    {"otagate_fleet_replace", call_replace, {{"spec", "{\"revision\":18446744073709551615,\"products\":[]}x", E(REVISION), E(REVISION), E(JSON)}}},
    {"otagate_fleet_verdicts", call_verdicts, {{"product", "p", OK, OK, E(TEXT)}}},
    {"otagate_fleet_census", call_census, {{"product", "p", E(NOTHING), E(NOTHING), E(TEXT)}, {"group", "g", E(NOTHING), E(NOTHING), E(TEXT)}}},
    {"otagate_fleet_report", call_report,
     {{"product", "p", E(NOTHING), E(NOTHING), E(TEXT)},
      {"group", "g", OK, OK, E(TEXT)},
      {"serial", "s", E(ARGUMENT), E(ARGUMENT), E(ARGUMENT)},
      {"rollout", "r7", OK, OK, E(TEXT)}}},
    {"otagate_ledger_from_json", call_ledger_from_json, {{"rows", NULL, E(JSON), E(JSON), E(JSON)}}},
    {"otagate_ledger_statistics", call_statistics, {{"product", "p", E(TEXT), E(TEXT), E(TEXT)}, {"group", "g", E(TEXT), E(TEXT), E(TEXT)}}},
    {"otagate_ledger_run_statistics", call_run_statistics,
     {{"product", "p", E(TEXT), E(TEXT), E(TEXT)}, {"group", "g", E(TEXT), E(TEXT), E(TEXT)}, {"rollout", "r", E(TEXT), E(TEXT), E(TEXT)}}},
    {"otagate_ledger_forget", call_forget,
     {{"product", "q", E(TEXT), E(TEXT), E(TEXT)}, {"group", "g", E(TEXT), E(TEXT), E(TEXT)}, {"rollout", "r", E(TEXT), E(TEXT), E(TEXT)}}},
#define CHECK_IN                                                                                                       \
    {                                                                                                                  \
        {"key", "k", OK, OK, OK}, {"serial", "s", OK, OK, OK}, {"version", "1", OK, OK, OK},                           \
        {"hardware", "h", OK, OK, OK}, {"digest_hex", "00", OK, OK, OK}, {"resource", "ca.pem", OK, OK, OK},           \
    }
    {"otagate_reader_decide", call_decide, CHECK_IN},
    {"otagate_reader_decide_many", call_decide_many, CHECK_IN},
    {"otagate_reader_attend", call_attend, CHECK_IN},
    {"otagate_reader_identify", call_identify, CHECK_IN},
    {"otagate_reader_report", call_reader_report, CHECK_IN},
    {"otagate_reader_explain", call_explain, CHECK_IN},
    {"otagate_found_known of a product", call_known_product, {{"name", "p", OTAGATE_WANTED, OTAGATE_WANTED, E(TEXT)}}},
    {"otagate_found_known of a group", call_known_group, {{"name", "g", E(ARGUMENT), E(ARGUMENT), E(TEXT)}}},
    {"otagate_found_document of a product", call_document_product,
     {{"name", "p", E(ARGUMENT), E(ARGUMENT), E(TEXT)}, {"document", DOCUMENT, E(JSON), E(JSON), E(JSON)}}},
    {"otagate_found_document of a group", call_document_group,
     {{"name", "g", E(ARGUMENT), E(ARGUMENT), E(TEXT)}, {"document", GROUP, E(JSON), E(JSON), E(JSON)}}},
    {"otagate_found_device", call_found_device,
     {{"serial", "s", E(REFUSED), E(REFUSED), E(TEXT)},
      {"group", "g", E(REFUSED), E(REFUSED), E(TEXT)},
      {"version", "1", OK, OK, E(TEXT)},
      {"hardware", "h", OK, OK, E(TEXT)},
      {"pin", "1", OK, E(REFUSED), E(TEXT)},
      {"cap", "2", OK, E(REFUSED), E(TEXT)}}},
    {"otagate_found_standing", call_found_standing, {{"penalty_hop", "2", OK, OK, E(TEXT)}}},
};

static void every_text_in_turn(const struct texts *row) {
    otagate_text good[LEN(row->texts)], texts[LEN(row->texts)];
    size_t count = 0;
    while (count < LEN(row->texts) && row->texts[count].what != NULL) count++;
    otagate_string *rows = NULL;
    otagate_ledger_to_json(w.ledger, &rows);
    for (size_t at = 0; at < count; at++) {
        /* What only a running program knows. */
        const char *text = row->texts[at].good != NULL             ? row->texts[at].good
                           : strcmp(row->texts[at].what, "path") == 0 ? w.path
                                                                      : otagate_string_data(rows);
        good[at] = otagate_text_of(text);
    }
    for (size_t at = 0; at < count; at++) {
        const char *data = good[at].data;
        const struct {
            const char *how;
            otagate_text text;
            int32_t code;
        } wrongs[] = {
            {"NULL with a length of 0", {NULL, 0}, row->texts[at].null},
            {"NULL with a length of 5", {NULL, 5}, E(NULL)},
            {"NULL with a length of SIZE_MAX", {NULL, SIZE_MAX}, E(NULL)},
            {"a length of 0", {data, 0}, row->texts[at].empty},
            {"a length of SIZE_MAX", {data, SIZE_MAX}, E(LENGTH)},
            {"a length of SIZE_MAX / 2", {data, SIZE_MAX / 2}, E(LENGTH)},
            {"a length of 1 << 48", {data, (size_t)1 << 48}, E(LENGTH)},
            {"bytes that are no UTF-8", {NOT_UTF8, 2}, row->texts[at].not_utf8},
        };
        for (size_t wrong = 0; wrong < LEN(wrongs); wrong++) {
            char what[160];
            memcpy(texts, good, sizeof good);
            texts[at] = wrongs[wrong].text;
            snprintf(what, sizeof what, "%s, `%s` with %s", row->function, row->texts[at].what, wrongs[wrong].how);
            expect_code(__LINE__, what, wrongs[wrong].code, row->call(texts));
        }
    }
    otagate_string_free(rows);
}

/* ---- Structs of sizes that nobody knows. ---- */

static otagate_text good_texts[6] = {{"k", 1}, {"s", 1}, {"1", 1}, {"h", 1}, {"00", 2}, {"ca.pem", 6}};

static int32_t size_of_check_in(size_t size) {
    otagate_check_in check_in = check_in_of(good_texts);
    otagate_decision decision = served_before();
    check_in.struct_size = size;
    int32_t code = RUN(otagate_reader_decide, w.asked, &check_in, NOW, &decision);
    return silent_decision("otagate_reader_decide", code, &decision);
}

static int32_t size_of_check_in_attended(size_t size) {
    otagate_check_in check_in = check_in_of(good_texts);
    otagate_decision decision = served_before();
    check_in.struct_size = size;
    int32_t code = RUN(otagate_reader_attend, w.asked, w.ledger, &check_in, 60, NOW, &decision);
    return silent_decision("otagate_reader_attend", code, &decision);
}

static int32_t size_of_check_in_identified(size_t size) {
    otagate_check_in check_in = check_in_of(good_texts);
    otagate_decision refusal = served_before();
    int32_t may_ask = 1;
    check_in.struct_size = size;
    int32_t code = RUN(otagate_reader_identify, w.asked, &check_in, NOW, &may_ask, &refusal);
    silent("otagate_reader_identify", code, may_ask == 0);
    return silent_decision("otagate_reader_identify", code, &refusal);
}

static int32_t size_of_check_in_reported(size_t size) {
    otagate_check_in check_in = check_in_of(good_texts);
    int32_t noted = OTAGATE_NOTED_MOVED;
    check_in.struct_size = size;
    int32_t code = RUN(otagate_reader_report, w.asked, w.ledger, &check_in, OTAGATE_OUTCOME_CONFIRMED, NOW, &noted);
    return silent("otagate_reader_report", code, noted == OTAGATE_NOTED_FOREIGN);
}

static int32_t size_of_check_in_explained(size_t size) {
    otagate_check_in check_in = check_in_of(good_texts);
    otagate_string *explanation = OLD;
    check_in.struct_size = size;
    int32_t code = RUN(otagate_reader_explain, w.asked, NULL, &check_in, NOW, OTAGATE_FORMAT_JSON, &explanation);
    if (code == OTAGATE_OK) otagate_string_free(explanation);
    return silent("otagate_reader_explain", code, explanation == NULL);
}

static int32_t size_of_check_in_of_many(size_t size) {
    otagate_check_in check_ins[2] = {good_check_in(), good_check_in()};
    otagate_decision decisions[2] = {served_before(), served_before()};
    check_ins[1].struct_size = size;
    int32_t code = RUN(otagate_reader_decide_many, w.asked, check_ins, NOW, decisions, 2);
    silent("otagate_reader_decide_many", code, denies(&decisions[0]));
    return silent_decision("otagate_reader_decide_many", code, &decisions[1]);
}

/* A struct that is written, and is of a foreign size, stays as it was: every byte of it. */
#define UNTOUCHED(name, type, before, call)                                                                            \
    static int32_t name(size_t size) {                                                                                 \
        type into = (before), was;                                                                                     \
        into.struct_size = size;                                                                                       \
        memcpy(&was, &into, sizeof was);                                                                               \
        int32_t code = (call);                                                                                         \
        return silent(#name, code, memcmp(&was, &into, sizeof was) == 0);                                              \
    }

static otagate_resource resource_before(void) {
    otagate_resource resource;
    memset(&resource, 0xaa, sizeof resource);
    resource.struct_size = sizeof resource;
    return resource;
}

static otagate_effect effect_before(void) {
    otagate_effect effect;
    memset(&effect, 0xaa, sizeof effect);
    effect.struct_size = sizeof effect;
    return effect;
}

static otagate_census census_before(void) {
    otagate_census census;
    memset(&census, 0xaa, sizeof census);
    census.struct_size = sizeof census;
    return census;
}

/* Asks for a list, so that there is a resource. */
static otagate_reader *listing(void) {
    otagate_check_in check_in = good_check_in();
    otagate_decision decision = otagate_decision_init();
    check_in.want = OTAGATE_WANT_RESOURCES;
    otagate_reader_decide(w.asked, &check_in, NOW, &decision);
    return w.asked;
}

static const otagate_check_in *asking(void) {
    static otagate_check_in check_in;
    check_in = good_check_in();
    return &check_in;
}

UNTOUCHED(size_of_decision, otagate_decision, served_before(), RUN(otagate_reader_decide, w.asked, asking(), NOW, &into))
UNTOUCHED(size_of_decision_attended, otagate_decision, served_before(),
          RUN(otagate_reader_attend, w.asked, w.ledger, asking(), 60, NOW, &into))
UNTOUCHED(size_of_decision_of_many, otagate_decision, served_before(), RUN(otagate_reader_decide_many, w.asked, asking(), NOW, &into, 1))
UNTOUCHED(size_of_refusal, otagate_decision, served_before(), RUN(otagate_reader_refuse, w.asked, OTAGATE_REFUSED_SLOTS, &into))
UNTOUCHED(size_of_offer, otagate_offer, offered_before(), RUN(otagate_reader_offer, w.asked, &into))
UNTOUCHED(size_of_resource, otagate_resource, resource_before(), RUN(otagate_reader_resource, listing(), 0, &into))
UNTOUCHED(size_of_effect, otagate_effect, effect_before(), RUN(otagate_reader_effect, w.asked, &into))
UNTOUCHED(size_of_census, otagate_census, census_before(), RUN(otagate_fleet_census, w.fleet, "p", 1, "g", 1, 0, &into))

/* Looks somebody up, so that there is somebody. */
static otagate_reader *knowing(void) {
    otagate_decision refusal = otagate_decision_init();
    int32_t may_ask;
    otagate_reader_identify(w.asked, asking(), NOW, &may_ask, &refusal);
    return w.asked;
}

UNTOUCHED(size_of_who, otagate_who, known_before(), RUN(otagate_reader_who, knowing(), &into))

static int32_t size_of_identified(size_t size) {
    otagate_decision into = served_before(), was;
    int32_t may_ask = 1;
    into.struct_size = size;
    memcpy(&was, &into, sizeof was);
    int32_t code = RUN(otagate_reader_identify, w.asked, asking(), NOW, &may_ask, &into);
    return silent("otagate_reader_identify", code, may_ask == 0 && memcmp(&was, &into, sizeof was) == 0);
}

static int32_t size_of_device(size_t size) {
    otagate_device devices[2] = {good_device(), good_device()};
    uint64_t revision = 7, held = 0;
    devices[0].serial = otagate_text_of("one more");
    devices[1].serial = otagate_text_of("two more");
    devices[1].struct_size = size;
    otagate_fleet *fleet = NULL;
    otagate_fleet_new(LITERAL(FLEET), &fleet);
    int32_t code = RUN(otagate_fleet_add_devices, fleet, "p", 1, devices, 2, &revision);
    otagate_fleet_revision(fleet, &held);
    otagate_fleet_free(fleet);
    return silent("otagate_fleet_add_devices", code, revision == 0 && held == 5);
}

static int32_t size_of_report(size_t size) {
    otagate_report report = otagate_report_init();
    report.struct_size = size;
    report.product = otagate_text_of("p");
    report.group = otagate_text_of("g");
    report.serial = otagate_text_of("s");
    report.outcome = OTAGATE_OUTCOME_INSTALLED;
    int32_t noted = OTAGATE_NOTED_MOVED;
    int32_t code = RUN(otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
    return silent("otagate_fleet_report", code, noted == OTAGATE_NOTED_FOREIGN);
}

static int32_t size_of_callbacks(size_t size) {
    struct host host = {0};
    otagate_store_callbacks callbacks = callbacks_of(&host);
    otagate_store *store = OLD;
    callbacks.struct_size = size;
    int32_t code = RUN(otagate_store_new, &callbacks, &store);
    if (code == OTAGATE_OK) otagate_store_free(store);
    CHECK(host.destroyed == (code == OTAGATE_OK));
    return silent("otagate_store_new", code, store == NULL);
}

static int32_t size_of_found_device(size_t size) {
    otagate_device device = good_device();
    device.struct_size = size;
    return put_in(DEVICE, hook_device, &device);
}

static int32_t size_of_found_standing(size_t size) {
    otagate_standing standing = otagate_standing_init();
    standing.struct_size = size;
    return put_in(STANDING, hook_standing, &standing);
}

static void every_size(void) {
    static const struct {
        const char *what;
        size_t size;
        int32_t (*call)(size_t size);
    } structs[] = {
        {"the check-in of otagate_reader_decide", sizeof(otagate_check_in), size_of_check_in},
        {"the check-in of otagate_reader_attend", sizeof(otagate_check_in), size_of_check_in_attended},
        {"the check-in of otagate_reader_identify", sizeof(otagate_check_in), size_of_check_in_identified},
        {"the check-in of otagate_reader_report", sizeof(otagate_check_in), size_of_check_in_reported},
        {"the refusal of otagate_reader_identify", sizeof(otagate_decision), size_of_identified},
        {"who of otagate_reader_who", sizeof(otagate_who), size_of_who},
        {"the check-in of otagate_reader_explain", sizeof(otagate_check_in), size_of_check_in_explained},
        {"the second check-in of otagate_reader_decide_many", sizeof(otagate_check_in), size_of_check_in_of_many},
        {"the decision of otagate_reader_decide", sizeof(otagate_decision), size_of_decision},
        {"the decision of otagate_reader_attend", sizeof(otagate_decision), size_of_decision_attended},
        {"the decision of otagate_reader_decide_many", sizeof(otagate_decision), size_of_decision_of_many},
        {"the decision of otagate_reader_refuse", sizeof(otagate_decision), size_of_refusal},
        {"the offer of otagate_reader_offer", sizeof(otagate_offer), size_of_offer},
        {"the resource of otagate_reader_resource", sizeof(otagate_resource), size_of_resource},
        {"the effect of otagate_reader_effect", sizeof(otagate_effect), size_of_effect},
        {"the census of otagate_fleet_census", sizeof(otagate_census), size_of_census},
        {"the second device of otagate_fleet_add_devices", sizeof(otagate_device), size_of_device},
        {"the report of otagate_fleet_report", sizeof(otagate_report), size_of_report},
        {"the callbacks of otagate_store_new", sizeof(otagate_store_callbacks), size_of_callbacks},
        {"the device of otagate_found_device", sizeof(otagate_device), size_of_found_device},
        {"the standing of otagate_found_standing", sizeof(otagate_standing), size_of_found_standing},
    };
    for (size_t at = 0; at < LEN(structs); at++) {
        size_t size = structs[at].size;
        const size_t foreign[] = {0, 1, size - 1, size + 1, size - 8, size + 8, SIZE_MAX};
        expect_code(__LINE__, structs[at].what, OK, structs[at].call(size));
        for (size_t other = 0; other < LEN(foreign); other++) {
            expect_code(__LINE__, structs[at].what, E(STRUCT_SIZE), structs[at].call(foreign[other]));
        }
    }
}

/* ---- Every pointer that is no text, NULL in turn; and numbers that mean nothing. ---- */

static const int32_t no_formats[] = {0, -1, OTAGATE_FORMAT_JSON + 1, INT32_MAX, INT32_MIN};

static void fleets(void) {
    otagate_fleet *fleet = OLD;
    otagate_string *string = OLD;
    uint64_t revision = 7, counts[OTAGATE_REASONS_MAX];
    int32_t registered = OTAGATE_REGISTERED_NEW;

    EXPECT(E(NULL), otagate_fleet_new, LITERAL(FLEET), NULL);
    EXPECT(E(REFUSED), otagate_fleet_new, LITERAL("{\"revision\":1,\"products\":[{\"product\":{\"id\":\"a\\nb\"},\"firmware\":[],\"groups\":[],\"devices\":[]}]}"), &fleet);
    CHECK(fleet == NULL);
    EXPECT(E(NULL), otagate_fleet_load, w.path, strlen(w.path), NOW, OTAGATE_FORMAT_JSON, NULL, &string);
    CHECK(string == NULL);
    EXPECT(E(IO), otagate_fleet_load, LITERAL("/no/such/file"), NOW, OTAGATE_FORMAT_TEXT, &fleet, NULL);
    for (size_t at = 0; at < LEN(no_formats); at++) {
        fleet = OLD, string = OLD;
        EXPECT(E(ARGUMENT), otagate_fleet_load, w.path, strlen(w.path), NOW, no_formats[at], &fleet, &string);
        CHECK(fleet == NULL && string == NULL);
        string = OLD;
        EXPECT(E(ARGUMENT), otagate_fleet_reload, w.fleet, w.path, strlen(w.path), NOW, no_formats[at], &string);
        CHECK(string == NULL);
    }
    EXPECT(OK, otagate_fleet_load, w.path, strlen(w.path), NOW, OTAGATE_FORMAT_JSON, &fleet, NULL);
    EXPECT(OK, otagate_fleet_reload, fleet, w.path, strlen(w.path), NOW, OTAGATE_FORMAT_JSON, NULL);
    otagate_fleet_free(fleet);
    string = OLD;
    EXPECT(E(NULL), otagate_fleet_reload, NULL, w.path, strlen(w.path), NOW, OTAGATE_FORMAT_JSON, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_fleet_clone, w.fleet, NULL);
    fleet = OLD;
    EXPECT(E(NULL), otagate_fleet_clone, NULL, &fleet);
    CHECK(fleet == NULL);
    EXPECT(OK, otagate_fleet_clone, w.fleet, &fleet);
    RUN(otagate_fleet_free, fleet);
    RUN(otagate_fleet_free, NULL);

    EXPECT(E(NULL), otagate_fleet_apply, NULL, LITERAL("[]"), &revision);
    CHECK(revision == 0);
    EXPECT(OK, otagate_fleet_apply, w.fleet, LITERAL(" [] "), NULL);
    EXPECT(E(JSON), otagate_fleet_apply, w.fleet, LITERAL("{\"change\":\"no such\"}"), NULL);
    revision = 7;
    EXPECT(E(REFUSED), otagate_fleet_apply, w.fleet,
           LITERAL("{\"change\":\"assign-firmware\",\"product\":\"p\",\"group\":\"none\",\"firmware\":\"1\"}"), &revision);
    CHECK(revision == 0);

    otagate_device device = good_device();
    revision = 7;
    EXPECT(E(NULL), otagate_fleet_add_devices, NULL, "p", 1, &device, 1, &revision);
    CHECK(revision == 0);
    EXPECT(E(NULL), otagate_fleet_add_devices, w.fleet, "p", 1, NULL, 1, NULL);
    EXPECT(E(NULL), otagate_fleet_add_devices, w.fleet, "p", 1, NULL, SIZE_MAX, NULL);
    EXPECT(OK, otagate_fleet_add_devices, w.fleet, "p", 1, NULL, 0, NULL);
    EXPECT(OK, otagate_fleet_add_devices, w.fleet, "p", 1, &device, 0, NULL);
    static const size_t lengths[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / sizeof(otagate_device), (size_t)1 << 48, OTAGATE_ROWS_MAX + 1};
    for (size_t at = 0; at < LEN(lengths); at++) {
        revision = 7;
        EXPECT(E(LENGTH), otagate_fleet_add_devices, w.fleet, "p", 1, &device, lengths[at], &revision);
        CHECK(revision == 0);
    }
    EXPECT(E(REFUSED), otagate_fleet_add_devices, w.fleet, "p", 1, &device, 1, NULL); /* It is there already. */
    EXPECT(E(REFUSED), otagate_fleet_add_devices, w.fleet, "none", 4, &device, 1, NULL);
    static const int32_t states[] = {-1, OTAGATE_DEVICE_QUOTA + 1, INT32_MAX, INT32_MIN};
    for (size_t at = 0; at < LEN(states); at++) {
        device.state = states[at];
        EXPECT(E(ARGUMENT), otagate_fleet_add_devices, w.fleet, "p", 1, &device, 1, NULL);
        CHECK(put_in(DEVICE, hook_device, &device) == E(ARGUMENT));
    }
    device = good_device();
    device.pin = otagate_text_of("1");
    EXPECT(E(ARGUMENT), otagate_fleet_add_devices, w.fleet, "p", 1, &device, 1, NULL);
    device = good_device();
    device.cap = otagate_text_of("1");
    EXPECT(E(ARGUMENT), otagate_fleet_add_devices, w.fleet, "p", 1, &device, 1, NULL);

    EXPECT(E(NULL), otagate_fleet_register, NULL, "p", 1, "s", 1, NOW, &registered);
    CHECK(registered == OTAGATE_REGISTERED_REFUSED);
    EXPECT(E(NULL), otagate_fleet_register, w.fleet, "p", 1, "s", 1, NOW, NULL);
    EXPECT(E(NOTHING), otagate_fleet_register, w.fleet, "q", 1, "s", 1, NOW, &registered);
    EXPECT(OK, otagate_fleet_register, w.fleet, "p", 1, "s", 1, INT64_MIN, &registered);
    CHECK(registered == OTAGATE_REGISTERED_KNOWN);

    string = OLD;
    EXPECT(E(NULL), otagate_fleet_device, NULL, "p", 1, "s", 1, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_fleet_device, w.fleet, "p", 1, "s", 1, NULL);
    static const struct {
        const char *product, *serial;
        int32_t code;
    } no_devices[] = {{"q", "s", E(NOTHING)}, {"p", "t", E(NOTHING)}, {"p", "", E(ARGUMENT)}, {"p", "a\nb", E(ARGUMENT)}};
    for (size_t at = 0; at < LEN(no_devices); at++) {
        string = OLD;
        EXPECT(no_devices[at].code, otagate_fleet_device, w.fleet, no_devices[at].product, 1, no_devices[at].serial,
               strlen(no_devices[at].serial), &string);
        CHECK(string == NULL);
    }
    EXPECT(OK, otagate_fleet_device, w.fleet, "p", 1, "s", 1, &string);
    CHECK(strstr(otagate_string_data(string), "\"verified\"") != NULL);
    otagate_string_free(string);
    size_t held = 7;
    EXPECT(E(NULL), otagate_fleet_reclaim, NULL, &held);
    CHECK(held == 0);
    EXPECT(OK, otagate_fleet_reclaim, w.fleet, NULL);

    EXPECT(E(NULL), otagate_fleet_replace, NULL, LITERAL(FLEET), 1);
    EXPECT(E(JSON), otagate_fleet_replace, w.fleet, LITERAL("{"), 1);
    EXPECT(E(REVISION), otagate_fleet_replace, w.fleet, LITERAL("{\"revision\":1,\"products\":[]}"), 0);
    EXPECT(OK, otagate_fleet_replace, w.fleet, LITERAL(FLEET), INT32_MIN);

    revision = 7;
    EXPECT(E(NULL), otagate_fleet_revision, NULL, &revision);
    CHECK(revision == 0);
    EXPECT(E(NULL), otagate_fleet_revision, w.fleet, NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_fleet_to_json, NULL, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_fleet_to_json, w.fleet, NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_fleet_lint, NULL, NOW, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_fleet_lint, w.fleet, NOW, NULL);
    EXPECT(OK, otagate_fleet_lint, w.fleet, INT64_MIN, &string);
    otagate_string_free(string);
    EXPECT(OK, otagate_fleet_lint, w.fleet, INT64_MAX, &string);
    otagate_string_free(string);

    memset(counts, 0xaa, sizeof counts);
    EXPECT(E(NULL), otagate_fleet_verdicts, NULL, NULL, 0, counts, LEN(counts));
    CHECK(counts[OTAGATE_REASON_SERVE] == 0);
    EXPECT(E(NULL), otagate_fleet_verdicts, w.fleet, NULL, 0, NULL, 1);
    EXPECT(OK, otagate_fleet_verdicts, w.fleet, NULL, 0, NULL, 0);
    /* Of an array that is said to be longer than any, nothing beyond the reasons is written. */
    EXPECT(OK, otagate_fleet_verdicts, w.fleet, NULL, 0, counts, SIZE_MAX);
    CHECK(counts[OTAGATE_REASON_SERVE] > 0);
    counts[1] = 7;
    EXPECT(OK, otagate_fleet_verdicts, w.fleet, NULL, 0, counts, 1);
    CHECK(counts[1] == 7);
    string = OLD;
    EXPECT(E(NULL), otagate_fleet_verdicts_json, NULL, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_fleet_verdicts_json, w.fleet, NULL);

    otagate_census census = census_before();
    EXPECT(E(NULL), otagate_fleet_census, NULL, "p", 1, "g", 1, 0, &census);
    CHECK(counts_nobody(&census));
    EXPECT(E(NULL), otagate_fleet_census, w.fleet, "p", 1, "g", 1, 0, NULL);
    census = census_before();
    EXPECT(E(NOTHING), otagate_fleet_census, w.fleet, "p", 1, "g", 1, SIZE_MAX, &census);
    CHECK(counts_nobody(&census));
    EXPECT(E(NOTHING), otagate_fleet_census, w.fleet, "p", 1, "g", 1, 1, &census);
}

static const int32_t no_outcomes[] = {0, -1, OTAGATE_OUTCOME_OFFERED, OTAGATE_OUTCOME_FAILED + 1, INT32_MAX, INT32_MIN};

static void ledgers(void) {
    otagate_ledger *ledger = OLD;
    otagate_string *string = OLD;
    EXPECT(E(NULL), otagate_ledger_new, 10, NULL);
    EXPECT(OK, otagate_ledger_new, UINT32_MAX, &ledger);
    RUN(otagate_ledger_free, ledger);
    EXPECT(OK, otagate_ledger_new, 0, &ledger);
    otagate_decision decision = served_before();
    EXPECT(OK, otagate_reader_attend, w.reader, ledger, asking(), UINT32_MAX, NOW, &decision);
    CHECK(decision.status == OTAGATE_STATUS_SERVE);
    RUN(otagate_ledger_free, ledger);
    RUN(otagate_ledger_free, NULL);
    EXPECT(E(NULL), otagate_ledger_from_json, LITERAL("{}"), 1, NULL);
    ledger = OLD;
    EXPECT(E(NULL), otagate_ledger_clone, NULL, &ledger);
    CHECK(ledger == NULL);
    EXPECT(E(NULL), otagate_ledger_clone, w.ledger, NULL);
    EXPECT(OK, otagate_ledger_clone, w.ledger, &ledger);
    RUN(otagate_ledger_free, ledger);
    EXPECT(E(NULL), otagate_ledger_to_json, NULL, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_ledger_to_json, w.ledger, NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_ledger_statistics, NULL, w.fleet, "p", 1, "g", 1, &string);
    CHECK(string == NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_ledger_statistics, w.ledger, NULL, "p", 1, "g", 1, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_ledger_statistics, w.ledger, w.fleet, "p", 1, "g", 1, NULL);
    EXPECT(E(NOTHING), otagate_ledger_statistics, w.ledger, w.fleet, "p", 1, "h", 1, &string);
    string = OLD;
    EXPECT(E(NULL), otagate_ledger_run_statistics, NULL, "p", 1, "g", 1, "r", 1, NOW, 0, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_ledger_run_statistics, w.ledger, "p", 1, "g", 1, "r", 1, NOW, 0, NULL);
    EXPECT(E(NULL), otagate_ledger_forget, NULL, "p", 1, "g", 1, "r", 1, NOW);
    EXPECT(OK, otagate_ledger_forget, w.ledger, "p", 1, "g", 1, "r", 1, INT64_MIN);
    EXPECT(OK, otagate_ledger_forget, w.ledger, "p", 1, "g", 1, "r", 1, INT64_MAX);

    string = OLD;
    EXPECT(E(NULL), otagate_fleet_advance, NULL, w.ledger, NOW, OTAGATE_FORMAT_TEXT, &string);
    CHECK(string == NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_fleet_advance, w.fleet, NULL, NOW, OTAGATE_FORMAT_TEXT, &string);
    CHECK(string == NULL);
    for (size_t at = 0; at < LEN(no_formats); at++) {
        string = OLD;
        EXPECT(E(ARGUMENT), otagate_fleet_advance, w.fleet, w.ledger, NOW, no_formats[at], &string);
        CHECK(string == NULL);
    }
    EXPECT(OK, otagate_fleet_advance, w.fleet, w.ledger, INT64_MIN, OTAGATE_FORMAT_JSON, NULL);
    EXPECT(OK, otagate_fleet_advance, w.fleet, w.ledger, INT64_MAX, OTAGATE_FORMAT_TEXT, &string);
    otagate_string_free(string);

    otagate_report report = otagate_report_init();
    report.product = otagate_text_of("p");
    report.group = otagate_text_of("g");
    report.serial = otagate_text_of("s");
    report.outcome = OTAGATE_OUTCOME_FAILED;
    int32_t noted = OTAGATE_NOTED_MOVED;
    EXPECT(E(NULL), otagate_fleet_report, NULL, w.ledger, &report, NOW, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    noted = OTAGATE_NOTED_MOVED;
    EXPECT(E(NULL), otagate_fleet_report, w.fleet, NULL, &report, NOW, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    EXPECT(E(NULL), otagate_fleet_report, w.fleet, w.ledger, NULL, NOW, &noted);
    EXPECT(OK, otagate_fleet_report, w.fleet, w.ledger, &report, INT64_MAX, NULL);
    EXPECT(OK, otagate_fleet_report, w.fleet, w.ledger, &report, INT64_MIN, NULL);
    for (size_t at = 0; at < LEN(no_outcomes); at++) {
        report.outcome = no_outcomes[at];
        noted = OTAGATE_NOTED_MOVED;
        EXPECT(E(ARGUMENT), otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
        CHECK(noted == OTAGATE_NOTED_FOREIGN);
    }
    report.outcome = OTAGATE_OUTCOME_FAILED;
    /* The start of a rollout that is not named. */
    report.rollout_started_at_millis = NOW;
    EXPECT(E(ARGUMENT), otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
    report.rollout_started_at_millis = OTAGATE_NEVER;
    report.group = otagate_text_of("none");
    EXPECT(E(NOTHING), otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
    /* No group is named, and there is no such device to ask for it. */
    report.group = otagate_text_of(NULL);
    report.serial = otagate_text_of("t");
    EXPECT(E(NOTHING), otagate_fleet_report, w.fleet, w.ledger, &report, NOW, &noted);
}

static void readers(void) {
    otagate_reader *reader = OLD;
    otagate_string *string = OLD;
    EXPECT(E(NULL), otagate_reader_new, NULL, &reader);
    CHECK(reader == NULL);
    EXPECT(E(NULL), otagate_reader_new, w.fleet, NULL);
    reader = OLD;
    EXPECT(E(NULL), otagate_reader_new_of_store, NULL, &reader);
    CHECK(reader == NULL);
    EXPECT(E(NULL), otagate_reader_new_of_store, w.store, NULL);
    RUN(otagate_reader_free, NULL);

    otagate_check_in check_in = good_check_in();
    otagate_decision decision = served_before();
    EXPECT(E(NULL), otagate_reader_decide, NULL, &check_in, NOW, &decision);
    CHECK(denies(&decision));
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_decide, w.asked, NULL, NOW, &decision);
    CHECK(denies(&decision));
    EXPECT(E(NULL), otagate_reader_decide, w.asked, &check_in, NOW, NULL);
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_attend, NULL, w.ledger, &check_in, 60, NOW, &decision);
    CHECK(denies(&decision));
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_attend, w.asked, NULL, &check_in, 60, NOW, &decision);
    CHECK(denies(&decision));
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_attend, w.asked, w.ledger, NULL, 60, NOW, &decision);
    CHECK(denies(&decision));
    EXPECT(E(NULL), otagate_reader_attend, w.asked, w.ledger, &check_in, 60, NOW, NULL);
    decision = served_before();
    EXPECT(E(ARGUMENT), otagate_reader_attend, w.asked, w.ledger, &check_in, 0, NOW, &decision);
    CHECK(denies(&decision));

    otagate_check_in check_ins[2] = {good_check_in(), good_check_in()};
    otagate_decision decisions[2] = {served_before(), served_before()};
    EXPECT(E(NULL), otagate_reader_decide_many, NULL, check_ins, NOW, decisions, 2);
    CHECK(denies(&decisions[0]) && denies(&decisions[1]));
    decisions[0] = decisions[1] = served_before();
    EXPECT(E(NULL), otagate_reader_decide_many, w.asked, NULL, NOW, decisions, 2);
    CHECK(denies(&decisions[0]) && denies(&decisions[1]));
    EXPECT(E(NULL), otagate_reader_decide_many, w.asked, check_ins, NOW, NULL, 2);
    EXPECT(OK, otagate_reader_decide_many, w.asked, NULL, NOW, NULL, 0);
    static const size_t lengths[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / sizeof(otagate_decision), (size_t)1 << 48, OTAGATE_ROWS_MAX + 1};
    for (size_t at = 0; at < LEN(lengths); at++) {
        EXPECT(E(LENGTH), otagate_reader_decide_many, w.asked, check_ins, NOW, decisions, lengths[at]);
        EXPECT(E(NULL), otagate_reader_decide_many, w.asked, check_ins, NOW, NULL, lengths[at]);
    }
    /* One of the structs that are to be written is of a foreign size: those before it deny, it and those behind it stay as they were. */
    otagate_check_in many[3] = {good_check_in(), good_check_in(), good_check_in()};
    for (size_t foreign = 0; foreign < LEN(many); foreign++) {
        otagate_decision into[3] = {served_before(), served_before(), served_before()}, was[3];
        into[foreign].struct_size = foreign == 1 ? sizeof *into + 8 : 0;
        memcpy(was, into, sizeof was);
        EXPECT(E(STRUCT_SIZE), otagate_reader_decide_many, w.asked, many, NOW, into, 3);
        for (size_t at = 0; at < foreign; at++) CHECK(denies(&into[at]));
        CHECK(memcmp(&was[foreign], &into[foreign], (3 - foreign) * sizeof *was) == 0);
    }

    EXPECT(E(NULL), otagate_reader_explain, NULL, NULL, &check_in, NOW, OTAGATE_FORMAT_TEXT, &string);
    CHECK(string == NULL);
    string = OLD;
    EXPECT(E(NULL), otagate_reader_explain, w.asked, NULL, NULL, NOW, OTAGATE_FORMAT_TEXT, &string);
    CHECK(string == NULL);
    EXPECT(E(NULL), otagate_reader_explain, w.asked, NULL, &check_in, NOW, OTAGATE_FORMAT_TEXT, NULL);

    otagate_offer offer = offered_before();
    EXPECT(E(NULL), otagate_reader_offer, NULL, &offer);
    CHECK(offers_nothing(&offer));
    EXPECT(E(NULL), otagate_reader_offer, w.asked, NULL);
    otagate_effect effect = effect_before();
    EXPECT(E(NULL), otagate_reader_effect, NULL, &effect);
    CHECK(effect.kind == OTAGATE_EFFECT_NONE && effect.slots_max == -1 && effect.downloads_max == -1 && is_none(effect.rollout));
    EXPECT(E(NULL), otagate_reader_effect, w.asked, NULL);
    otagate_resource resource = resource_before();
    EXPECT(E(NULL), otagate_reader_resource, NULL, 0, &resource);
    CHECK(is_none(resource.name) && is_none(resource.locator) && resource.size_bytes == 0);
    EXPECT(E(NULL), otagate_reader_resource, w.asked, 0, NULL);
    resource = resource_before();
    EXPECT(E(NOTHING), otagate_reader_resource, listing(), SIZE_MAX, &resource);
    CHECK(is_none(resource.name));
    EXPECT(E(NOTHING), otagate_reader_resource, listing(), 1, &resource);
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_refuse, NULL, OTAGATE_REFUSED_SLOTS, &decision);
    CHECK(denies(&decision));
    EXPECT(E(NULL), otagate_reader_refuse, w.asked, OTAGATE_REFUSED_SLOTS, NULL);
    otagate_who who = known_before();
    EXPECT(E(NULL), otagate_reader_who, NULL, &who);
    CHECK(is_nobody(&who));
    EXPECT(E(NULL), otagate_reader_who, w.asked, NULL);
    who = known_before();
    /* Its decision asks for a claim, and says for whom. */
    EXPECT(OK, otagate_reader_who, w.asked, &who);
    CHECK(!is_nobody(&who));
    otagate_after *after = OLD;
    EXPECT(E(NULL), otagate_reader_after, NULL, &after);
    CHECK(after == NULL);
    EXPECT(E(NULL), otagate_reader_after, w.asked, NULL);
    after = OLD;
    EXPECT(OK, otagate_reader_after, w.asked, &after);
    CHECK(after == NULL);
    /* Nothing is left to do: all takes that. */
    int32_t noted = OTAGATE_NOTED_MOVED;
    EXPECT(OK, otagate_after_answer, NULL, INT64_MIN);
    EXPECT(OK, otagate_after_last_byte, NULL, UINT32_MAX, INT64_MAX, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    EXPECT(OK, otagate_after_last_byte, NULL, 0, NOW, NULL);
    RUN(otagate_after_free, NULL);

    int32_t may_ask = 1;
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_identify, NULL, &check_in, NOW, &may_ask, &decision);
    CHECK(may_ask == 0 && denies(&decision));
    may_ask = 1, decision = served_before();
    EXPECT(E(NULL), otagate_reader_identify, w.asked, NULL, NOW, &may_ask, &decision);
    CHECK(may_ask == 0 && denies(&decision));
    decision = served_before();
    EXPECT(E(NULL), otagate_reader_identify, w.asked, &check_in, NOW, NULL, &decision);
    CHECK(denies(&decision));
    may_ask = 1;
    EXPECT(E(NULL), otagate_reader_identify, w.asked, &check_in, NOW, &may_ask, NULL);
    CHECK(may_ask == 0);
    EXPECT(E(NULL), otagate_reader_report, NULL, w.ledger, &check_in, OTAGATE_OUTCOME_FAILED, NOW, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    noted = OTAGATE_NOTED_MOVED;
    EXPECT(E(NULL), otagate_reader_report, w.asked, NULL, &check_in, OTAGATE_OUTCOME_FAILED, NOW, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    noted = OTAGATE_NOTED_MOVED;
    EXPECT(E(NULL), otagate_reader_report, w.asked, w.ledger, NULL, OTAGATE_OUTCOME_FAILED, NOW, &noted);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    EXPECT(OK, otagate_reader_report, w.asked, w.ledger, &check_in, OTAGATE_OUTCOME_CONFIRMED, INT64_MIN, NULL);
    EXPECT(OK, otagate_reader_report, w.asked, w.ledger, &check_in, OTAGATE_OUTCOME_CONFIRMED, INT64_MAX, NULL);
    for (size_t at = 0; at < LEN(no_outcomes); at++) {
        noted = OTAGATE_NOTED_MOVED;
        EXPECT(E(ARGUMENT), otagate_reader_report, w.asked, w.ledger, &check_in, no_outcomes[at], NOW, &noted);
        CHECK(noted == OTAGATE_NOTED_FOREIGN);
    }

    static const int32_t nothings[] = {-1, 5, 9, 100, INT32_MAX, INT32_MIN};
    for (size_t at = 0; at < LEN(nothings); at++) {
        check_in = good_check_in();
        check_in.want = nothings[at];
        decision = served_before();
        EXPECT(E(ARGUMENT), otagate_reader_decide, w.asked, &check_in, NOW, &decision);
        CHECK(denies(&decision));
        check_in = good_check_in();
        check_in.digest_kind = nothings[at];
        decision = served_before();
        EXPECT(E(ARGUMENT), otagate_reader_attend, w.asked, w.ledger, &check_in, 60, NOW, &decision);
        CHECK(denies(&decision));
        decisions[0] = decisions[1] = served_before();
        check_ins[1] = check_in;
        EXPECT(E(ARGUMENT), otagate_reader_decide_many, w.asked, check_ins, NOW, decisions, 2);
        CHECK(denies(&decisions[0]) && denies(&decisions[1]));
        check_in = good_check_in();
        string = OLD;
        EXPECT(E(ARGUMENT), otagate_reader_explain, w.asked, NULL, &check_in, NOW, nothings[at], &string);
        CHECK(string == NULL);
        decision = served_before();
        otagate_reader_decide(w.asked, asking(), NOW, &decision);
        CHECK(RUN(otagate_reader_refuse, w.asked, nothings[at], &decision) == E(ARGUMENT) && denies(&decision));
        /* What cannot be refused so is not served either, and is settled. */
        offer = offered_before();
        CHECK(otagate_reader_offer(w.asked, &offer) == E(NOTHING) && offers_nothing(&offer));
        effect = effect_before();
        CHECK(otagate_reader_effect(w.asked, &effect) == E(NOTHING) && effect.kind == OTAGATE_EFFECT_NONE);
        EXPECT(E(NOTHING), otagate_reader_refuse, w.asked, OTAGATE_REFUSED_SLOTS, &decision);
        check_in = good_check_in();
        check_in.want = nothings[at];
        may_ask = 1, decision = served_before();
        EXPECT(E(ARGUMENT), otagate_reader_identify, w.asked, &check_in, NOW, &may_ask, &decision);
        CHECK(may_ask == 0 && denies(&decision));
        noted = OTAGATE_NOTED_MOVED;
        EXPECT(E(ARGUMENT), otagate_reader_report, w.asked, w.ledger, &check_in, OTAGATE_OUTCOME_FAILED, NOW, &noted);
        CHECK(noted == OTAGATE_NOTED_FOREIGN);
    }
    /* Any time is one: a verdict comes out, and nothing overflows. */
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX - 1, INT64_MAX};
    for (size_t at = 0; at < LEN(times); at++) {
        check_in = good_check_in();
        EXPECT(OK, otagate_reader_decide, w.asked, &check_in, times[at], &decision);
        EXPECT(OK, otagate_reader_explain, w.asked, w.ledger, &check_in, times[at], OTAGATE_FORMAT_JSON, &string);
        otagate_string_free(string);
        EXPECT(OK, otagate_reader_attend, w.asked, w.ledger, &check_in, UINT32_MAX, times[at], &decision);
        CHECK(otagate_reader_attend(w.asked, w.ledger, &check_in, UINT32_MAX, times[at], &decision) == OK);
        CHECK(otagate_reader_after(w.asked, &after) == OK);
        EXPECT(OK, otagate_after_answer, after, times[at]);
        EXPECT(OK, otagate_after_last_byte, after, UINT32_MAX, times[at], NULL);
        EXPECT(OK, otagate_after_last_byte, after, UINT32_MAX, times[LEN(times) - 1 - at], &noted);
        RUN(otagate_after_free, after);
        EXPECT(OK, otagate_reader_identify, w.asked, &check_in, times[at], &may_ask, &decision);
        CHECK(may_ask == 1 && denies(&decision));
    }
}

static void ranges(void) {
    static const struct {
        const char *header;
        uint64_t size_bytes;
        int32_t kind;
        uint64_t first, last;
    } rows[] = {
        {NULL, 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"", 0, OTAGATE_RANGE_WHOLE, 0, 0},
        {"bytes=0-4", 10, OTAGATE_RANGE_PART, 0, 4},
        {"bytes=0-0", 10, OTAGATE_RANGE_PART, 0, 0},
        {"bytes=5-", 10, OTAGATE_RANGE_PART, 5, 9},
        {"bytes=5-10", 10, OTAGATE_RANGE_PART, 5, 9},
        {"bytes=-3", 10, OTAGATE_RANGE_PART, 7, 9},
        {"bytes=-30", 10, OTAGATE_RANGE_PART, 0, 9},
        {"BYTES = 9 - 9 ", 10, OTAGATE_RANGE_PART, 9, 9},
        {"bytes=0-99999999999999999999999", 10, OTAGATE_RANGE_PART, 0, 9},
        {"bytes=18446744073709551614-", UINT64_MAX, OTAGATE_RANGE_PART, UINT64_MAX - 1, UINT64_MAX - 1},
        {"bytes=10-", 10, OTAGATE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", 10, OTAGATE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, OTAGATE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, OTAGATE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, OTAGATE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=4-1", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"bytes=0-1,3-4", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"bytes=-", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"bytes=+1-2", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"lines=0-4", 10, OTAGATE_RANGE_WHOLE, 0, 9},
        {"\xff\xfe=0-4", 10, OTAGATE_RANGE_WHOLE, 0, 9},
    };
    int32_t kind = 7;
    uint64_t first = 7, last = 7;
    for (size_t at = 0; at < LEN(rows); at++) {
        kind = 7, first = last = 7;
        otagate_text header = otagate_text_of(rows[at].header);
        CHECK(RUN(otagate_parse_range, TEXT(header), rows[at].size_bytes, &kind, &first, &last) == OK);
        if (kind != rows[at].kind || first != rows[at].first || last != rows[at].last) {
            fail("the range `%s` of %" PRIu64 ": found %d, %" PRIu64 " to %" PRIu64, rows[at].header, rows[at].size_bytes, kind, first, last);
        }
    }
    /* Each that can be written is, where another one is NULL. */
    kind = OTAGATE_RANGE_WHOLE, first = last = 7;
    EXPECT(E(NULL), otagate_parse_range, NULL, 0, 10, NULL, &first, &last);
    CHECK(first == 0 && last == 0);
    first = last = 7;
    EXPECT(E(NULL), otagate_parse_range, NULL, 0, 10, &kind, NULL, &last);
    CHECK(kind == OTAGATE_RANGE_UNSATISFIABLE && last == 0);
    kind = OTAGATE_RANGE_WHOLE;
    EXPECT(E(NULL), otagate_parse_range, NULL, 0, 10, &kind, &first, NULL);
    CHECK(kind == OTAGATE_RANGE_UNSATISFIABLE && first == 0);
}

static void words(void) {
    uint64_t number = 7;
    char canonical[OTAGATE_SERIAL_BYTES_MAX];
    size_t len = 7;
    int32_t fault = OTAGATE_SERIAL_IS_FINE, equal = 1, order = 0;
    EXPECT(E(NULL), otagate_rank, "a", 1, "b", 1, "c", 1, NULL);
    EXPECT(E(NULL), otagate_read_serial, OTAGATE_SERIAL_OPAQUE, "s", 1, NULL, &len, &fault);
    CHECK(len == 0 && fault == OTAGATE_SERIAL_IS_MALFORMED);
    fault = OTAGATE_SERIAL_IS_FINE;
    EXPECT(E(NULL), otagate_read_serial, OTAGATE_SERIAL_OPAQUE, "s", 1, canonical, NULL, &fault);
    CHECK(fault == OTAGATE_SERIAL_IS_MALFORMED);
    len = 7;
    EXPECT(E(NULL), otagate_read_serial, OTAGATE_SERIAL_OPAQUE, "s", 1, canonical, &len, NULL);
    CHECK(len == 0);
    static const int32_t schemes[] = {-1, OTAGATE_SERIAL_DECIMAL + 1, INT32_MAX, INT32_MIN};
    for (size_t at = 0; at < LEN(schemes); at++) {
        len = 7, fault = OTAGATE_SERIAL_IS_FINE;
        EXPECT(E(ARGUMENT), otagate_read_serial, schemes[at], "s", 1, canonical, &len, &fault);
        CHECK(len == 0 && fault == OTAGATE_SERIAL_IS_MALFORMED);
    }
    EXPECT(E(NULL), otagate_compare_versions, NULL, 0, "1", 1, "1", 1, NULL, &order);
    CHECK(order == OTAGATE_UNORDERED);
    EXPECT(E(NULL), otagate_compare_versions, NULL, 0, "1", 1, "1", 1, &equal, NULL);
    CHECK(equal == 0);
    equal = 1;
    EXPECT(E(JSON), otagate_compare_versions, LITERAL("{\"scheme\":\"none\"}"), "1", 1, "1", 1, &equal, &order);
    CHECK(equal == 0);
    EXPECT(E(NULL), otagate_share_threshold, 1, NULL);
    static const uint32_t shares[] = {0, 10001, UINT16_MAX, 65536 + 1, 65536 + 10000, UINT32_MAX};
    for (size_t at = 0; at < LEN(shares); at++) {
        number = 7;
        EXPECT(E(ARGUMENT), otagate_share_threshold, shares[at], &number);
        CHECK(number == 0);
    }
    EXPECT(OK, otagate_share_threshold, 10000, &number);
    CHECK(number == UINT64_MAX);
    EXPECT(E(NULL), otagate_key_hash, "k", 1, NULL);
    uint8_t hash[32], none[32] = {0};
    char longest[1025];
    memset(longest, 'k', sizeof longest);
    EXPECT(OK, otagate_key_hash, longest, sizeof longest - 1, hash);
    CHECK(memcmp(hash, none, sizeof none) != 0);
    EXPECT(E(LENGTH), otagate_key_hash, longest, sizeof longest, hash);
    CHECK(memcmp(hash, none, sizeof none) == 0);
    static const uint8_t of_k[4] = {0x5c, 0xbc, 0xb0, 0xce}, of_nothing[4] = {0xaf, 0x13, 0x49, 0xb9};
    EXPECT(OK, otagate_key_hash, "k", 1, hash);
    CHECK(memcmp(hash, of_k, sizeof of_k) == 0 && hash[31] == 0x6b);
    EXPECT(OK, otagate_key_hash, NULL, 0, hash);
    CHECK(memcmp(hash, of_nothing, sizeof of_nothing) == 0);
    ranges();
    EXPECT(E(NULL), otagate_rollout_step, NULL, 0, LITERAL(ROLLOUT), LITERAL("{}"), NOW, NULL);
    otagate_string *answer = OLD;
    EXPECT(E(REFUSED), otagate_rollout_step, NULL, 0, LITERAL("{\"id\":\"r\",\"target\":{\"firmware\":\"1\"},\"waves\":[]}"), LITERAL("{}"), NOW, &answer);
    CHECK(answer == NULL);
    static const int64_t times[] = {INT64_MIN, INT64_MAX};
    for (size_t at = 0; at < LEN(times); at++) {
        EXPECT(OK, otagate_rollout_step, NULL, 0, LITERAL(ROLLOUT), LITERAL("{}"), times[at], &answer);
        otagate_string_free(answer);
    }

    CHECK(strcmp(RUN(otagate_string_data, NULL), "") == 0);
    CHECK(RUN(otagate_string_len, NULL) == 0);
    RUN(otagate_string_free, NULL);
    static const int32_t nothings[] = {-1, 16, 20, 63, 64, 99, 101, 65536 + 61, INT32_MAX, INT32_MIN};
    for (size_t at = 0; at < LEN(nothings); at++) {
        CHECK(strcmp(RUN(otagate_code_name, nothings[at]), "unknown") == 0);
        CHECK(strcmp(RUN(otagate_reason_name, nothings[at]), "none") == 0);
        CHECK(strlen(RUN(otagate_reason_sentence, nothings[at])) > 0);
        CHECK(RUN(otagate_reason_status, nothings[at]) == OTAGATE_STATUS_UNAUTHORIZED);
    }
    for (int32_t code = OTAGATE_OK; code <= OTAGATE_ERROR_PANIC; code++) {
        CHECK(strncmp(otagate_code_name(code), code == OK ? "OTAGATE_OK" : "OTAGATE_ERROR_", 10) == 0);
    }
    mark("otagate_abi_version");
    CHECK(otagate_abi_version() == OTAGATE_ABI_VERSION);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", OTAGATE_VERSION_MAJOR, OTAGATE_VERSION_MINOR, OTAGATE_VERSION_PATCH);
    mark("otagate_version");
    CHECK(strcmp(otagate_version(), version) == 0);
}

/* ---- What a host's store may do wrongly. ---- */

static void store_handles(void) {
    struct host host = {0};
    otagate_store_callbacks callbacks = callbacks_of(&host);
    otagate_store *store = OLD;
    EXPECT(E(NULL), otagate_store_new, NULL, &store);
    CHECK(store == NULL);
    EXPECT(E(NULL), otagate_store_new, &callbacks, NULL);
    callbacks.open_view = NULL;
    EXPECT(E(NULL), otagate_store_new, &callbacks, &store);
    callbacks = callbacks_of(&host);
    callbacks.product_of_key = NULL;
    EXPECT(E(NULL), otagate_store_new, &callbacks, &store);
    callbacks = callbacks_of(&host);
    callbacks.device = NULL;
    store = OLD;
    EXPECT(E(NULL), otagate_store_new, &callbacks, &store);
    CHECK(store == NULL);
    /* What was not taken stays the caller's. */
    CHECK(host.destroyed == 0 && host.opened == 0);
    store = OLD;
    EXPECT(E(NULL), otagate_store_clone, NULL, &store);
    CHECK(store == NULL);
    EXPECT(E(NULL), otagate_store_clone, w.store, NULL);
    RUN(otagate_store_free, NULL);
}

/* Frees two handles on a store and two readers in each of the 24 orders: `destroy` is called once, by the last. */
static void destroyed_once_in_any_order(void) {
    for (int order = 0; order < 24; order++) {
        struct host host = {0};
        otagate_store_callbacks callbacks = callbacks_of(&host);
        otagate_store *stores[2] = {NULL, NULL};
        otagate_reader *of_store[2] = {NULL, NULL};
        int left[4] = {0, 1, 2, 3}, code = order;
        CHECK(otagate_store_new(&callbacks, &stores[0]) == OK);
        CHECK(RUN(otagate_store_clone, stores[0], &stores[1]) == OK);
        for (int at = 0; at < 2; at++) CHECK(otagate_reader_new_of_store(stores[at], &of_store[at]) == OK);
        for (int count = 4; count > 0; count--) {
            int at = code % count;
            code /= count;
            CHECK(host.destroyed == 0);
            if (left[at] < 2) RUN(otagate_store_free, stores[left[at]]);
            else RUN(otagate_reader_free, of_store[left[at] - 2]);
            left[at] = left[count - 1];
            /* Who is left still answers. */
            for (int reader = 0; reader < count - 1; reader++) {
                otagate_decision decision = otagate_decision_init();
                if (left[reader] < 2) continue;
                CHECK(otagate_reader_decide(of_store[left[reader] - 2], asking(), NOW, &decision) == OK);
                CHECK(decision.status == OTAGATE_STATUS_SERVE);
            }
        }
        CHECK(host.destroyed == 1);
        CHECK(host.opened == host.closed);
    }
}

static int32_t ask(int how, otagate_decision *decision) {
    *decision = served_before();
    if (how == 0) return otagate_reader_decide(w.store_reader, asking(), NOW, decision);
    if (how == 1) return otagate_reader_decide_many(w.store_reader, asking(), NOW, decision, 1);
    if (how == 2) return otagate_reader_attend(w.store_reader, w.ledger, asking(), 60, NOW, decision);
    if (how == 3) {
        int32_t may_ask = 1, code = otagate_reader_identify(w.store_reader, asking(), NOW, &may_ask, decision);
        CHECK(may_ask == (code == OK));
        return code;
    }
    if (how == 4) {
        int32_t noted = OTAGATE_NOTED_MOVED;
        int32_t code = otagate_reader_report(w.store_reader, w.ledger, asking(), OTAGATE_OUTCOME_FAILED, NOW, &noted);
        CHECK(code == OK || noted == OTAGATE_NOTED_FOREIGN);
        *decision = otagate_decision_init();
        return code;
    }
    otagate_string *explanation = OLD;
    int32_t code = otagate_reader_explain(w.store_reader, NULL, asking(), NOW, OTAGATE_FORMAT_TEXT, &explanation);
    CHECK(code == OK || explanation == NULL);
    if (code == OK) otagate_string_free(explanation);
    *decision = served_before();
    return code;
}

/* What is left to do of the last decision of a reader. */
static otagate_after *after_of(otagate_reader *reader) {
    otagate_after *after = OLD;
    CHECK(RUN(otagate_reader_after, reader, &after) == OK);
    return after;
}

static void own_codes_come_back(void) {
    static const char *const how[] = {"decide", "decide_many", "attend", "identify", "report", "explain"};
    static const int32_t codes[] = {1234, -7, OTAGATE_WANTED, INT32_MIN};
    for (enum callback at = OPEN_VIEW; at <= STANDING; at++) {
        for (int asked = 0; asked < 6; asked++) {
            for (size_t code = 0; code < LEN(codes); code++) {
                char what[100];
                snprintf(what, sizeof what, "%s, whose %s gave %d", how[asked], callback_names[at], codes[code]);
                otagate_decision decision;
                otagate_offer offer = offered_before();
                w.host.fails_at = at;
                w.host.code = codes[code];
                int32_t found = ask(asked, &decision);
                w.host.fails_at = NONE;
                mark("otagate_last_store_code");
                int32_t own = otagate_last_store_code();
                char text[200];
                otagate_last_error(text, sizeof text);
                if (strstr(text, callback_names[at]) == NULL) fail("%s: the words name no callback: %s", what, text);
                if (own != codes[code]) fail("%s: expected %d of otagate_last_store_code, found %d", what, codes[code], own);
                if (asked < 5 && !denies(&decision)) fail("%s: the decision does not deny", what);
                if (asked < 5 && (otagate_reader_offer(w.store_reader, &offer) == OK || !offers_nothing(&offer))) fail("%s: still offers", what);
                if (asked < 5) nothing_is_left(what, w.store_reader);
                expect_code(__LINE__, what, E(STORE), found);
            }
        }
    }
    /* Another failure takes the host's code away. */
    otagate_decision decision = served_before();
    otagate_reader_decide(w.store_reader, NULL, NOW, &decision);
    CHECK(otagate_last_store_code() == 0);
    /* A registration that fails; the answer to the device stays the same. */
    otagate_check_in check_in = good_check_in();
    check_in.serial = otagate_text_of("first contact");
    for (size_t code = 0; code < LEN(codes); code++) {
        CHECK(otagate_reader_decide(w.store_reader, &check_in, NOW, &decision) == OK && decision.effect == OTAGATE_EFFECT_REGISTER);
        otagate_after *after = after_of(w.store_reader);
        CHECK(after != NULL);
        w.host.fails_at = REGISTER;
        w.host.registrations = 0;
        w.host.code = codes[code];
        CHECK(RUN(otagate_after_answer, after, NOW) == E(STORE));
        w.host.fails_at = NONE;
        CHECK(otagate_last_store_code() == codes[code]);
        /* What failed is done by the next call; what was done, once. */
        CHECK(otagate_after_answer(after, NOW) == OK && w.host.registrations == 2);
        CHECK(otagate_after_answer(after, NOW) == OK && w.host.registrations == 2);
        CHECK(otagate_after_last_byte(after, 0, NOW, NULL) == OK);
        otagate_after_free(after);
        CHECK(after_of(w.store_reader) == NULL);
    }
    static const int32_t registered[] = {0, 4, -1, INT32_MAX, INT32_MIN};
    for (size_t at = 0; at < LEN(registered); at++) {
        CHECK(otagate_reader_decide(w.store_reader, &check_in, NOW, &decision) == OK);
        otagate_after *after = after_of(w.store_reader);
        w.host.registered = registered[at];
        CHECK(otagate_after_answer(after, NOW) == E(GARBAGE));
        CHECK(otagate_last_store_code() == 0);
        CHECK(otagate_after_answer(after, NOW) == E(GARBAGE));
        w.host.registered = OTAGATE_REGISTERED_REFUSED;
        CHECK(otagate_after_answer(after, NOW) == OK);
        otagate_after_free(after);
    }
    w.host.registered = OTAGATE_REGISTERED_NEW;
    w.host.registrations = 0;
    /* Who is to be registered is that of the answer, whatever the reader decided since; and what is freed is left undone. */
    CHECK(otagate_reader_decide(w.store_reader, &check_in, NOW, &decision) == OK);
    otagate_after *first = after_of(w.store_reader);
    CHECK(otagate_reader_decide(w.store_reader, &check_in, NOW, &decision) == OK);
    otagate_after_free(after_of(w.store_reader));
    CHECK(otagate_reader_decide(w.store_reader, asking(), NOW, &decision) == OK && w.host.registrations == 0);
    CHECK(otagate_after_answer(first, NOW) == OK && w.host.registrations == 1);
    otagate_after_free(first);
    still_works(__LINE__, "registrations");
}

/* Two hooks, one after the other. */
struct twice {
    int32_t (*first)(otagate_found *found, const void *argument);
    const void *first_argument;
    int32_t (*then)(otagate_found *found, const void *argument);
    const void *then_argument;
};

static int32_t hook_twice(otagate_found *found, const void *argument) {
    const struct twice *twice = argument;
    int32_t first = twice->first(found, twice->first_argument);
    int32_t then = twice->then(found, twice->then_argument);
    return first != OK && first != OTAGATE_WANTED ? first : then;
}

static int32_t hook_null_document(otagate_found *found, const void *argument) {
    (void)argument;
    return RUN(otagate_found_document, found, "p", 1, 0, NULL, 5);
}

static int32_t hook_null_found(otagate_found *found, const void *argument) {
    const otagate_text *t = argument;
    (void)found;
    otagate_device device = good_device();
    otagate_standing standing = otagate_standing_init();
    CHECK(RUN(otagate_found_known, NULL, TEXT(t[0]), 1) == E(NULL));
    CHECK(RUN(otagate_found_document, NULL, TEXT(t[0]), 1, TEXT(t[1])) == E(NULL));
    CHECK(RUN(otagate_found_device, NULL, &device) == E(NULL));
    CHECK(RUN(otagate_found_standing, NULL, &standing) == E(NULL));
    return OK;
}

static void garbage(void) {
    const otagate_text p[2] = {{"p", 1}, {LITERAL(DOCUMENT)}}, g[2] = {{"g", 1}, {LITERAL(GROUP)}};
    otagate_device device = good_device(), other_serial = good_device(), other_group = good_device(), above_cap = good_device();
    otagate_device odd_pin = good_device();
    otagate_standing standing = otagate_standing_init(), extreme = otagate_standing_init();
    other_serial.serial = otagate_text_of("t");
    other_group.group = otagate_text_of("none");
    above_cap.pin = otagate_text_of("2");
    above_cap.cap = otagate_text_of("1");
    odd_pin.pin = otagate_text_of("1\n2");
    memset((char *)&extreme + sizeof extreme.struct_size, 0xff, sizeof extreme - sizeof extreme.struct_size);
    extreme.reserved = 0;
    extreme.penalty_hop = otagate_text_of("99");
#define OF(name, text) {{LITERAL(name)}, {LITERAL(text)}}
    static const otagate_text other_product[2] = OF("q", "{\"product\":{\"id\":\"q\"},\"firmware\":[]}");
    static const otagate_text other_id[2] = OF("p", "{\"product\":{\"id\":\"q\"},\"firmware\":[]}");
    static const otagate_text with_devices[2] = OF("p", "{\"product\":" PRODUCT ",\"devices\":[{\"serial\":\"s\",\"state\":\"verified\",\"group\":\"g\"}]}");
    static const otagate_text cut_off[2] = OF("p", "{\"product\":");
    static const otagate_text no_object[2] = OF("p", "[1]");
    static const otagate_text unknown_member[2] = OF("p", "{\"product\":" PRODUCT ",\"no such\":1}");
    static const otagate_text refused[2] = OF("p", "{\"product\":" PRODUCT ",\"firmware\":[{\"version\":\"x\",\"artifacts\":[]}]}");
    static const otagate_text other_group_id[2] = OF("g", "{\"id\":\"h\"}");
    static const otagate_text other_group_name[2] = OF("h", "{\"id\":\"h\"}");
    static const otagate_text refused_group[2] = OF("g", "{\"id\":\"g\",\"firmware\":\"no version\"}");
    static const otagate_text no_group[2] = OF("g", DOCUMENT);

    const struct {
        const char *what;
        enum callback at;
        int32_t (*hook)(otagate_found *found, const void *argument);
        const void *argument;
        int32_t code;     /* of what is put in */
        int32_t decision; /* of the decision */
        int32_t reason;   /* where that is made */
    } rows[] = {
        {"a product that the key does not belong to", PRODUCT_OF_KEY, hook_document, other_product, OK, E(GARBAGE), 0},
        {"a document of another product", PRODUCT_OF_KEY, hook_document, other_id, E(ARGUMENT), E(GARBAGE), 0},
        {"a document with devices", PRODUCT_OF_KEY, hook_document, with_devices, E(ARGUMENT), E(GARBAGE), 0},
        {"half a document", PRODUCT_OF_KEY, hook_document, cut_off, E(JSON), E(GARBAGE), 0},
        {"a document that is no object", PRODUCT_OF_KEY, hook_document, no_object, E(JSON), E(GARBAGE), 0},
        {"a document with more than there is", PRODUCT_OF_KEY, hook_document, unknown_member, E(JSON), E(GARBAGE), 0},
        {"a document that the rules refuse", PRODUCT_OF_KEY, hook_document, refused, E(REFUSED), E(GARBAGE), 0},
        {"NULL for a document", PRODUCT_OF_KEY, hook_null_document, NULL, E(NULL), E(GARBAGE), 0},
        {"a document of another group under the name", GROUP_OF, hook_document, other_group_id, E(ARGUMENT), E(GARBAGE), 0},
        {"another group", GROUP_OF, hook_document, other_group_name, E(ARGUMENT), E(GARBAGE), 0},
        {"a group that the rules refuse", GROUP_OF, hook_document, refused_group, E(REFUSED), E(GARBAGE), 0},
        {"a product for a group", GROUP_OF, hook_document, no_group, E(JSON), E(GARBAGE), 0},
        {"another serial", DEVICE, hook_device, &other_serial, OK, E(GARBAGE), 0},
        {"a device of a group that does not exist", DEVICE, hook_device, &other_group, OK, OK, OTAGATE_REASON_GROUP_MISSING},
        {"a pin above the cap", DEVICE, hook_device, &above_cap, E(REFUSED), E(GARBAGE), 0},
        {"a pin with a line end", DEVICE, hook_device, &odd_pin, E(REFUSED), E(GARBAGE), 0},
        {"NULL for a device", DEVICE, hook_device, NULL, E(NULL), E(GARBAGE), 0},
        {"NULL for a standing", STANDING, hook_standing, NULL, E(NULL), E(GARBAGE), 0},
        {"a standing of the largest numbers", STANDING, hook_standing, &extreme, OK, OK, OTAGATE_REASON_DOWNLOADS_FULL},
        {"a device for a product", PRODUCT_OF_KEY, hook_device, &device, E(ARGUMENT), E(GARBAGE), 0},
        {"a device for a group", GROUP_OF, hook_device, &device, E(ARGUMENT), E(GARBAGE), 0},
        {"a device for a standing", STANDING, hook_device, &device, E(ARGUMENT), E(GARBAGE), 0},
        {"a standing for a product", PRODUCT_OF_KEY, hook_standing, &standing, E(ARGUMENT), E(GARBAGE), 0},
        {"a standing for a device", DEVICE, hook_standing, &standing, E(ARGUMENT), E(GARBAGE), 0},
        {"a standing for a group", GROUP_OF, hook_standing, &standing, E(ARGUMENT), E(GARBAGE), 0},
        {"a document for a device", DEVICE, hook_document, p, E(ARGUMENT), E(GARBAGE), 0},
        {"a document for a standing", STANDING, hook_document, g, E(ARGUMENT), E(GARBAGE), 0},
        {"a known document for a device", DEVICE, hook_known, p, E(ARGUMENT), E(GARBAGE), 0},
        {"a known document for a standing", STANDING, hook_known, g, E(ARGUMENT), E(GARBAGE), 0},
        {"found that is NULL", DEVICE, hook_null_found, p, OK, OK, OTAGATE_REASON_DEVICE_UNKNOWN},
        /* Who says that there is something, and does not give it, is no store that has nothing: a whole fleet would be turned away by a mistake. */
        {"an edition that is not known, and no document", PRODUCT_OF_KEY, hook_known, p, OTAGATE_WANTED, E(GARBAGE), 0},
        {"an edition of a group, and no document", GROUP_OF, hook_known, g, OTAGATE_WANTED, E(GARBAGE), 0},
    };
    for (size_t at = 0; at < LEN(rows); at++) {
        otagate_decision decision;
        int32_t code = decide_with(rows[at].at, rows[at].hook, rows[at].argument, "k", &decision);
        if (w.host.hooked != rows[at].code) {
            fail("%s: expected %s, found %s", rows[at].what, otagate_code_name(rows[at].code), otagate_code_name(w.host.hooked));
        }
        if (code != OK && !denies(&decision)) fail("%s: the decision does not deny", rows[at].what);
        if (code == OK && decision.reason != rows[at].reason) {
            fail("%s: expected %s, found %s", rows[at].what, otagate_reason_name(rows[at].reason), otagate_reason_name(decision.reason));
        }
        expect_code(__LINE__, rows[at].what, rows[at].decision, code);
    }

    /* A fault is not made good by what is put in behind it; of two that are right the last counts. */
    otagate_decision decision;
    const struct twice fault_first = {hook_device, &above_cap, hook_device, &device};
    CHECK(decide_with(DEVICE, hook_twice, &fault_first, "k", &decision) == E(GARBAGE) && denies(&decision));
    const struct twice both = {hook_device, &other_serial, hook_device, &device};
    CHECK(decide_with(DEVICE, hook_twice, &both, "k", &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    const struct twice documents = {hook_document, p, hook_document, p};
    CHECK(decide_with(PRODUCT_OF_KEY, hook_twice, &documents, "k", &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    const struct twice groups = {hook_document, g, hook_document, g};
    CHECK(decide_with(GROUP_OF, hook_twice, &groups, "k", &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    const struct twice asked_for = {hook_known, p, hook_document, p};
    CHECK(decide_with(PRODUCT_OF_KEY, hook_twice, &asked_for, "k", &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    const struct twice never_given = {hook_document, g, hook_known, g};
    CHECK(decide_with(GROUP_OF, hook_twice, &never_given, "k", &decision) == E(GARBAGE) && denies(&decision));
    const struct twice wrongly_given = {hook_known, p, hook_document, cut_off};
    CHECK(decide_with(PRODUCT_OF_KEY, hook_twice, &wrongly_given, "k", &decision) == E(GARBAGE) && denies(&decision));
    /* Under a key that nobody has, the device is asked for all the same, and must not be found. */
    CHECK(decide_with(DEVICE, hook_device, &device, "no such key", &decision) == E(GARBAGE) && denies(&decision));
    CHECK(w.host.hooked == E(ARGUMENT));
    still_works(__LINE__, "garbage");
}

/* Calls every function of the reader that is deciding, from inside of its store; and another reader. */
static int32_t hook_reenter(otagate_found *found, const void *argument) {
    (void)argument;
    otagate_decision decision = served_before();
    CHECK(otagate_reader_decide(w.store_reader, asking(), NOW, &decision) == E(BUSY) && denies(&decision));
    decision = served_before();
    CHECK(otagate_reader_decide_many(w.store_reader, asking(), NOW, &decision, 1) == E(BUSY) && denies(&decision));
    decision = served_before();
    CHECK(otagate_reader_attend(w.store_reader, w.ledger, asking(), 60, NOW, &decision) == E(BUSY) && denies(&decision));
    decision = served_before();
    CHECK(otagate_reader_refuse(w.store_reader, OTAGATE_REFUSED_SLOTS, &decision) == E(BUSY) && denies(&decision));
    otagate_string *explanation = OLD;
    CHECK(otagate_reader_explain(w.store_reader, NULL, asking(), NOW, OTAGATE_FORMAT_TEXT, &explanation) == E(BUSY));
    CHECK(explanation == NULL);
    otagate_offer offer = offered_before();
    CHECK(otagate_reader_offer(w.store_reader, &offer) == E(BUSY) && offers_nothing(&offer));
    otagate_effect effect = effect_before();
    CHECK(otagate_reader_effect(w.store_reader, &effect) == E(BUSY) && effect.kind == OTAGATE_EFFECT_NONE);
    otagate_resource resource = resource_before();
    CHECK(otagate_reader_resource(w.store_reader, 0, &resource) == E(BUSY) && is_none(resource.name));
    otagate_after *after = OLD;
    CHECK(otagate_reader_after(w.store_reader, &after) == E(BUSY) && after == NULL);
    otagate_who who = known_before();
    CHECK(otagate_reader_who(w.store_reader, &who) == E(BUSY) && is_nobody(&who));
    int32_t may_ask = 1, noted = OTAGATE_NOTED_MOVED;
    decision = served_before();
    CHECK(otagate_reader_identify(w.store_reader, asking(), NOW, &may_ask, &decision) == E(BUSY) && may_ask == 0 && denies(&decision));
    CHECK(otagate_reader_report(w.store_reader, w.ledger, asking(), OTAGATE_OUTCOME_FAILED, NOW, &noted) == E(BUSY));
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    /* Another reader of a fleet, and another one of this store, which the hook lets pass. */
    decision = served_before();
    CHECK(otagate_reader_decide(w.reader, asking(), NOW, &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    w.host.hook_at = NONE;
    otagate_reader *other = NULL;
    CHECK(otagate_reader_new_of_store(w.store, &other) == OK);
    decision = served_before();
    CHECK(otagate_reader_decide(other, asking(), NOW, &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    otagate_reader_free(other);
    if (found == NULL) return 0;
    otagate_device device = good_device();
    return otagate_found_device(found, &device);
}

static void reentrancy(void) {
    otagate_decision decision;
    int32_t code = decide_with(DEVICE, hook_reenter, NULL, "k", &decision);
    CHECK(code == OK && decision.status == OTAGATE_STATUS_SERVE);
    expect_code(__LINE__, "a callback that decides", OK, w.host.hooked);
}

/* ---- The last error. ---- */

static int is_utf8_start(unsigned char byte) {
    return (byte & 0xc0) != 0x80;
}

static void error_in_small_buffers(void) {
    /* Two bytes to each letter, so that every other length falls into one. */
    int32_t registered;
    CHECK(otagate_fleet_register(w.fleet, LITERAL("\xc3\xa9\xc3\xa8\xc3\xa0\xf0\x9f\x98\x80"), "s", 1, NOW, &registered) == E(NOTHING));
    char whole[500], part[500];
    size_t len = RUN(otagate_last_error, whole, sizeof whole);
    CHECK(len > 10 && len == strlen(whole) && strstr(whole, "\xc3\xa9\xc3\xa8\xc3\xa0") != NULL);
    CHECK(RUN(otagate_last_error, NULL, 0) == len);
    CHECK(RUN(otagate_last_error, NULL, SIZE_MAX) == len);
    for (size_t capacity = 0; capacity < len + 5; capacity++) {
        memset(part, 0x55, sizeof part);
        CHECK(otagate_last_error(part, capacity) == len);
        if (capacity == 0) {
            CHECK(part[0] == 0x55);
            continue;
        }
        size_t cut = strlen(part), most = capacity - 1 < len ? capacity - 1 : len;
        /* As much as there is room for, up to the start of a letter; and nothing behind the room. */
        CHECK(cut <= most && most - cut < 4);
        CHECK(memcmp(part, whole, cut) == 0);
        CHECK(is_utf8_start((unsigned char)whole[cut]));
        for (size_t between = cut + 1; between <= most; between++) CHECK(!is_utf8_start((unsigned char)whole[between]));
        CHECK(part[capacity] == 0x55);
    }
    char one[1] = {'x'}, two[2] = {'x', 'x'};
    CHECK(otagate_last_error(one, 1) == len && one[0] == '\0');
    CHECK(otagate_last_error(two, 2) == len && two[0] == whole[0] && two[1] == '\0');
    /* What succeeds leaves it as it was. */
    uint64_t revision;
    CHECK(otagate_fleet_revision(w.fleet, &revision) == OK);
    CHECK(otagate_last_error(part, sizeof part) == len && strcmp(part, whole) == 0);
}

static void *other_thread(void *argument) {
    char text[200] = "x";
    (void)argument;
    /* Nothing failed here yet, whatever failed elsewhere. */
    CHECK(otagate_last_error(text, sizeof text) == 0 && text[0] == '\0');
    CHECK(otagate_last_store_code() == 0);
    CHECK(otagate_fleet_revision(w.fleet, NULL) == E(NULL));
    CHECK(otagate_last_error(text, sizeof text) > 0 && strstr(text, "revision") != NULL);
    return NULL;
}

static void each_thread_has_its_own_error(void) {
    otagate_decision decision;
    w.host.fails_at = DEVICE;
    w.host.code = 1234;
    CHECK(ask(0, &decision) == E(STORE));
    w.host.fails_at = NONE;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    char text[200];
    CHECK(otagate_last_error(text, sizeof text) > 0 && strstr(text, "1234") != NULL);
    CHECK(otagate_last_store_code() == 1234);
}

/* ---- What the header promises besides. ---- */

/* Texts that a reader gave go into its next check-in: those that it keeps itself, of a host's store and of what is attended. */
static void texts_go_in_again(void) {
    otagate_reader *of[2] = {w.store_reader, w.reader};
    for (size_t at = 0; at < LEN(of); at++) {
        for (int how = 0; how < 6; how++) {
            otagate_ledger *ledger = NULL;
            CHECK(otagate_ledger_new(10, &ledger) == OK);
            otagate_check_in check_in = good_check_in();
            otagate_decision decision = served_before();
            otagate_offer offer = otagate_offer_init();
            otagate_who who = otagate_who_init();
            CHECK(otagate_reader_attend(of[at], ledger, &check_in, 60, NOW, &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
            CHECK(otagate_reader_offer(of[at], &offer) == OK && otagate_reader_who(of[at], &who) == OK);
            check_in.version = how == 5 ? decision.meant : offer.firmware;
            check_in.serial = who.serial;
            otagate_decision again[2] = {served_before(), served_before()};
            int32_t may_ask = 0, noted = 0, code = OK;
            otagate_check_in many[2] = {check_in, check_in};
            otagate_string *explanation = NULL;
            if (how == 0 || how == 5) code = RUN(otagate_reader_decide, of[at], &check_in, NOW, &again[0]);
            if (how == 1) code = RUN(otagate_reader_decide_many, of[at], many, NOW, again, 2);
            if (how == 2) code = RUN(otagate_reader_attend, of[at], ledger, &check_in, 60, NOW, &again[0]);
            if (how == 3) code = RUN(otagate_reader_identify, of[at], &check_in, NOW, &may_ask, &again[0]);
            if (how == 4) code = RUN(otagate_reader_report, of[at], ledger, &check_in, OTAGATE_OUTCOME_CONFIRMED, NOW, &noted);
            CHECK(code == OK);
            if (how < 3 || how == 5) CHECK(again[0].status == OTAGATE_STATUS_UP_TO_DATE && again[0].reason == OTAGATE_REASON_CURRENT);
            if (how == 1) CHECK(again[1].reason == OTAGATE_REASON_CURRENT);
            if (how == 3) CHECK(may_ask == 1);
            if (how == 4) CHECK(noted == OTAGATE_NOTED_MOVED);
            check_in = good_check_in();
            CHECK(otagate_reader_attend(of[at], ledger, &check_in, 60, NOW, &decision) == OK);
            CHECK(otagate_reader_who(of[at], &who) == OK);
            check_in.serial = who.serial;
            CHECK(otagate_reader_explain(of[at], ledger, &check_in, NOW, OTAGATE_FORMAT_TEXT, &explanation) == OK);
            otagate_string_free(explanation);
            otagate_ledger_free(ledger);
        }
    }
    still_works(__LINE__, "texts that went in again");
}

/* ---- A store of two products with two groups each, which are named alike. ---- */

static struct {
    int opened, closed, documents, fails_after;
    int forgets; /* says that there is a document in an edition, and does not give it */
} several;

static int32_t several_open(void *user_data, void **view, uint64_t *revision) {
    (void)user_data;
    several.opened++;
    *view = &several;
    *revision = 5;
    return 0;
}

static void several_close(void *user_data, void *view) {
    (void)user_data;
    CHECK(view == &several);
    several.closed++;
}

static int32_t several_product(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    static const char digits[] = "0123456789abcdef";
    (void)user_data, (void)view;
    if (several.fails_after-- == 0) return 77;
    for (const char *id = "pq"; *id != '\0'; id++) {
        uint8_t hash[32];
        char hex[65] = "", document[2000];
        const char *b3 = "b1b4f24cf60df9e9e7bc80a2943c4de4fa3b10412a3a428763804355a719102d";
        CHECK(otagate_key_hash(id, 1, hash) == OK);
        if (memcmp(hash, key_hash, sizeof hash) != 0) continue;
        if (otagate_found_known(found, id, 1, 1) == OK) return 0;
        for (int at = 0; at < 32; at++) hex[2 * at] = digits[hash[at] >> 4], hex[2 * at + 1] = digits[hash[at] & 15];
        int len = snprintf(document, sizeof document, "{\"product\":{\"id\":\"%c\",\"keys\":[{\"hash\":\"%s\"}]},\"firmware\":[", *id, hex);
        for (int at = 0; at < 2; at++) {
            len += snprintf(document + len, sizeof document - (size_t)len,
                            "%s{\"version\":\"%c%c\",\"artifacts\":[{\"size_bytes\":5,\"locator\":\"l\",\"digests\":{\"blake3\":\"%s\"}}]}",
                            at > 0 ? "," : "", *id, "gh"[at], b3);
        }
        len += snprintf(document + len, sizeof document - (size_t)len, "]}");
        several.documents++;
        CHECK(otagate_found_document(found, id, 1, 1, document, (size_t)len) == OK);
    }
    return 0;
}

static int32_t several_device(void *user_data, void *view, const char *product, size_t product_len, const char *serial, size_t serial_len,
                              otagate_found *found) {
    (void)user_data, (void)view;
    if (product_len != 1 || (*product != 'p' && *product != 'q') || serial_len != 2) return 0;
    otagate_device device = otagate_device_init();
    device.serial.data = serial;
    device.serial.len = serial_len;
    device.group.data = serial;
    device.group.len = 1;
    device.state = OTAGATE_DEVICE_VERIFIED;
    CHECK(otagate_found_device(found, &device) == OK);
    return 0;
}

static int32_t several_group(void *user_data, void *view, const char *product, size_t product_len, const char *group, size_t group_len,
                             otagate_found *found) {
    char document[100];
    (void)user_data, (void)view;
    CHECK(product_len == 1 && group_len == 1);
    if (*group != 'g' && *group != 'h') return 0;
    if (otagate_found_known(found, group, group_len, 1) == OK || several.forgets) return 0;
    int len = snprintf(document, sizeof document, "{\"id\":\"%c\",\"firmware\":\"%c%c\"}", *group, *product, *group);
    several.documents++;
    CHECK(otagate_found_document(found, group, group_len, 1, document, (size_t)len) == OK);
    return 0;
}

static void many_products_and_groups(void) {
    /* By key and serial, whose first letter is the group; the version that is meant. */
    static const char *const rows[][3] = {
        {"p", "g1", "pg"}, {"q", "g1", "qg"}, {"p", "h1", "ph"}, {"q", "h1", "qh"}, {"q", "g2", "qg"}, {"p", "g2", "pg"},
        {"r", "g1", NULL}, {"p", "h2", "ph"}, {"q", "x1", NULL}, {"p", "g1", "pg"}, {"q", "h9", "qh"}, {"p", "long", NULL},
    };
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    callbacks.open_view = several_open;
    callbacks.close_view = several_close;
    callbacks.product_of_key = several_product;
    callbacks.device = several_device;
    callbacks.group = several_group;
    otagate_store *store = NULL;
    otagate_reader *reader = NULL;
    CHECK(otagate_store_new(&callbacks, &store) == OK && otagate_reader_new_of_store(store, &reader) == OK);
    otagate_check_in check_ins[LEN(rows)];
    otagate_decision decisions[LEN(rows)], decision = otagate_decision_init();
    for (size_t at = 0; at < LEN(rows); at++) {
        check_ins[at] = good_check_in();
        check_ins[at].key = otagate_text_of(rows[at][0]);
        check_ins[at].serial = otagate_text_of(rows[at][1]);
    }
    for (int round = 0; round < 2; round++) {
        several.opened = several.documents = 0;
        several.fails_after = -1;
        for (size_t at = 0; at < LEN(rows); at++) decisions[at] = served_before();
        CHECK(otagate_reader_decide_many(reader, check_ins, NOW, decisions, LEN(rows)) == OK);
        /* One state of the store, and each document once. */
        CHECK(several.opened == 1 && several.documents == (round == 0 ? 6 : 0));
        for (size_t at = 0; at < LEN(rows); at++) {
            const char *meant = rows[at][2];
            int32_t status = meant != NULL ? OTAGATE_STATUS_SERVE : at == 8 ? OTAGATE_STATUS_UNAVAILABLE : OTAGATE_STATUS_UNAUTHORIZED;
            CHECK(decisions[at].status == status && decisions[at].revision == 5);
            CHECK(meant == NULL ? is_none(decisions[at].meant) : decisions[at].meant.len == 2 && memcmp(decisions[at].meant.data, meant, 2) == 0);
        }
    }
    /* Whichever of them fails: all deny. */
    for (int fails = 0; fails < (int)LEN(rows); fails++) {
        for (size_t at = 0; at < LEN(rows); at++) decisions[at] = served_before();
        several.fails_after = fails;
        CHECK(otagate_reader_decide_many(reader, check_ins, NOW, decisions, LEN(rows)) == E(STORE) && otagate_last_store_code() == 77);
        for (size_t at = 0; at < LEN(rows); at++) CHECK(denies(&decisions[at]));
    }
    several.fails_after = -1;
    CHECK(otagate_reader_decide(reader, &check_ins[3], NOW, &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    otagate_reader_free(reader);
    otagate_store_free(store);
    /* A store that forgets the documents of groups fails, whichever way it is asked. */
    CHECK(otagate_store_new(&callbacks, &store) == OK && otagate_reader_new_of_store(store, &reader) == OK);
    several.forgets = 1;
    for (size_t at = 0; at < LEN(rows); at++) decisions[at] = served_before();
    CHECK(otagate_reader_decide_many(reader, check_ins, NOW, decisions, LEN(rows)) == E(GARBAGE));
    for (size_t at = 0; at < LEN(rows); at++) CHECK(denies(&decisions[at]));
    several.forgets = 0;
    CHECK(several.closed > 0);
    otagate_reader_free(reader);
    otagate_store_free(store);
    still_works(__LINE__, "batches of many products");
}

/* ---- A fleet whose rollouts are started, aborted, and started again under the same name. ---- */

#define CONFIG                                                                                                         \
    "{\"document\":\"{\\\"a\\\":\\\"\xc3\xa9\\\"}\",\"digests\":{\"blake3\":"                                          \
    "\"73c22bfce375cb5f79542eefb6ddb2da99c31e04358533c8094247b06a886a82\"}}"
#define WORLD                                                                                                          \
    "{\"revision\":5,\"products\":[{\"product\":" PRODUCT ",\"firmware\":" FIRMWARE                                    \
    ",\"groups\":[{\"id\":\"g\",\"firmware\":\"2\",\"downloads_max\":1,\"config\":" CONFIG                             \
    "}],\"devices\":[{\"serial\":\"a\",\"state\":\"verified\",\"group\":\"g\"},"                                       \
    "{\"serial\":\"b\",\"state\":\"verified\",\"group\":\"g\"},{\"serial\":\"n\",\"state\":\"new\",\"group\":\"g\"}]}]}"
#define LEASE_SECS 3600

struct world {
    otagate_fleet *fleet;
    otagate_ledger *ledger;
    otagate_reader *reader;
};

static struct world world_begin(void) {
    struct world world = {NULL, NULL, NULL};
    CHECK(otagate_fleet_new(LITERAL(WORLD), &world.fleet) == OK);
    CHECK(otagate_ledger_new(100, &world.ledger) == OK);
    CHECK(otagate_reader_new(world.fleet, &world.reader) == OK);
    return world;
}

static void world_end(struct world *world) {
    otagate_fleet_free(world->fleet);
    otagate_ledger_free(world->ledger);
    otagate_reader_free(world->reader);
}

static void change(const struct world *world, const char *changes) {
    if (otagate_fleet_apply(world->fleet, changes, strlen(changes), NULL) == OK) return;
    char words[500];
    otagate_last_error(words, sizeof words);
    fail("%s: %s", changes, words);
}

/* Starts a rollout of that target to all, which is a JSON object. */
static void start(const struct world *world, const char *id, const char *target, long at) {
    char changes[1000];
    snprintf(changes, sizeof changes,
             "[{\"change\":\"put-rollout\",\"product\":\"p\",\"group\":\"g\",\"rollout\":{\"id\":\"%s\",\"target\":%s,\"waves\":[{\"size\":\"all\"}]}},"
             "{\"change\":\"start-rollout\",\"product\":\"p\",\"group\":\"g\",\"rollout\":\"%s\",\"at\":%ld},"
             "{\"change\":\"open-wave\",\"product\":\"p\",\"group\":\"g\",\"rollout\":\"%s\",\"wave\":0,\"opened\":{\"at\":%ld}}]",
             id, target, id, at, id, at);
    change(world, changes);
}

#define FIRMWARE_1 "{\"firmware\":\"1\"}"
#define ABORT(id) "{\"change\":\"abort-rollout\",\"product\":\"p\",\"group\":\"g\",\"rollout\":\"" id "\",\"fate\":\"leave\"}"

/* Ends the rollout `r`, and starts another one of that name; in between there is a third. */
static void start_again(const struct world *world, long at) {
    change(world, ABORT("r"));
    start(world, "other", FIRMWARE_1, at - 1);
    change(world, ABORT("other"));
    start(world, "r", FIRMWARE_1, at);
}

struct attended {
    int32_t status, reason, leased;
    uint32_t attempt;
    otagate_after *after;
};

static struct attended attend_wanting(const struct world *world, const char *serial, const char *version, int32_t want, int64_t now) {
    otagate_check_in check_in = good_check_in();
    otagate_decision decision = served_before();
    otagate_offer offer = otagate_offer_init();
    otagate_effect effect = otagate_effect_init();
    check_in.serial = otagate_text_of(serial);
    check_in.version = otagate_text_of(version);
    check_in.want = want;
    CHECK(RUN(otagate_reader_attend, world->reader, world->ledger, &check_in, LEASE_SECS, now, &decision) == OK);
    otagate_reader_offer(world->reader, &offer);
    if (otagate_reader_effect(world->reader, &effect) == OK) CHECK(effect.settled == (effect.kind == OTAGATE_EFFECT_CLAIM));
    struct attended attended = {decision.status, decision.reason, offer.leased, offer.attempt, after_of(world->reader)};
    return attended;
}

static struct attended attend(const struct world *world, const char *serial, const char *version, int64_t now) {
    return attend_wanting(world, serial, version, OTAGATE_WANT_FIRMWARE, now);
}

/* The same, where nothing is done afterwards. */
static struct attended attend_only(const struct world *world, const char *serial, const char *version, int64_t now) {
    struct attended attended = attend(world, serial, version, now);
    otagate_after_free(attended.after);
    attended.after = NULL;
    return attended;
}

/* Whether that device would be served now, asked without leaving anything behind. */
static int32_t reason_now(const struct world *world, const char *serial, const char *version, int64_t now) {
    otagate_check_in check_in = good_check_in();
    otagate_string *told = NULL;
    check_in.serial = otagate_text_of(serial);
    check_in.version = otagate_text_of(version);
    CHECK(otagate_reader_explain(world->reader, world->ledger, &check_in, now, OTAGATE_FORMAT_JSON, &told) == OK);
    int32_t reason = OTAGATE_REASON_NONE;
    for (int32_t at = 1; at < OTAGATE_REASONS_MAX; at++) {
        char named[100];
        snprintf(named, sizeof named, "\"reason\":\"%s\"", otagate_reason_name(at));
        if (strcmp(otagate_reason_name(at), "none") != 0 && strstr(otagate_string_data(told), named) != NULL) reason = at;
    }
    if (strstr(otagate_string_data(told), "\"leased\":true") != NULL) reason = -reason;
    otagate_string_free(told);
    return reason;
}

static void account(const struct world *world, char *into, size_t capacity) {
    otagate_string *text = NULL;
    CHECK(otagate_ledger_statistics(world->ledger, world->fleet, "p", 1, "g", 1, &text) == OK);
    snprintf(into, capacity, "%s", otagate_string_data(text));
    otagate_string_free(text);
}

static int has(const struct world *world, const char *part) {
    char text[500];
    account(world, text, sizeof text);
    return strstr(text, part) != NULL;
}

static void rows_of(const struct world *world, char *into, size_t capacity) {
    otagate_string *text = NULL;
    CHECK(otagate_ledger_to_json(world->ledger, &text) == OK);
    snprintf(into, capacity, "%s", otagate_string_data(text));
    otagate_string_free(text);
}

/* What an answer of one run leaves to do is not done on another one of the same name. */
static void runs_are_told_apart(void) {
    struct world world = world_begin();
    char before[500], after[500], rows[2000];
    int32_t noted;
    start(&world, "r", FIRMWARE_1, 1000);
    struct attended served = attend(&world, "a", "0", 2000);
    CHECK(served.status == OTAGATE_STATUS_SERVE && served.attempt == 1 && served.leased == 0 && served.after != NULL);
    start_again(&world, 3000);
    account(&world, before, sizeof before);
    CHECK(strstr(before, ":1") == NULL);
    CHECK(RUN(otagate_after_answer, served.after, 4000) == OK);
    noted = -1;
    CHECK(RUN(otagate_after_last_byte, served.after, 60, 4000, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    otagate_after_free(served.after);
    account(&world, after, sizeof after);
    CHECK(strcmp(before, after) == 0);
    rows_of(&world, rows, sizeof rows);
    CHECK(strstr(rows, "downloaded") != NULL);

    /* The same of an arrival: in the new run the device is offered, installs, and checks in; that is told in the third run. */
    int64_t later = 5 * LEASE_SECS * (int64_t)1000;
    struct attended second = attend(&world, "a", "0", later);
    CHECK(second.status == OTAGATE_STATUS_SERVE && second.attempt == 1);
    struct attended arrived = attend(&world, "a", "1", later + 1);
    CHECK(arrived.reason == OTAGATE_REASON_CURRENT && arrived.after != NULL);
    CHECK(has(&world, "\"offered\":1") && !has(&world, "\"installed\":1"));
    start_again(&world, (long)later + 3);
    account(&world, before, sizeof before);
    CHECK(otagate_after_answer(arrived.after, later + 3) == OK);
    CHECK(otagate_after_last_byte(arrived.after, 60, later + 3, &noted) == OK && noted == OTAGATE_NOTED_FOREIGN);
    CHECK(otagate_after_last_byte(second.after, 60, later + 3, &noted) == OK && noted == OTAGATE_NOTED_KNOWN);
    account(&world, after, sizeof after);
    CHECK(strcmp(before, after) == 0);
    rows_of(&world, rows, sizeof rows);
    CHECK(strstr(rows, "installed") != NULL);
    otagate_after_free(arrived.after);
    otagate_after_free(second.after);
    /* A report is of the run that is on, in which nothing was offered. */
    otagate_check_in check_in = good_check_in();
    check_in.serial = otagate_text_of("a");
    CHECK(RUN(otagate_reader_report, world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, later + 4, &noted) == OK);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    account(&world, after, sizeof after);
    CHECK(strcmp(before, after) == 0);
    world_end(&world);
}

static void the_last_byte_counts_once(void) {
    struct world world = world_begin();
    int32_t noted = -1;
    int64_t now = 2000;
    start(&world, "r", FIRMWARE_1, 1000);
    struct attended served = attend(&world, "a", "0", now);
    CHECK(served.status == OTAGATE_STATUS_SERVE && has(&world, "\"offered\":1"));
    /* A second request of the same download has something left to do too; whoever is told first counts. */
    struct attended ranged = attend(&world, "a", "0", now + 1);
    CHECK(ranged.leased == 1 && ranged.attempt == 1 && ranged.after != NULL);
    CHECK(attend_only(&world, "b", "0", now + 1).reason == OTAGATE_REASON_DOWNLOADS_FULL);
    CHECK(RUN(otagate_after_last_byte, ranged.after, 60, now + 2000, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    CHECK(has(&world, "\"downloaded\":1"));
    CHECK(otagate_after_last_byte(ranged.after, 0, now + 2000, &noted) == OK && noted == OTAGATE_NOTED_FOREIGN);
    CHECK(has(&world, "\"downloaded\":1"));
    /* For 60 seconds it is the same offer, and the place is taken; then neither is. A second call did not shorten that. */
    now += 2000;
    CHECK(reason_now(&world, "a", "0", now + 59000) == -OTAGATE_REASON_SERVE);
    CHECK(reason_now(&world, "b", "0", now + 59000) == OTAGATE_REASON_DOWNLOADS_FULL);
    CHECK(reason_now(&world, "b", "0", now + 61000) == OTAGATE_REASON_SERVE);
    CHECK(otagate_after_last_byte(served.after, 60, now + 3000, NULL) == OK);
    CHECK(has(&world, "\"downloaded\":1"));
    otagate_after_free(served.after);
    otagate_after_free(ranged.after);
    world_end(&world);
}

/* A config that is fetched in the middle of a download of firmware ends neither its lease nor its place; with and without a rollout. */
static void a_config_in_the_middle(void) {
    for (int with_rollout = 0; with_rollout < 2; with_rollout++) {
        struct world world = world_begin();
        int32_t noted = -1;
        int64_t now = 2000;
        if (with_rollout) start(&world, "r", FIRMWARE_1, 1000);
        struct attended served = attend(&world, "a", "0", now);
        CHECK(served.status == OTAGATE_STATUS_SERVE && served.attempt == (uint32_t)with_rollout);
        struct attended config = attend_wanting(&world, "a", "0", OTAGATE_WANT_CONFIG, now + 1000);
        CHECK(config.status == OTAGATE_STATUS_SERVE && config.leased == 0 && config.attempt == 0);
        CHECK(otagate_after_answer(config.after, now + 1000) == OK);
        CHECK(otagate_after_last_byte(config.after, 0, now + 2000, &noted) == OK && noted == OTAGATE_NOTED_FOREIGN);
        otagate_after_free(config.after);
        if (with_rollout) CHECK(has(&world, "\"offered\":1") && !has(&world, "\"downloaded\":1"));
        CHECK(reason_now(&world, "a", "0", now + 100000) == -OTAGATE_REASON_SERVE);
        CHECK(reason_now(&world, "b", "0", now + 100000) == OTAGATE_REASON_DOWNLOADS_FULL);
        struct attended on = attend(&world, "a", "0", now + 100000);
        CHECK(on.leased == 1 && on.attempt == (uint32_t)with_rollout);
        CHECK(otagate_after_last_byte(on.after, 0, now + 110000, &noted) == OK);
        CHECK(noted == (with_rollout ? OTAGATE_NOTED_MOVED : OTAGATE_NOTED_FOREIGN));
        CHECK(reason_now(&world, "b", "0", now + 110001) == OTAGATE_REASON_SERVE);
        otagate_after_free(on.after);
        otagate_after_free(served.after);
        world_end(&world);
    }
}

/* Who may not ask tells nothing; and a report ends a lease only where it settles one. */
static void reports(void) {
    static const char *const strangers[][2] = {{"k", "n"}, {"k", "nobody"}, {"k", ""}, {"wrong", "a"}, {"", ""}};
    struct world world = world_begin();
    char before[2000], rows[2000];
    int32_t noted;
    int64_t now = 2000;
    start(&world, "r", FIRMWARE_1, 1000);
    attend_only(&world, "a", "0", now);
    rows_of(&world, before, sizeof before);
    otagate_check_in check_in = good_check_in();
    for (size_t at = 0; at < LEN(strangers); at++) {
        check_in.key = otagate_text_of(strangers[at][0]);
        check_in.serial = otagate_text_of(strangers[at][1]);
        noted = -1;
        CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, now, &noted) == OK);
        CHECK(noted == OTAGATE_NOTED_FOREIGN);
    }
    check_in = good_check_in();
    check_in.serial = otagate_text_of("a");
    static const char *const states[] = {"new", "blocked", "disabled", "quota", "verified"};
    for (size_t at = 0; at < LEN(states); at++) {
        char changes[200];
        rows_of(&world, rows, sizeof rows);
        CHECK(strcmp(before, rows) == 0);
        snprintf(changes, sizeof changes, "{\"change\":\"set-device-state\",\"product\":\"p\",\"serial\":\"a\",\"state\":\"%s\"}", states[at]);
        change(&world, changes);
        noted = -1;
        CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_DOWNLOADED, now, &noted) == OK);
        CHECK(noted == (at == LEN(states) - 1 ? OTAGATE_NOTED_MOVED : OTAGATE_NOTED_FOREIGN));
    }
    CHECK(has(&world, "\"downloaded\":1"));
    /* To whom nothing was offered, nothing came of it. */
    check_in.serial = otagate_text_of("b");
    CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, now, &noted) == OK);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);

    /* A download is told by `otagate_after_last_byte`; a report of one ends no lease, and neither does what is known or another rollout's. */
    otagate_report report = otagate_report_init();
    report.product = otagate_text_of("p");
    report.serial = otagate_text_of("a");
    report.outcome = OTAGATE_OUTCOME_DOWNLOADED;
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 1, &noted) == OK && noted == OTAGATE_NOTED_KNOWN);
    report.outcome = OTAGATE_OUTCOME_FAILED;
    report.rollout = otagate_text_of("nonsense");
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 1, &noted) == OK && noted == OTAGATE_NOTED_FOREIGN);
    CHECK(reason_now(&world, "a", "0", now + 2000) == -OTAGATE_REASON_SERVE);
    report.rollout = otagate_text_of("r");
    report.group = otagate_text_of("g");
    report.outcome = OTAGATE_OUTCOME_CONFIRMED;
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 2000, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    CHECK(reason_now(&world, "a", "0", now + 2000) != -OTAGATE_REASON_SERVE);
    CHECK(has(&world, "\"confirmed\":1"));
    report.outcome = OTAGATE_OUTCOME_INSTALLED;
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 2000, &noted) == OK && noted == OTAGATE_NOTED_KNOWN);
    /* The second attempt is leased; what the device tells twice ends nothing the second time. */
    now += 3600000;
    struct attended second = attend(&world, "a", "0", now);
    CHECK(second.status == OTAGATE_STATUS_SERVE && second.leased == 0 && second.attempt == 2);
    otagate_after_free(second.after);
    CHECK(reason_now(&world, "a", "0", now + 1) == -OTAGATE_REASON_SERVE);
    world_end(&world);

    /* In a group without a rollout there is nothing to tell of. */
    world = world_begin();
    attend_only(&world, "a", "0", now);
    check_in.serial = otagate_text_of("a");
    CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, now, &noted) == OK);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    CHECK(reason_now(&world, "a", "0", now + 1) == -OTAGATE_REASON_SERVE);
    world_end(&world);
}

/* What a back end tells late is booked where it was offered: on a run that is over, and on no later one of that name. */
static void reports_know_their_run(void) {
    struct world world = world_begin();
    int64_t now = NOW;
    int32_t noted = -1;
    otagate_decision decision = otagate_decision_init();
    otagate_offer offer = otagate_offer_init();
    otagate_string *account = NULL;
    start(&world, "r", FIRMWARE_1, (long)now);
    otagate_check_in check_in = good_check_in();
    check_in.serial = otagate_text_of("a");
    check_in.version = otagate_text_of("0");
    CHECK(otagate_reader_attend(world.reader, world.ledger, &check_in, 60, now, &decision) == OK);
    CHECK(otagate_reader_offer(world.reader, &offer) == OK);
    CHECK(offer.rollout_started_at_millis == now && offer.attempt == 1);

    start_again(&world, (long)now + 1000);
    struct attended again = attend(&world, "a", "0", now + 120000);
    CHECK(again.attempt == 1);
    otagate_after_free(again.after);
    otagate_report report = otagate_report_init();
    report.product = otagate_text_of("p");
    report.group = otagate_text_of("g");
    report.serial = otagate_text_of("a");
    report.rollout = otagate_text_of("r");
    report.rollout_started_at_millis = now;
    report.attempt = 1;
    report.outcome = OTAGATE_OUTCOME_FAILED;
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 120001, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    CHECK(otagate_ledger_run_statistics(world.ledger, LITERAL("p"), LITERAL("g"), LITERAL("r"), now, 0, &account) == OK);
    CHECK(strstr(otagate_string_data(account), "\"failed\":1") != NULL);
    otagate_string_free(account);
    CHECK(otagate_ledger_statistics(world.ledger, world.fleet, LITERAL("p"), LITERAL("g"), &account) == OK);
    CHECK(strstr(otagate_string_data(account), "\"failed\":1") == NULL);
    otagate_string_free(account);
    /* An attempt that nobody was offered. */
    report.attempt = 7;
    CHECK(otagate_fleet_report(world.fleet, world.ledger, &report, now + 120002, &noted) == OK && noted == OTAGATE_NOTED_FOREIGN);

    /* A config that failed is no firmware that did. */
    check_in.want = OTAGATE_WANT_CONFIG;
    CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, now + 120003, &noted) == OK);
    CHECK(noted == OTAGATE_NOTED_FOREIGN);
    world_end(&world);
}

/* What is not used yet is 0, or refused. */
static void reserved_is_zero(void) {
    struct world world = world_begin();
    otagate_device device = otagate_device_init();
    device.serial = otagate_text_of("reserved");
    device.group = otagate_text_of("g");
    device.reserved = 1;
    CHECK(otagate_fleet_add_devices(world.fleet, LITERAL("p"), &device, 1, NULL) == OTAGATE_ERROR_ARGUMENT);
    device.reserved = 0;
    CHECK(otagate_fleet_add_devices(world.fleet, LITERAL("p"), &device, 1, NULL) == OK);
    world_end(&world);
}

/* A reader that only attends lets old revisions go too. */
static void a_reader_that_only_attends_moves_on(void) {
    struct world world = world_begin();
    size_t held = 7;
    attend_only(&world, "a", "0", NOW);
    change(&world, "{\"change\":\"assign-firmware\",\"product\":\"p\",\"group\":\"g\",\"firmware\":\"1\"}");
    attend_only(&world, "a", "0", NOW);
    CHECK(otagate_fleet_reclaim(world.fleet, &held) == OK && held == 0);
    world_end(&world);
}

/* A ledger of otagate's over a host's own store; what is left to do stands by itself. */
static void attended_over_a_store(void) {
    static struct host host;
    memset(&host, 0, sizeof host);
    host.registered = OTAGATE_REGISTERED_NEW;
    otagate_store_callbacks callbacks = callbacks_of(&host);
    otagate_store *store = NULL;
    otagate_ledger *ledger = NULL, *kept = NULL;
    otagate_reader *reader = NULL;
    int32_t noted = -1;
    CHECK(otagate_store_new(&callbacks, &store) == OK && otagate_reader_new_of_store(store, &reader) == OK);
    CHECK(otagate_ledger_new(10, &ledger) == OK && otagate_ledger_clone(ledger, &kept) == OK);
    struct world world = {NULL, ledger, reader};
    struct attended served = attend(&world, "s", "1", NOW);
    CHECK(served.status == OTAGATE_STATUS_SERVE && served.attempt == 1 && served.after != NULL);
    CHECK(attend_only(&world, "s", "1", NOW).leased == 1);
    struct attended arrived = attend(&world, "s", "2", NOW);
    CHECK(arrived.reason == OTAGATE_REASON_CURRENT && arrived.after != NULL);
    struct attended first_contact = attend(&world, "first contact", "1", NOW);
    CHECK(first_contact.status == OTAGATE_STATUS_UNAUTHORIZED && first_contact.after != NULL);
    otagate_reader_free(reader);
    otagate_store_free(store);
    otagate_ledger_free(ledger);
    char rows[2000];
    world.ledger = kept;
    CHECK(host.destroyed == 0 && host.registrations == 0);
    CHECK(otagate_after_answer(first_contact.after, NOW) == OK && host.registrations == 1);
    CHECK(otagate_after_last_byte(served.after, 60, NOW, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    rows_of(&world, rows, sizeof rows);
    CHECK(strstr(rows, "downloaded") != NULL && strstr(rows, "installed") == NULL);
    CHECK(otagate_after_answer(arrived.after, NOW) == OK);
    rows_of(&world, rows, sizeof rows);
    CHECK(strstr(rows, "installed") != NULL);
    otagate_after_free(served.after);
    otagate_after_free(arrived.after);
    CHECK(host.destroyed == 0);
    otagate_after_free(first_contact.after);
    otagate_ledger_free(kept);
    CHECK(host.destroyed == 1 && host.opened == host.closed);
}

static void *after_on_another_thread(void *argument) {
    int32_t noted = -1;
    CHECK(otagate_after_answer(argument, 3000) == OK);
    CHECK(otagate_after_last_byte(argument, 60, 3000, &noted) == OK && noted == OTAGATE_NOTED_MOVED);
    otagate_after_free(argument);
    return NULL;
}

/* It outlives the fleet, the reader and the handle on the ledger; registers; and sees what the device reported. */
static void what_is_left_stands_by_itself(void) {
    struct world world = world_begin();
    otagate_fleet *fleet = NULL;
    otagate_ledger *ledger = NULL;
    otagate_string *device = NULL;
    start(&world, "r", FIRMWARE_1, 1000);
    CHECK(otagate_fleet_clone(world.fleet, &fleet) == OK && otagate_ledger_clone(world.ledger, &ledger) == OK);
    struct attended served = attend(&world, "a", "0", 2000), contact = attend(&world, "one more", "0", 2000);
    CHECK(contact.reason == OTAGATE_REASON_DEVICE_UNKNOWN && contact.after != NULL);
    CHECK(otagate_fleet_device(fleet, LITERAL("p"), LITERAL("one more"), &device) == E(NOTHING));
    world_end(&world);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, after_on_another_thread, served.after) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(otagate_fleet_device(fleet, LITERAL("p"), LITERAL("a"), &device) == OK);
    CHECK(strstr(otagate_string_data(device), "\"version\":\"0\"") != NULL);
    otagate_string_free(device);
    CHECK(otagate_after_answer(contact.after, 3000) == OK);
    otagate_after_free(contact.after);
    CHECK(otagate_fleet_device(fleet, LITERAL("p"), LITERAL("one more"), &device) == OK);
    CHECK(strstr(otagate_string_data(device), "\"new\"") != NULL);
    otagate_string_free(device);
    world = (struct world){fleet, ledger, NULL};
    CHECK(has(&world, "\"downloaded\":1"));
    /* A device that is gone when it is to be seen. */
    CHECK(otagate_reader_new(fleet, &world.reader) == OK);
    struct attended gone = attend(&world, "b", "0.5", 900000);
    change(&world, "{\"change\":\"remove-device\",\"product\":\"p\",\"serial\":\"b\"}");
    CHECK(otagate_after_answer(gone.after, 900001) == E(REFUSED));
    otagate_after_free(gone.after);
    world_end(&world);
}

/* ---- Who it is about. ---- */

static int text_is(otagate_text text, const char *expected) {
    return expected == NULL ? is_none(text) : text.len == strlen(expected) && memcmp(text.data, expected, text.len) == 0;
}

static void who_it_is(void) {
    static const struct {
        const char *key, *serial, *product, *canonical, *group;
        int32_t state, may_ask, reason;
    } rows[] = {
        {"k", "a", "p", "a", "g", OTAGATE_DEVICE_VERIFIED, 1, OTAGATE_REASON_NONE},
        {"k", "n", "p", "n", "g", OTAGATE_DEVICE_NEW, 0, OTAGATE_REASON_DEVICE_NEW},
        {"k", "nobody", "p", NULL, NULL, -1, 0, OTAGATE_REASON_DEVICE_UNKNOWN},
        {"k", "", "p", NULL, NULL, -1, 0, OTAGATE_REASON_SERIAL_PLACEHOLDER},
        {"k", "a\nb", "p", NULL, NULL, -1, 0, OTAGATE_REASON_SERIAL_MALFORMED},
        {"wrong", "a", NULL, NULL, NULL, -1, 0, OTAGATE_REASON_KEY_UNKNOWN},
    };
    struct world world = world_begin();
    uint64_t before[OTAGATE_REASONS_MAX], counts[OTAGATE_REASONS_MAX];
    otagate_decision decision = otagate_decision_init(), refusal = otagate_decision_init();
    otagate_who who;
    CHECK(otagate_fleet_verdicts(world.fleet, NULL, 0, before, LEN(before)) == OK);
    for (size_t at = 0; at < LEN(rows); at++) {
        otagate_check_in check_in = good_check_in();
        int32_t may_ask = -1, noted;
        check_in.key = otagate_text_of(rows[at].key);
        check_in.serial = otagate_text_of(rows[at].serial);
        for (int how = 0; how < 3; how++) {
            refusal = served_before();
            /* Each time asked by another call first, whose texts go. */
            CHECK(otagate_reader_identify(world.reader, &check_in, NOW, &may_ask, &refusal) == OK);
            if (how == 1) CHECK(otagate_reader_attend(world.reader, world.ledger, &check_in, 60, NOW, &decision) == OK);
            if (how == 2) {
                otagate_string *told = NULL;
                /* Explaining leaves it as it is. */
                CHECK(otagate_reader_explain(world.reader, NULL, asking(), NOW, OTAGATE_FORMAT_TEXT, &told) == OK);
                otagate_string_free(told);
            }
            CHECK(may_ask == rows[at].may_ask);
            CHECK(may_ask ? denies(&refusal) : refusal.status == OTAGATE_STATUS_UNAUTHORIZED && refusal.reason == rows[at].reason);
            who = known_before();
            CHECK(otagate_reader_who(world.reader, &who) == OK);
            CHECK(text_is(who.product, rows[at].product) && text_is(who.serial, rows[at].canonical) && text_is(who.group, rows[at].group));
            CHECK(who.state == rows[at].state && who.reserved == 0 && who.struct_size == sizeof who);
            if (how == 1) {
                otagate_after_free(after_of(world.reader));
                who = known_before();
                CHECK(otagate_reader_who(world.reader, &who) == OK && text_is(who.group, rows[at].group));
            }
        }
        /* Calls that look nobody up, and those that forget it. */
        CHECK(otagate_reader_decide(world.reader, &check_in, NOW, &decision) == OK);
        who = known_before();
        if (decision.effect == OTAGATE_EFFECT_CLAIM) {
            CHECK(otagate_reader_who(world.reader, &who) == OK && text_is(who.serial, rows[at].canonical));
        } else {
            CHECK(otagate_reader_who(world.reader, &who) == E(NOTHING) && is_nobody(&who));
        }
        CHECK(otagate_reader_identify(world.reader, &check_in, NOW, &may_ask, &refusal) == OK);
        CHECK(otagate_reader_decide_many(world.reader, &check_in, NOW, &decision, 1) == OK);
        who = known_before();
        CHECK(otagate_reader_who(world.reader, &who) == E(NOTHING) && is_nobody(&who));
        CHECK(otagate_reader_identify(world.reader, &check_in, NOW, &may_ask, &refusal) == OK);
        CHECK(otagate_reader_report(world.reader, world.ledger, &check_in, OTAGATE_OUTCOME_FAILED, NOW, &noted) == OK);
        who = known_before();
        CHECK(otagate_reader_who(world.reader, &who) == E(NOTHING) && is_nobody(&who));
    }
    world_end(&world);
    /* Identifying and reporting count nothing. */
    world = world_begin();
    int32_t may_ask, noted;
    CHECK(otagate_reader_identify(world.reader, asking(), NOW, &may_ask, &refusal) == OK);
    CHECK(otagate_reader_report(world.reader, world.ledger, asking(), OTAGATE_OUTCOME_FAILED, NOW, &noted) == OK);
    CHECK(otagate_fleet_verdicts(world.fleet, NULL, 0, counts, LEN(counts)) == OK && memcmp(before, counts, sizeof counts) == 0);
    /* A registration is left to do after identifying too. */
    otagate_check_in check_in = good_check_in();
    check_in.serial = otagate_text_of("one more");
    CHECK(otagate_reader_identify(world.reader, &check_in, NOW, &may_ask, &refusal) == OK && refusal.effect == OTAGATE_EFFECT_REGISTER);
    otagate_after *after = after_of(world.reader);
    otagate_string *device = NULL;
    CHECK(after != NULL && otagate_after_answer(after, NOW) == OK);
    otagate_after_free(after);
    CHECK(otagate_fleet_device(world.fleet, LITERAL("p"), LITERAL("one more"), &device) == OK);
    otagate_string_free(device);
    world_end(&world);
}

/* Readers hold old revisions, and let them go. */
static void old_revisions_go(void) {
    struct world world = world_begin();
    otagate_decision decision = otagate_decision_init();
    size_t held = 7;
    CHECK(otagate_reader_decide(world.reader, asking(), NOW, &decision) == OK);
    change(&world, "{\"change\":\"assign-firmware\",\"product\":\"p\",\"group\":\"g\",\"firmware\":\"1\"}");
    CHECK(RUN(otagate_fleet_reclaim, world.fleet, &held) == OK && held == 1);
    CHECK(otagate_reader_decide(world.reader, asking(), NOW, &decision) == OK);
    CHECK(RUN(otagate_fleet_reclaim, world.fleet, &held) == OK && held == 0);
    world_end(&world);
}

/* ---- The last error of a thread that ends, and what is not there. ---- */

static pthread_key_t ending;

static void while_it_ends(void *argument) {
    char buffer[100];
    (void)argument;
    memset(buffer, '#', sizeof buffer);
    size_t len = otagate_last_error(buffer, sizeof buffer);
    CHECK(memchr(buffer, '\0', sizeof buffer) != NULL && strlen(buffer) <= len);
    buffer[0] = '#';
    CHECK(otagate_last_error(buffer, 1) == len && buffer[0] == '\0');
    uint64_t revision = 7;
    CHECK(otagate_fleet_revision(NULL, &revision) == E(NULL) && revision == 0);
    otagate_last_store_code();
}

static void *ends(void *argument) {
    CHECK(otagate_fleet_revision(NULL, NULL) == E(NULL));
    CHECK(pthread_setspecific(ending, argument) == 0);
    return NULL;
}

static void the_last_error_of_a_thread_that_ends(void) {
    pthread_t thread;
    CHECK(pthread_key_create(&ending, while_it_ends) == 0);
    CHECK(pthread_create(&thread, NULL, ends, &ending) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_key_delete(ending) == 0);
}

/* What is not there is NULL, and what is kept for later is zero. */
static void what_is_not_there(void) {
    struct world world = world_begin();
    otagate_check_in check_in = good_check_in();
    check_in.serial = otagate_text_of("a");
    check_in.want = OTAGATE_WANT_CONFIG;
    for (int how = 0; how < 2; how++) {
        otagate_decision decision = served_before();
        otagate_offer offer = offered_before();
        int32_t code = how == 0 ? otagate_reader_decide(world.reader, &check_in, NOW, &decision)
                                : otagate_reader_attend(world.reader, world.ledger, &check_in, 60, NOW, &decision);
        CHECK(code == OK && decision.status == OTAGATE_STATUS_SERVE && is_none(decision.meant));
        CHECK(otagate_reader_offer(world.reader, &offer) == OK && offer.kind == OTAGATE_OFFER_CONFIG && offer.document.len > 0);
        CHECK(is_none(offer.name) && is_none(offer.firmware) && is_none(offer.from) && is_none(offer.locator) && is_none(offer.rollout));
        CHECK(offer.reserved == 0 && offer.attempt == 0 && offer.leased == 0);
        for (size_t at = 0; at < sizeof offer.digests.reserved; at++) CHECK(offer.digests.reserved[at] == 0);
    }
    world_end(&world);
}

/* ---- A reader that is freed while it decides: it is leaked, and nothing is corrupted. ---- */

static otagate_reader *in_use;

static void *frees(void *argument) {
    char text[200] = "";
    (void)argument;
    otagate_reader_free(in_use);
    CHECK(otagate_last_error(text, sizeof text) > 0 && strstr(text, "leaked") != NULL);
    return NULL;
}

static int32_t hook_frees(otagate_found *found, const void *argument) {
    char text[200] = "";
    pthread_t thread;
    (void)argument;
    otagate_reader_free(in_use);
    CHECK(otagate_last_error(text, sizeof text) > 0 && strstr(text, "leaked") != NULL && strstr(text, "in use") != NULL);
    CHECK(pthread_create(&thread, NULL, frees, NULL) == 0 && pthread_join(thread, NULL) == 0);
    otagate_decision decision = served_before();
    CHECK(otagate_reader_decide(in_use, asking(), NOW, &decision) == E(BUSY) && denies(&decision));
    otagate_device device = good_device();
    return otagate_found_device(found, &device);
}

/* Not under what watches for leaks: there is one, and it cannot be freed any more. */
static void freed_while_in_use(void) {
    static struct host host;
    host.hook_at = DEVICE;
    host.hook = hook_frees;
    otagate_store_callbacks callbacks = callbacks_of(&host);
    otagate_store *store = NULL;
    CHECK(otagate_store_new(&callbacks, &store) == OK && otagate_reader_new_of_store(store, &in_use) == OK);
    otagate_decision decision = served_before();
    CHECK(otagate_reader_decide(in_use, asking(), NOW, &decision) == OK && decision.status == OTAGATE_STATUS_SERVE);
    CHECK(host.hooks == 1 && host.hooked == OK && host.opened == 1 && host.closed == 1);
    /* What the decision points at is not gone. */
    CHECK(decision.meant.len == 1 && *decision.meant.data == '2');
    otagate_store_free(store);
    CHECK(host.destroyed == 0);
    still_works(__LINE__, "a reader that was freed while it was in use");
}

static void promises(void) {
    texts_go_in_again();
    many_products_and_groups();
    runs_are_told_apart();
    the_last_byte_counts_once();
    a_config_in_the_middle();
    reports();
    reports_know_their_run();
    reserved_is_zero();
    a_reader_that_only_attends_moves_on();
    attended_over_a_store();
    what_is_left_stands_by_itself();
    who_it_is();
    old_revisions_go();
    the_last_error_of_a_thread_that_ends();
    what_is_not_there();
    still_works(__LINE__, "promises");
}

/* ---- All of it. ---- */

static void begin(void) {
    otagate_store_callbacks callbacks = callbacks_of(&w.host);
    w.host.registered = OTAGATE_REGISTERED_NEW;
    if (otagate_fleet_new(LITERAL(FLEET), &w.fleet) != OK || otagate_ledger_new(100, &w.ledger) != OK ||
        otagate_store_new(&callbacks, &w.store) != OK || otagate_reader_new(w.fleet, &w.reader) != OK ||
        otagate_reader_new_of_store(w.store, &w.store_reader) != OK) {
        char text[500];
        otagate_last_error(text, sizeof text);
        fprintf(stderr, "there is no world: %s\n", text);
        exit(1);
    }
    still_works(__LINE__, "the beginning");
}

static void end(void) {
    otagate_string *string = NULL;
    EXPECT(OK, otagate_fleet_to_json, w.fleet, &string);
    CHECK(RUN(otagate_string_len, string) == strlen(RUN(otagate_string_data, string)));
    RUN(otagate_string_free, string);
    EXPECT(OK, otagate_fleet_verdicts_json, w.fleet, &string);
    otagate_string_free(string);
    otagate_fleet_free(w.fleet);
    otagate_ledger_free(w.ledger);
    otagate_store_free(w.store);
    otagate_reader_free(w.reader);
    otagate_reader_free(w.store_reader);
    CHECK(w.host.destroyed == 1);
}

int main(int argc, char **argv) {
    int leaks = argc == 3 && strcmp(argv[2], "leaks") == 0;
    if (argc != 2 + leaks) {
        fprintf(stderr, "usage: hostile FLEET.toml [leaks]\n");
        return 2;
    }
    w.path = argv[1];
    begin();
    otagate_reader *asked[2] = {w.reader, w.store_reader};
    for (size_t at = 0; at < LEN(asked); at++) {
        w.asked = asked[at];
        for (size_t row = 0; row < LEN(by_texts); row++) every_text_in_turn(&by_texts[row]);
        every_size();
        readers();
    }
    fleets();
    ledgers();
    words();
    store_handles();
    destroyed_once_in_any_order();
    own_codes_come_back();
    garbage();
    reentrancy();
    error_in_small_buffers();
    each_thread_has_its_own_error();
    promises();
    if (leaks) freed_while_in_use();
    end();
    for (size_t at = 0; marked[at] != NULL; at++) printf("exercised %s\n", marked[at]);
    if (failures > 0) fprintf(stderr, "%d wrong\n", failures);
    return failures > 0;
}

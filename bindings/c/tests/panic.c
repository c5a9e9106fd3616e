/*
 * A fault inside otagate goes no further than its call. Linked with a library that was built to have one: a check-in of the version `planted panic`, before
 * anything is decided, or `planted panic late`, when all is decided and nothing is said yet; and a batch of changes of a product of the first name.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "otagate.h"

#define LITERAL(text) (text), sizeof(text) - 1
#define CHECK(condition) check(__LINE__, #condition, condition)

static int failures;

static void check(int line, const char *condition, int holds) {
    if (holds) return;
    failures++;
    fprintf(stderr, "panic.c:%d: expected %s\n", line, condition);
}

#define KEY "{\"hash\":\"5cbcb0cee824b91866cd67f57a6643ddcb7cd4382029039043513953c759246b\"}"
#define PRODUCT                                                                                                        \
    "\"product\":{\"id\":\"p\",\"keys\":[" KEY "]},\"firmware\":[{\"version\":\"1\",\"artifacts\":[{\"size_bytes\":5," \
    "\"locator\":\"one\",\"digests\":{\"blake3\":\"b1b4f24cf60df9e9e7bc80a2943c4de4fa3b10412a3a428763804355a719102d\"}}]}]," \
    "\"groups\":[{\"id\":\"g\",\"firmware\":\"1\"}]"
#define FLEET                                                                                                          \
    "{\"revision\":5,\"products\":[{" PRODUCT ",\"devices\":[{\"serial\":\"s\",\"state\":\"verified\",\"group\":\"g\",\"version\":\"0\"}]}]}"

static otagate_fleet *fleet;
static otagate_ledger *ledger;
static otagate_store *store;
static int opened, closed, destroyed;

static int32_t open_view(void *user_data, void **view, uint64_t *revision) {
    opened++;
    *view = user_data;
    *revision = 5;
    return 0;
}

static void close_view(void *user_data, void *view) {
    (void)user_data, (void)view;
    closed++;
}

static void destroy(void *user_data) {
    (void)user_data;
    destroyed++;
}

static int32_t product_of_key(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    (void)user_data, (void)view, (void)key_hash;
    if (otagate_found_known(found, "p", 1, 1) == OTAGATE_OK) return 0;
    otagate_found_document(found, "p", 1, 1, LITERAL("{" PRODUCT "}"));
    return 0;
}

static int32_t device(void *user_data, void *view, const char *product, size_t product_len, const char *serial, size_t serial_len,
                      otagate_found *found) {
    (void)user_data, (void)view, (void)product, (void)product_len, (void)serial, (void)serial_len;
    otagate_device given = otagate_device_init();
    given.serial = otagate_text_of("s");
    given.group = otagate_text_of("g");
    given.state = OTAGATE_DEVICE_VERIFIED;
    otagate_found_device(found, &given);
    return 0;
}

static otagate_check_in asking(const char *version) {
    otagate_check_in check_in = otagate_check_in_init();
    check_in.key = otagate_text_of("k");
    check_in.serial = otagate_text_of("s");
    check_in.version = otagate_text_of(version);
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
    return decision;
}

static int denies(const otagate_decision *decision) {
    return decision->status == OTAGATE_STATUS_UNAUTHORIZED && decision->reason == OTAGATE_REASON_NONE && decision->revision == 0 &&
           decision->retry_after_secs == -1 && decision->meant.data == NULL && decision->meant.len == 0 &&
           decision->offer == OTAGATE_OFFER_NONE && decision->effect == OTAGATE_EFFECT_NONE;
}

static int says_so(void) {
    char text[200];
    return otagate_last_error(text, sizeof text) > 0 && strstr(text, "planted") != NULL && otagate_last_store_code() == 0;
}

/* Nothing is left of a call that panicked, nor of what was before it. */
static void offers_nothing(otagate_reader *reader) {
    otagate_offer offer;
    otagate_effect effect;
    otagate_who who;
    otagate_decision refused = served_before();
    otagate_after *after = (void *)&failures;
    memset(&offer, 0xaa, sizeof offer);
    offer.struct_size = sizeof offer;
    CHECK(otagate_reader_offer(reader, &offer) == OTAGATE_ERROR_NOTHING);
    CHECK(offer.kind == OTAGATE_OFFER_NONE && offer.locator.data == NULL);
    memset(&effect, 0xaa, sizeof effect);
    effect.struct_size = sizeof effect;
    CHECK(otagate_reader_effect(reader, &effect) == OTAGATE_ERROR_NOTHING && effect.kind == OTAGATE_EFFECT_NONE);
    memset(&who, 0xaa, sizeof who);
    who.struct_size = sizeof who;
    CHECK(otagate_reader_who(reader, &who) == OTAGATE_ERROR_NOTHING && who.product.data == NULL && who.state == -1);
    CHECK(otagate_reader_after(reader, &after) == OTAGATE_OK && after == NULL);
    CHECK(otagate_reader_refuse(reader, OTAGATE_REFUSED_SLOTS, &refused) == OTAGATE_ERROR_NOTHING && denies(&refused));
}

static void works(otagate_reader *reader) {
    otagate_check_in check_in = asking("0");
    otagate_decision decision = otagate_decision_init();
    otagate_offer offer = otagate_offer_init();
    CHECK(otagate_reader_decide(reader, &check_in, 0, &decision) == OTAGATE_OK);
    CHECK(decision.status == OTAGATE_STATUS_SERVE && decision.revision == 5);
    CHECK(otagate_reader_offer(reader, &offer) == OTAGATE_OK && offer.locator.len == 3);
}

/* Each check-in that panics stands at each place of a batch in turn; the others would be served. */
static void batches(otagate_reader *reader, const char *version) {
    for (size_t planted = 0; planted < 3; planted++) {
        otagate_check_in many[3] = {asking("0"), asking("0"), asking("0")};
        otagate_decision decisions[3] = {served_before(), served_before(), served_before()};
        many[planted] = asking(version);
        works(reader);
        CHECK(otagate_reader_decide_many(reader, many, 0, decisions, 3) == OTAGATE_ERROR_PANIC);
        CHECK(says_so());
        for (size_t at = 0; at < 3; at++) CHECK(denies(&decisions[at]));
        offers_nothing(reader);
    }
    works(reader);
}

static void each_call_of_a_reader(otagate_reader *reader, int is_store) {
    static const char *const versions[] = {"planted panic", "planted panic late"};
    for (int late = 0; late < 2; late++) {
        otagate_check_in planted = asking(versions[late]);
        works(reader);
        otagate_decision decision = served_before();
        CHECK(otagate_reader_decide(reader, &planted, 0, &decision) == OTAGATE_ERROR_PANIC);
        CHECK(denies(&decision) && says_so());
        offers_nothing(reader);
        works(reader);

        decision = served_before();
        CHECK(otagate_reader_attend(reader, ledger, &planted, 60, 0, &decision) == OTAGATE_ERROR_PANIC);
        CHECK(denies(&decision) && says_so());
        offers_nothing(reader);
        works(reader);
        /* With a ledger again: what was left of the call before is gone, and the next one is served as ever. */
        otagate_check_in fine = asking("0");
        otagate_after *after = NULL;
        CHECK(otagate_reader_attend(reader, ledger, &fine, 60, 0, &decision) == OTAGATE_OK && decision.status == OTAGATE_STATUS_SERVE);
        CHECK(otagate_reader_after(reader, &after) == OTAGATE_OK && after != NULL);
        CHECK(otagate_after_answer(after, 0) == OTAGATE_OK && otagate_after_last_byte(after, 0, 0, NULL) == OTAGATE_OK);
        otagate_after_free(after);
    }
    otagate_check_in planted = asking("planted panic");
    int32_t may_ask = 1;
    otagate_decision refusal = served_before();
    works(reader);
    CHECK(otagate_reader_identify(reader, &planted, 0, &may_ask, &refusal) == OTAGATE_ERROR_PANIC);
    CHECK(may_ask == 0 && denies(&refusal) && says_so());
    offers_nothing(reader);
    works(reader);

    otagate_string *explanation = (void *)&failures;
    CHECK(otagate_reader_explain(reader, ledger, &planted, 0, OTAGATE_FORMAT_JSON, &explanation) == OTAGATE_ERROR_PANIC);
    CHECK(explanation == NULL && says_so());
    works(reader);

    batches(reader, "planted panic late");
    /* A fleet's batch is decided by other code, which has no fault planted in the middle. */
    if (is_store) batches(reader, "planted panic");
}

static void a_batch_of_changes(void) {
    uint64_t revision = 7;
    CHECK(otagate_fleet_apply(fleet, LITERAL("{\"change\":\"assign-firmware\",\"product\":\"planted panic\",\"group\":\"g\",\"firmware\":\"1\"}"),
                              &revision) == OTAGATE_ERROR_PANIC);
    CHECK(revision == 0 && says_so());
    CHECK(otagate_fleet_revision(fleet, &revision) == OTAGATE_OK && revision == 5);
    CHECK(otagate_fleet_apply(fleet, LITERAL("[]"), &revision) == OTAGATE_OK && revision == 5);
}

static void *thread(void *argument) {
    char text[8];
    (void)argument;
    /* What panicked elsewhere is not this thread's. */
    CHECK(otagate_last_error(text, sizeof text) == 0);
    otagate_reader *of_fleet = NULL, *of_store = NULL;
    CHECK(otagate_reader_new(fleet, &of_fleet) == OTAGATE_OK);
    CHECK(otagate_reader_new_of_store(store, &of_store) == OTAGATE_OK);
    each_call_of_a_reader(of_fleet, 0);
    each_call_of_a_reader(of_store, 1);
    a_batch_of_changes();
    otagate_reader_free(of_fleet);
    otagate_reader_free(of_store);
    return NULL;
}

int main(void) {
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    callbacks.open_view = open_view;
    callbacks.close_view = close_view;
    callbacks.destroy = destroy;
    callbacks.product_of_key = product_of_key;
    callbacks.device = device;
    otagate_reader *of_fleet = NULL, *of_store = NULL;
    CHECK(otagate_fleet_new(LITERAL(FLEET), &fleet) == OTAGATE_OK);
    CHECK(otagate_ledger_new(10, &ledger) == OTAGATE_OK);
    CHECK(otagate_store_new(&callbacks, &store) == OTAGATE_OK);
    CHECK(otagate_reader_new(fleet, &of_fleet) == OTAGATE_OK);
    CHECK(otagate_reader_new_of_store(store, &of_store) == OTAGATE_OK);
    if (failures > 0) return 1;
    each_call_of_a_reader(of_fleet, 0);
    each_call_of_a_reader(of_store, 1);
    a_batch_of_changes();
    /* Another thread goes on as if nothing had been, and may panic itself. */
    pthread_t other;
    CHECK(pthread_create(&other, NULL, thread, NULL) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    works(of_fleet);
    works(of_store);
    CHECK(opened > 0 && opened == closed);
    otagate_reader_free(of_fleet);
    otagate_reader_free(of_store);
    otagate_store_free(store);
    otagate_ledger_free(ledger);
    otagate_fleet_free(fleet);
    CHECK(destroyed == 1);
    if (failures == 0) puts("no panic left the library");
    return failures > 0;
}

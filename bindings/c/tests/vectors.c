/*
 * Runs the golden files that every language runs through the C face: each row, each field.
 *
 *     vectors [--every=N] tests/vectors/ranks.json ...     N: only every Nth row of what is long, for slow watchers
 *
 * Prints for each file how many rows it held, which the driver counts by other means; ends with 1 where anything differs.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "otagate.h"

#define FAILURES_SHOWN_MAX 30
#define BATCH_MAX 64

static struct {
    const char *file;
    const struct json *row;
    const char *how; /* by which store, by which function */
    size_t failures;
    size_t every;
} g = {"", NULL, "", 0, 1};

/* ---- Saying what differs. ---- */

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static void fail(const char *format, ...) {
    if (g.failures++ >= FAILURES_SHOWN_MAX) return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s, %s: ", g.file, g.how);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (g.row != NULL) {
        struct json_text text = {0};
        json_print(&text, g.row);
        fprintf(stderr, "\n    in %s", text.data);
        json_text_free(&text);
    }
    fputc('\n', stderr);
}

static void expect_number(const char *what, int64_t expected, int64_t found) {
    if (expected != found) fail("%s: expected %" PRId64 ", found %" PRId64, what, expected, found);
}

static void expect_u64(const char *what, uint64_t expected, uint64_t found) {
    if (expected != found) fail("%s: expected %" PRIu64 ", found %" PRIu64, what, expected, found);
}

/* A text that is expected, or none: NULL with length 0. */
static void expect_text(const char *what, const struct json *expected, otagate_text found) {
    if (expected == NULL || expected->kind == JSON_NULL) {
        if (found.data != NULL || found.len != 0) fail("%s: expected none, found `%.*s`", what, (int)found.len, found.data);
    } else if (expected->kind != JSON_STRING) {
        fail("%s: what is expected is no text", what);
    } else if (found.data == NULL) {
        fail("%s: expected `%s`, found none", what, expected->text.data);
    } else if (found.len != expected->text.len || memcmp(found.data, expected->text.data, found.len) != 0) {
        fail("%s: expected `%s`, found `%.*s`", what, expected->text.data, (int)found.len, found.data);
    }
}

static void expect_code(const char *what, int32_t expected, int32_t found) {
    if (expected == found) return;
    char words[512];
    otagate_last_error(words, sizeof words);
    fail("%s: expected %s, found %s: %s", what, otagate_code_name(expected), otagate_code_name(found), words);
}

/* Every name of an object must be one of those that are looked at, so that nothing of a row goes unchecked. */
static void expect_known(const char *what, const struct json *object, const char *const *known) {
    for (size_t at = 0; at < object->count; at++) {
        const char *const *name = known;
        while (*name != NULL && strcmp(*name, object->names[at].data) != 0) name++;
        if (*name == NULL) fail("%s has `%s`, which is not looked at", what, object->names[at].data);
    }
}

static int64_t number_of(const struct json *object, const char *name) {
    int is_fine = 1;
    int64_t number = json_i64(json_get(object, name), &is_fine);
    if (!is_fine) fail("`%s` is no whole number", name);
    return number;
}

static uint64_t u64_of(const struct json *object, const char *name) {
    int is_fine = 1;
    uint64_t number = json_u64(json_get(object, name), &is_fine);
    if (!is_fine) fail("`%s` is no u64", name);
    return number;
}

/* The text of a member that must be there. */
static otagate_text text_of(const struct json *object, const char *name) {
    const struct json *value = json_get(object, name);
    otagate_text none = {"", 0};
    if (!json_is(value, JSON_STRING)) {
        fail("there is no text `%s`", name);
        return none;
    }
    otagate_text text = {value->text.data, value->text.len};
    return text;
}

/* The text of a member, or NULL. */
static otagate_text text_if(const struct json *object, const char *name) {
    otagate_text none = {NULL, 0};
    return json_get(object, name) == NULL ? none : text_of(object, name);
}

static otagate_text view_of(const struct json_text *text) {
    otagate_text view = {text->data, text->len};
    return view;
}

/* `NAME` as text, or `NAME_hex` as bytes, which are put into `bytes`. */
static otagate_text bytes_of(const struct json *row, const char *name, struct json_text *bytes) {
    if (json_get(row, name) != NULL) return text_of(row, name);
    char hex_name[64];
    snprintf(hex_name, sizeof hex_name, "%s_hex", name);
    otagate_text hex = text_of(row, hex_name);
    bytes->len = 0;
    json_add(bytes, "", 0);
    for (size_t at = 0; at + 1 < hex.len; at += 2) {
        const char pair[3] = {hex.data[at], hex.data[at + 1], '\0'};
        char *end;
        char byte = (char)strtoul(pair, &end, 16);
        if (*end != '\0') fail("`%s` is no hex", hex_name);
        json_add(bytes, &byte, 1);
    }
    if (hex.len % 2 != 0) fail("`%s` is half a byte too long", hex_name);
    return view_of(bytes);
}

/* ---- Ranks, serials, versions. ---- */

static void run_rank(const struct json *row) {
    static const char *const known[] = {"salt", "product", "serial", "rank", NULL};
    expect_known("the row", row, known);
    otagate_text salt = text_of(row, "salt"), product = text_of(row, "product"), serial = text_of(row, "serial");
    uint64_t rank = 0xaaaaaaaaaaaaaaaau;
    expect_code("otagate_rank", OTAGATE_OK,
                otagate_rank(salt.data, salt.len, product.data, product.len, serial.data, serial.len, &rank));
    expect_u64("rank", u64_of(row, "rank"), rank);
}

static int32_t serial_scheme(const struct json *name) {
    if (json_text_is(name, "opaque")) return OTAGATE_SERIAL_OPAQUE;
    if (json_text_is(name, "opaque-nocase")) return OTAGATE_SERIAL_OPAQUE_NOCASE;
    if (json_text_is(name, "mac")) return OTAGATE_SERIAL_MAC;
    if (json_text_is(name, "hex")) return OTAGATE_SERIAL_HEX;
    if (json_text_is(name, "decimal")) return OTAGATE_SERIAL_DECIMAL;
    fail("there is no such serial scheme");
    return -1;
}

static void run_serial(const struct json *row) {
    static const char *const known[] = {"scheme", "input", "input_hex", "verdict", "canonical", NULL};
    expect_known("the row", row, known);
    struct json_text bytes = {0};
    otagate_text input = bytes_of(row, "input", &bytes);
    char canonical[OTAGATE_SERIAL_BYTES_MAX + 1];
    memset(canonical, 0xaa, sizeof canonical);
    size_t len = SIZE_MAX;
    int32_t fault = -1;
    expect_code("otagate_read_serial", OTAGATE_OK,
                otagate_read_serial(serial_scheme(json_get(row, "scheme")), input.data, input.len, canonical, &len, &fault));
    const struct json *verdict = json_get(row, "verdict");
    int32_t expected = json_text_is(verdict, "ok")            ? OTAGATE_SERIAL_IS_FINE
                       : json_text_is(verdict, "malformed")   ? OTAGATE_SERIAL_IS_MALFORMED
                       : json_text_is(verdict, "placeholder") ? OTAGATE_SERIAL_IS_PLACEHOLDER
                                                              : -2;
    expect_number("fault", expected, fault);
    if (expected == OTAGATE_SERIAL_IS_FINE) {
        otagate_text found = {canonical, len <= OTAGATE_SERIAL_BYTES_MAX ? len : 0};
        expect_text("canonical", json_get(row, "canonical"), found);
        if ((unsigned char)canonical[len] != 0xaa) fail("something was written behind the canonical serial");
    } else {
        expect_u64("canonical_len", 0, len);
    }
    json_text_free(&bytes);
}

static void run_version(const struct json *row) {
    static const char *const known[] = {"scheme", "prefixes", "build_metadata", "a",    "a_hex",
                                        "b",      "b_hex",    "equal",          "order", NULL};
    expect_known("the row", row, known);
    struct json_text rules = {0}, a_bytes = {0}, b_bytes = {0};
    json_puts(&rules, "{\"scheme\":");
    json_print(&rules, json_get(row, "scheme"));
    json_puts(&rules, ",\"prefixes\":");
    json_print(&rules, json_get(row, "prefixes"));
    int counts = json_text_is(json_get(row, "build_metadata"), "counts");
    if (!counts && !json_text_is(json_get(row, "build_metadata"), "ignored")) fail("there is no such build_metadata");
    json_puts(&rules, counts ? ",\"build_metadata\":\"counts-for-equality\"}" : ",\"build_metadata\":\"ignored\"}");
    otagate_text a = bytes_of(row, "a", &a_bytes), b = bytes_of(row, "b", &b_bytes);
    int32_t equal = -1, order = -7;
    const struct json *expected = json_get(row, "order");
    int64_t ordered = json_is(expected, JSON_NULL) ? OTAGATE_UNORDERED : number_of(row, "order");
    expect_code("otagate_compare_versions", OTAGATE_OK,
                otagate_compare_versions(rules.data, rules.len, a.data, a.len, b.data, b.len, &equal, &order));
    expect_number("equal", json_is(json_get(row, "equal"), JSON_TRUE), equal);
    expect_number("order", ordered, order);
    expect_code("otagate_compare_versions", OTAGATE_OK,
                otagate_compare_versions(rules.data, rules.len, b.data, b.len, a.data, a.len, &equal, &order));
    expect_number("equal, the other way about", json_is(json_get(row, "equal"), JSON_TRUE), equal);
    expect_number("order, the other way about", ordered == OTAGATE_UNORDERED ? ordered : -ordered, order);
    json_text_free(&rules);
    json_text_free(&a_bytes);
    json_text_free(&b_bytes);
}

/* ---- A store of the host's own that serves a fleet out of its JSON. ---- */

struct host {
    const struct json *fleet;
    int has_groups; /* groups are looked up one by one; else they stand in the documents of products */
    size_t opened, closed, destroyed;
    size_t documents, wanted; /* how many were handed over, and asked for */
};

static int view_is(otagate_text text, const char *data, size_t len) {
    return text.len == len && memcmp(text.data, data, len) == 0;
}

static int32_t host_open(void *user_data, void **view, uint64_t *revision) {
    struct host *host = user_data;
    host->opened++;
    *view = host;
    *revision = u64_of(host->fleet, "revision");
    return 0;
}

static void host_close(void *user_data, void *view) {
    struct host *host = user_data;
    if (view != user_data) fail("close_view was given another view");
    host->closed++;
}

static void host_destroy(void *user_data) {
    ((struct host *)user_data)->destroyed++;
}

/* Says the name and the edition first; hands over the document where that is wanted. */
static int32_t host_give(struct host *host, otagate_found *found, otagate_text name, const struct json_text *document) {
    int32_t code = otagate_found_known(found, name.data, name.len, 1);
    if (code == OTAGATE_OK) return 0;
    expect_code("otagate_found_known", OTAGATE_WANTED, code);
    host->wanted++;
    host->documents++;
    expect_code("otagate_found_document", OTAGATE_OK,
                otagate_found_document(found, name.data, name.len, 1, document->data, document->len));
    return 0;
}

static int32_t host_product_of_key(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    struct host *host = user_data;
    (void)view;
    char hex[65];
    for (int at = 0; at < 32; at++) snprintf(hex + 2 * at, 3, "%02x", key_hash[at]);
    const struct json *products = json_get(host->fleet, "products");
    for (size_t at = 0; at < products->count; at++) {
        const struct json *entry = &products->items[at], *product = json_get(entry, "product");
        const struct json *keys = json_get(product, "keys");
        for (size_t key = 0; keys != NULL && key < keys->count; key++) {
            if (!json_text_is(json_get(&keys->items[key], "hash"), hex)) continue;
            struct json_text document = {0};
            json_puts(&document, "{\"product\":");
            json_print(&document, product);
            json_puts(&document, ",\"firmware\":");
            json_print(&document, json_get(entry, "firmware"));
            if (!host->has_groups) {
                json_puts(&document, ",\"groups\":");
                json_print(&document, json_get(entry, "groups"));
            }
            json_puts(&document, "}");
            int32_t code = host_give(host, found, text_of(product, "id"), &document);
            json_text_free(&document);
            return code;
        }
    }
    return 0;
}

static const struct json *host_product(const struct host *host, const char *id, size_t len) {
    const struct json *products = json_get(host->fleet, "products");
    for (size_t at = 0; at < products->count; at++) {
        if (view_is(text_of(json_get(&products->items[at], "product"), "id"), id, len)) return &products->items[at];
    }
    return NULL;
}

static int32_t device_state(const struct json *name) {
    static const char *const names[] = {"new", "verified", "blocked", "disabled", "quota"};
    for (int32_t state = OTAGATE_DEVICE_NEW; state <= OTAGATE_DEVICE_QUOTA; state++) {
        if (json_text_is(name, names[state])) return state;
    }
    fail("there is no such device state");
    return -1;
}

static otagate_device device_of(const struct json *spec) {
    static const char *const known[] = {"serial", "state", "group", "entered_at", "pin", "cap", "version", "hardware", NULL};
    expect_known("the device", spec, known);
    otagate_device device = otagate_device_init();
    device.serial = text_of(spec, "serial");
    device.state = device_state(json_get(spec, "state"));
    device.group = text_of(spec, "group");
    device.entered_at_millis = json_get(spec, "entered_at") == NULL ? 0 : number_of(spec, "entered_at");
    device.pin = text_if(spec, "pin");
    device.cap = text_if(spec, "cap");
    device.version = text_if(spec, "version");
    device.hardware = text_if(spec, "hardware");
    return device;
}

static int32_t host_device(void *user_data, void *view, const char *product, size_t product_len, const char *serial,
                           size_t serial_len, otagate_found *found) {
    struct host *host = user_data;
    (void)view;
    const struct json *entry = host_product(host, product, product_len);
    if (entry == NULL) return 0;
    const struct json *scheme = json_get(json_get(entry, "product"), "serial_scheme");
    const struct json *devices = json_get(entry, "devices");
    for (size_t at = 0; at < devices->count; at++) {
        otagate_text spelled = text_of(&devices->items[at], "serial");
        char canonical[OTAGATE_SERIAL_BYTES_MAX];
        size_t len = 0;
        int32_t fault, number = scheme == NULL ? OTAGATE_SERIAL_OPAQUE : serial_scheme(scheme);
        expect_code("otagate_read_serial", OTAGATE_OK,
                    otagate_read_serial(number, spelled.data, spelled.len, canonical, &len, &fault));
        if (len != serial_len || memcmp(canonical, serial, len) != 0) continue;
        otagate_device device = device_of(&devices->items[at]);
        expect_code("otagate_found_device", OTAGATE_OK, otagate_found_device(found, &device));
        return 0;
    }
    return 0;
}

static int32_t host_group(void *user_data, void *view, const char *product, size_t product_len, const char *group,
                          size_t group_len, otagate_found *found) {
    struct host *host = user_data;
    (void)view;
    const struct json *entry = host_product(host, product, product_len);
    const struct json *groups = json_get(entry, "groups");
    for (size_t at = 0; groups != NULL && at < groups->count; at++) {
        otagate_text id = text_of(&groups->items[at], "id");
        if (!view_is(id, group, group_len)) continue;
        struct json_text document = {0};
        json_print(&document, &groups->items[at]);
        int32_t code = host_give(host, found, id, &document);
        json_text_free(&document);
        return code;
    }
    return 0;
}

/* ---- Decisions. ---- */

/* A check-in, and the bytes of what is no text in it. */
struct asked {
    otagate_check_in check_in;
    struct json_text bytes[4];
};

static void asked_free(struct asked *asked) {
    for (size_t at = 0; at < 4; at++) json_text_free(&asked->bytes[at]);
}

static struct asked asked_of(const struct json *row) {
    static const char *const known[] = {"now",     "want",       "answer",   "key",          "key_hex",  "serial",  "serial_hex",
                                        "version", "version_hex", "hardware", "hardware_hex", "digest", "resource", NULL};
    static const char *const kinds[] = {"blake3", "sha256", "md5"};
    static const int32_t numbers[] = {OTAGATE_DIGEST_BLAKE3, OTAGATE_DIGEST_SHA256, OTAGATE_DIGEST_MD5};
    static const char *const wants[] = {"firmware", "config", "resources", "resource"};
    expect_known("the case", row, known);
    struct asked asked;
    memset(&asked, 0, sizeof asked);
    asked.check_in = otagate_check_in_init();
    asked.check_in.key = bytes_of(row, "key", &asked.bytes[0]);
    asked.check_in.serial = bytes_of(row, "serial", &asked.bytes[1]);
    asked.check_in.version = bytes_of(row, "version", &asked.bytes[2]);
    asked.check_in.hardware = bytes_of(row, "hardware", &asked.bytes[3]);
    asked.check_in.want = -1;
    for (int32_t want = OTAGATE_WANT_FIRMWARE; want <= OTAGATE_WANT_RESOURCE; want++) {
        if (json_text_is(json_get(row, "want"), wants[want])) asked.check_in.want = want;
    }
    if (asked.check_in.want == OTAGATE_WANT_RESOURCE) asked.check_in.resource = text_of(row, "resource");
    const struct json *digest = json_get(row, "digest");
    if (digest != NULL) {
        static const char *const parts[] = {"kind", "hex", NULL};
        expect_known("the digest", digest, parts);
        asked.check_in.digest_kind = -1;
        for (size_t at = 0; at < 3; at++) {
            if (json_text_is(json_get(digest, "kind"), kinds[at])) asked.check_in.digest_kind = numbers[at];
        }
        asked.check_in.digest_hex = text_of(digest, "hex");
    }
    return asked;
}

/* What is in a struct before a call that must write all of it. */
static otagate_decision unwritten_decision(void) {
    otagate_decision decision;
    memset(&decision, 0xaa, sizeof decision);
    decision.struct_size = sizeof decision;
    return decision;
}

static const char *verdict_name(int32_t status) {
    switch (status) {
    case OTAGATE_STATUS_SERVE: return "serve";
    case OTAGATE_STATUS_UP_TO_DATE: return "up-to-date";
    case OTAGATE_STATUS_UNAUTHORIZED: return "unauthorized";
    case OTAGATE_STATUS_UNAVAILABLE: return "unavailable";
    default: return "none";
    }
}

static void expect_name(const char *what, const struct json *object, const char *name, const char *found) {
    if (!json_text_is(json_get(object, name), found)) fail("%s: expected another `%s`, found `%s`", what, name, found);
}

/* What a decision and a refusal both say. */
static void check_status(const struct json *expected, const otagate_decision *found) {
    expect_number("status", number_of(expected, "status"), found->status);
    expect_number("reason", number_of(expected, "number"), found->reason);
    expect_name("otagate_reason_name", expected, "reason", otagate_reason_name(found->reason));
    expect_number("otagate_reason_status", found->status, otagate_reason_status(found->reason));
    const struct json *secs = json_get(expected, "retry_after_secs");
    int64_t retry = secs == NULL || secs->kind == JSON_NULL ? -1 : number_of(expected, "retry_after_secs");
    expect_number("retry_after_secs", retry, found->retry_after_secs);
}

static int32_t offer_kind(const struct json *offer) {
    if (offer == NULL) return OTAGATE_OFFER_NONE;
    if (json_get(offer, "firmware") != NULL) return OTAGATE_OFFER_FIRMWARE;
    if (json_get(offer, "config") != NULL) return OTAGATE_OFFER_CONFIG;
    if (json_get(offer, "resources") != NULL) return OTAGATE_OFFER_RESOURCES;
    if (json_get(offer, "resource") != NULL) return OTAGATE_OFFER_RESOURCE;
    fail("there is no such offer");
    return -1;
}

static int32_t effect_kind(const struct json *effect) {
    if (effect == NULL) return OTAGATE_EFFECT_NONE;
    if (json_text_is(json_get(effect, "do"), "register")) return OTAGATE_EFFECT_REGISTER;
    if (json_text_is(json_get(effect, "do"), "claim")) return OTAGATE_EFFECT_CLAIM;
    if (json_text_is(json_get(effect, "do"), "seen")) return OTAGATE_EFFECT_SEEN;
    fail("there is no such effect");
    return -1;
}

static void check_decision(const struct json *answer, const otagate_decision *found) {
    static const char *const known[] = {"status", "verdict", "reason",  "number", "revision", "retry_after_secs",
                                        "meant",  "rollout", "effect", "offer",  NULL};
    expect_known("the answer", answer, known);
    check_status(answer, found);
    expect_name("the verdict", answer, "verdict", verdict_name(found->status));
    expect_u64("revision", u64_of(answer, "revision"), found->revision);
    expect_text("meant", json_get(answer, "meant"), found->meant);
    expect_number("offer", offer_kind(json_get(answer, "offer")), found->offer);
    expect_number("effect", effect_kind(json_get(answer, "effect")), found->effect);
    expect_u64("struct_size", sizeof *found, found->struct_size);
}

static void check_digest(const char *name, const struct json *digests, const uint8_t *found, size_t len, int is_known) {
    const struct json *expected = json_get(digests, name);
    char hex[65] = "";
    for (size_t at = 0; at < len; at++) snprintf(hex + 2 * at, 3, "%02x", found[at]);
    if (expected == NULL) {
        if (is_known || strspn(hex, "0") != 2 * len) fail("%s: expected none, found %s", name, hex);
    } else if (!is_known || !json_text_is(expected, hex)) {
        fail("%s: expected %s, found %s%s", name, expected->text.data, hex, is_known ? "" : ", as if it were not known");
    }
}

static void check_digests(const struct json *digests, const otagate_digests *found) {
    static const char *const known[] = {"blake3", "sha256", "md5", NULL};
    struct json none = {0};
    if (digests == NULL) digests = &none;
    expect_known("the digests", digests, known);
    check_digest("blake3", digests, found->blake3, sizeof found->blake3, (found->kinds & OTAGATE_DIGEST_BLAKE3) != 0);
    check_digest("sha256", digests, found->sha256, sizeof found->sha256, (found->kinds & OTAGATE_DIGEST_SHA256) != 0);
    check_digest("md5", digests, found->md5, sizeof found->md5, (found->kinds & OTAGATE_DIGEST_MD5) != 0);
    expect_number("kinds", found->kinds & 7, found->kinds);
    for (size_t at = 0; at < sizeof found->reserved; at++) expect_number("what is kept for later", 0, found->reserved[at]);
}

/* The resources of the fleet's groups and of their rollouts' targets, by name: what an answer does not repeat. */
static const struct json *resource_in(const struct json *list, otagate_text name, otagate_text locator) {
    for (size_t at = 0; json_is(list, JSON_ARRAY) && at < list->count; at++) {
        if (view_is(text_of(&list->items[at], "name"), name.data, name.len) &&
            view_is(text_of(&list->items[at], "locator"), locator.data, locator.len)) {
            return &list->items[at];
        }
    }
    return NULL;
}

/* A resource of a list is one that the fleet has: with that locator, size and digests. */
static void check_resource(const struct json *fleet, const otagate_resource *found) {
    const struct json *products = json_get(fleet, "products");
    int sizes = 0;
    for (size_t product = 0; product < products->count; product++) {
        const struct json *groups = json_get(&products->items[product], "groups");
        for (size_t at = 0; at < groups->count; at++) {
            const struct json *lists[2] = {
                json_get(&groups->items[at], "resources"),
                json_get(json_get(json_get(&groups->items[at], "rollout"), "target"), "resources"),
            };
            for (size_t list = 0; list < 2; list++) {
                const struct json *spec = resource_in(lists[list], found->name, found->locator);
                if (spec == NULL || u64_of(spec, "size_bytes") != found->size_bytes) continue;
                otagate_text blake3 = text_of(json_get(spec, "digests"), "blake3");
                char hex[65];
                for (int byte = 0; byte < 32; byte++) snprintf(hex + 2 * byte, 3, "%02x", found->digests.blake3[byte]);
                if (!view_is(blake3, hex, 64)) continue;
                sizes++;
            }
        }
    }
    if (sizes == 0) fail("the fleet has no such resource `%.*s`", (int)found->name.len, found->name.data);
}

static void check_offer(const struct json *fleet, const struct json *answer, otagate_reader *reader) {
    static const char *const known[][8] = {
        {NULL},
        {"firmware", "locator", "size_bytes", "digests", "from", "leased", NULL},
        {"config", "digests", NULL},
        {"resources", NULL},
        {"resource", "locator", "size_bytes", "digests", NULL},
    };
    const struct json *expected = json_get(answer, "offer");
    int32_t kind = offer_kind(expected);
    otagate_offer offer;
    memset(&offer, 0xaa, sizeof offer);
    offer.struct_size = sizeof offer;
    expect_code("otagate_reader_offer", kind == OTAGATE_OFFER_NONE ? OTAGATE_ERROR_NOTHING : OTAGATE_OK,
                otagate_reader_offer(reader, &offer));
    expect_number("the kind of the offer", kind, offer.kind);
    if (kind < 0) return;
    if (expected != NULL) expect_known("the offer", expected, known[kind]);
    expect_text("the firmware", json_get(expected, "firmware"), offer.firmware);
    expect_text("from", json_get(expected, "from"), offer.from);
    expect_text("the locator", json_get(expected, "locator"), offer.locator);
    expect_text("the config", json_get(expected, "config"), offer.document);
    expect_text("the name of the resource", json_get(expected, "resource"), offer.name);
    expect_text("the rollout of the offer", json_get(answer, "rollout"), offer.rollout);
    expect_number("leased", json_is(json_get(expected, "leased"), JSON_TRUE), offer.leased);
    expect_number("attempt", 0, offer.attempt);
    check_digests(json_get(expected, "digests"), &offer.digests);
    uint64_t size = json_get(expected, "size_bytes") != NULL ? u64_of(expected, "size_bytes")
                    : kind == OTAGATE_OFFER_CONFIG           ? json_get(expected, "config")->text.len
                                                             : 0;
    expect_u64("size_bytes", size, offer.size_bytes);
    const struct json *list = json_get(expected, "resources");
    size_t len = list == NULL ? 0 : list->count;
    expect_u64("resources_len", len, offer.resources_len);
    for (size_t at = 0; at <= len; at++) {
        otagate_resource resource;
        memset(&resource, 0xaa, sizeof resource);
        resource.struct_size = sizeof resource;
        expect_code("otagate_reader_resource", at < len ? OTAGATE_OK : OTAGATE_ERROR_NOTHING,
                    otagate_reader_resource(reader, at, &resource));
        expect_text("the name in the list", at < len ? &list->items[at] : NULL, resource.name);
        if (at < len) check_resource(fleet, &resource);
    }
}

/* What a device's claim gives way to, where the ledger refuses it: the check-in is decided anew for each, since a refusal settles it. */
static void check_refused(const struct json *refused, otagate_reader *reader, const otagate_check_in *check_in, int64_t now,
                          const otagate_decision *decided) {
    static const char *const known[] = {"status", "number", "reason", "retry_after_secs", NULL};
    for (size_t at = 0; at < refused->count; at++) {
        const struct json *expected = &refused->items[at];
        expect_known("the refusal", expected, known);
        int by_slots = json_text_is(json_get(expected, "reason"), "wave-not-open");
        if (!by_slots) expect_name("the refusal", expected, "reason", "downloads-full");
        otagate_decision decision = unwritten_decision(), given = unwritten_decision();
        otagate_offer offer = otagate_offer_init();
        expect_code("otagate_reader_decide", OTAGATE_OK, otagate_reader_decide(reader, check_in, now, &decision));
        expect_code("otagate_reader_refuse", OTAGATE_OK,
                    otagate_reader_refuse(reader, by_slots ? OTAGATE_REFUSED_SLOTS : OTAGATE_REFUSED_DOWNLOADS, &given));
        check_status(expected, &given);
        expect_u64("the revision of the refusal", decided->revision, given.revision);
        expect_number("the offer of the refusal", OTAGATE_OFFER_NONE, given.offer);
        expect_number("the effect of the refusal", OTAGATE_EFFECT_NONE, given.effect);
        expect_code("an offer after a refusal", OTAGATE_ERROR_NOTHING, otagate_reader_offer(reader, &offer));
    }
    if (refused->count == 0) fail("a claim that cannot be refused");
}

static int64_t max_of(const struct json *effect, const char *name) {
    const struct json *value = json_get(effect, name);
    return value == NULL || value->kind == JSON_NULL ? -1 : number_of(effect, name);
}

static void check_effect(const struct json *fleet, const struct json *answer, otagate_reader *reader, const otagate_check_in *check_in,
                         int64_t now, const otagate_decision *decided) {
    static const char *const known[][8] = {
        {NULL},
        {"do", "product", NULL},
        {"do", "rollout", "slots_max", "downloads_max", "refused", NULL},
        {"do", "rollout", NULL},
    };
    const struct json *expected = json_get(answer, "effect");
    int32_t kind = effect_kind(expected);
    otagate_effect effect;
    memset(&effect, 0xaa, sizeof effect);
    effect.struct_size = sizeof effect;
    expect_code("otagate_reader_effect", kind == OTAGATE_EFFECT_NONE ? OTAGATE_ERROR_NOTHING : OTAGATE_OK,
                otagate_reader_effect(reader, &effect));
    expect_number("the kind of the effect", kind, effect.kind);
    if (kind < 0) return;
    if (expected != NULL) expect_known("the effect", expected, known[kind]);
    expect_number("settled", 0, effect.settled);
    expect_text("the product of the effect", json_get(expected, "product"), effect.product);
    expect_text("the rollout of the effect", json_get(expected, "rollout"), effect.rollout);
    expect_number("slots_max", max_of(expected, "slots_max"), effect.slots_max);
    expect_number("downloads_max", max_of(expected, "downloads_max"), effect.downloads_max);
    if (kind == OTAGATE_EFFECT_REGISTER) {
        struct host host = {fleet, 0, 0, 0, 0, 0, 0};
        otagate_text id = text_of(expected, "product");
        const struct json *product = json_get(host_product(&host, id.data, id.len), "product");
        char canonical[OTAGATE_SERIAL_BYTES_MAX];
        size_t len = 0;
        int32_t fault;
        otagate_text serial = check_in->serial;
        otagate_read_serial(serial_scheme(json_get(product, "serial_scheme")), serial.data, serial.len, canonical, &len, &fault);
        if (!view_is(effect.serial, canonical, len)) {
            fail("the serial to register: expected `%.*s`, found `%.*s`", (int)len, canonical, (int)effect.serial.len, effect.serial.data);
        }
    } else {
        expect_text("the serial of the effect", NULL, effect.serial);
    }
    if (kind == OTAGATE_EFFECT_CLAIM) {
        check_refused(json_get(expected, "refused"), reader, check_in, now, decided);
    } else {
        otagate_decision refused = unwritten_decision();
        expect_code("otagate_reader_refuse without a claim", OTAGATE_ERROR_NOTHING,
                    otagate_reader_refuse(reader, OTAGATE_REFUSED_SLOTS, &refused));
        expect_number("the status of a refusal that is none", OTAGATE_STATUS_UNAUTHORIZED, refused.status);
    }
}

static void check_explained(const struct json *answer, otagate_reader *reader, const otagate_check_in *check_in, int64_t now) {
    otagate_string *explanation = NULL;
    expect_code("otagate_reader_explain", OTAGATE_OK,
                otagate_reader_explain(reader, NULL, check_in, now, OTAGATE_FORMAT_JSON, &explanation));
    struct json told;
    size_t where;
    const char *fault = json_read(&told, otagate_string_data(explanation), otagate_string_len(explanation), &where);
    if (fault != NULL) {
        fail("the explanation is no JSON: %s at %zu", fault, where);
    } else if (json_get(&told, "decision") == NULL || !json_equal(json_get(&told, "decision"), answer)) {
        fail("the explanation decides otherwise: %s", otagate_string_data(explanation));
    }
    json_free(&told);
    otagate_string_free(explanation);
}

/* Whether the product of that name has a key of that BLAKE3, as `otagate_key_hash` gives it. */
static int has_key(const struct json *fleet, otagate_text name, otagate_text key) {
    uint8_t hash[32];
    char hex[65];
    struct host host = {fleet, 0, 0, 0, 0, 0, 0};
    const struct json *entry = host_product(&host, name.data, name.len);
    const struct json *keys = entry == NULL ? NULL : json_get(json_get(entry, "product"), "keys");
    expect_code("otagate_key_hash", OTAGATE_OK, otagate_key_hash(key.data, key.len, hash));
    for (int at = 0; at < 32; at++) snprintf(hex + 2 * at, 3, "%02x", hash[at]);
    for (size_t at = 0; keys != NULL && at < keys->count; at++) {
        if (json_text_is(json_get(&keys->items[at], "hash"), hex)) return 1;
    }
    return 0;
}

/* Who it is, and whether it may ask: who is answered anything but 401 may. */
static void check_identified(const struct json *fleet, const struct json *answer, otagate_reader *reader, const otagate_check_in *check_in,
                             int64_t now) {
    otagate_decision refusal = unwritten_decision();
    otagate_who who;
    int32_t may_ask = -1;
    memset(&who, 0xaa, sizeof who);
    who.struct_size = sizeof who;
    expect_code("otagate_reader_identify", OTAGATE_OK, otagate_reader_identify(reader, check_in, now, &may_ask, &refusal));
    expect_code("otagate_reader_who", OTAGATE_OK, otagate_reader_who(reader, &who));
    int is_refused = number_of(answer, "status") == OTAGATE_STATUS_UNAUTHORIZED;
    expect_number("may_ask", !is_refused, may_ask);
    expect_number("state", is_refused ? who.state : OTAGATE_DEVICE_VERIFIED, who.state);
    if (is_refused) check_decision(answer, &refusal);
    else expect_number("the reason of a refusal that is none", OTAGATE_REASON_NONE, refusal.reason);
    int is_unknown = number_of(answer, "number") == OTAGATE_REASON_KEY_UNKNOWN;
    if (is_unknown != (who.product.data == NULL)) fail("a product is named, or not, under another key");
    if (!is_unknown && !has_key(fleet, who.product, check_in->key)) fail("the product that is named does not have the key");
    if ((who.state >= 0) != (who.serial.data != NULL) || (who.state >= 0) != (who.group.data != NULL)) fail("half a device is named");
}

/* With a ledger that holds nothing yet, the answer is the same; what it claims is granted. */
static void check_attended(const struct json *answer, otagate_reader *reader, const otagate_check_in *check_in, int64_t now) {
    otagate_ledger *ledger = NULL;
    otagate_after *after = (void *)&g;
    otagate_decision decision = unwritten_decision();
    otagate_effect effect = otagate_effect_init();
    otagate_offer offer = otagate_offer_init();
    expect_code("otagate_ledger_new", OTAGATE_OK, otagate_ledger_new(10, &ledger));
    expect_code("otagate_reader_attend", OTAGATE_OK, otagate_reader_attend(reader, ledger, check_in, 60, now, &decision));
    check_decision(answer, &decision);
    int32_t kind = effect_kind(json_get(answer, "effect")), offered = offer_kind(json_get(answer, "offer"));
    expect_code("otagate_reader_effect", kind == OTAGATE_EFFECT_NONE ? OTAGATE_ERROR_NOTHING : OTAGATE_OK,
                otagate_reader_effect(reader, &effect));
    expect_number("settled", kind == OTAGATE_EFFECT_CLAIM, effect.settled);
    expect_code("otagate_reader_offer", offered == OTAGATE_OFFER_NONE ? OTAGATE_ERROR_NOTHING : OTAGATE_OK,
                otagate_reader_offer(reader, &offer));
    if (json_get(answer, "rollout") == NULL) expect_number("the attempt on no account", 0, offer.attempt);
    expect_code("otagate_reader_after", OTAGATE_OK, otagate_reader_after(reader, &after));
    if (offered != OTAGATE_OFFER_NONE && after == NULL) fail("something is served, and nothing ends with its last byte");
    if (kind == OTAGATE_EFFECT_REGISTER && after == NULL) fail("nobody is left to register");
    otagate_after_free(after);
    otagate_ledger_free(ledger);
}

/* One case, asked one by one. */
static void run_case(const struct json *fleet, const struct json *row, otagate_reader *reader) {
    struct asked asked = asked_of(row);
    const struct json *answer = json_get(row, "answer");
    int64_t now = number_of(row, "now");
    otagate_decision decision = unwritten_decision();
    expect_code("otagate_reader_decide", OTAGATE_OK, otagate_reader_decide(reader, &asked.check_in, now, &decision));
    check_decision(answer, &decision);
    check_offer(fleet, answer, reader);
    check_explained(answer, reader, &asked.check_in, now);
    /* The explanation left the last decision as it was. */
    check_effect(fleet, answer, reader, &asked.check_in, now, &decision);
    check_identified(fleet, answer, reader, &asked.check_in, now);
    check_attended(answer, reader, &asked.check_in, now);
    asked_free(&asked);
}

/* All cases of one `now`, asked at once. */
static void run_batches(const struct json *cases, otagate_reader *reader) {
    static struct asked asked[BATCH_MAX];
    static otagate_check_in check_ins[BATCH_MAX];
    static otagate_decision decisions[BATCH_MAX];
    const struct json *rows[BATCH_MAX];
    for (size_t first = 0; first < cases->count; first++) {
        int64_t now = number_of(&cases->items[first], "now");
        size_t len = 0, before = 0;
        while (before < first && number_of(&cases->items[before], "now") != now) before++;
        if (before < first) continue;
        for (size_t at = first; at < cases->count; at++) {
            if (number_of(&cases->items[at], "now") != now) continue;
            if (len == BATCH_MAX) {
                fail("more than %d cases at once: raise BATCH_MAX", BATCH_MAX);
                break;
            }
            rows[len] = &cases->items[at];
            asked[len] = asked_of(rows[len]);
            check_ins[len] = asked[len].check_in;
            decisions[len] = unwritten_decision();
            len++;
        }
        expect_code("otagate_reader_decide_many", OTAGATE_OK,
                    otagate_reader_decide_many(reader, check_ins, now, decisions, len));
        for (size_t at = 0; at < len; at++) {
            g.row = rows[at];
            check_decision(json_get(rows[at], "answer"), &decisions[at]);
            asked_free(&asked[at]);
        }
        otagate_offer offer = otagate_offer_init();
        expect_code("an offer after a batch", OTAGATE_ERROR_NOTHING, otagate_reader_offer(reader, &offer));
    }
}

static void run_cases(const char *how, const char *how_many, const struct json *fleet, const struct json *cases, otagate_reader *reader) {
    g.how = how;
    for (size_t at = 0; at < cases->count; at++) {
        g.row = &cases->items[at];
        run_case(fleet, g.row, reader);
    }
    g.how = how_many;
    run_batches(cases, reader);
    g.row = NULL;
}

static void run_by_callbacks(const struct json *fleet, const struct json *cases, int has_groups) {
    struct host host = {fleet, has_groups, 0, 0, 0, 0, 0};
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    callbacks.user_data = &host;
    callbacks.destroy = host_destroy;
    callbacks.open_view = host_open;
    callbacks.close_view = host_close;
    callbacks.product_of_key = host_product_of_key;
    callbacks.device = host_device;
    callbacks.group = has_groups ? host_group : NULL;
    otagate_store *store = NULL;
    otagate_reader *reader = NULL;
    expect_code("otagate_store_new", OTAGATE_OK, otagate_store_new(&callbacks, &store));
    expect_code("otagate_reader_new_of_store", OTAGATE_OK, otagate_reader_new_of_store(store, &reader));
    run_cases(has_groups ? "a store with groups" : "a store without groups",
              has_groups ? "many of a store with groups" : "many of a store without groups", fleet, cases, reader);
    size_t parts = json_get(fleet, "products")->count;
    if (has_groups) parts *= 1 + json_get(&json_get(fleet, "products")->items[0], "groups")->count;
    if (host.documents > 0 && host.wanted > 2 * parts + 2) {
        fail("a document that was known was asked for again: %zu, and there are %zu", host.wanted, parts);
    }
    otagate_store_free(store);
    otagate_reader_free(reader);
    if (host.opened == 0 || host.opened != host.closed) fail("%zu views were opened, %zu closed", host.opened, host.closed);
    expect_u64("how often destroy was called", 1, host.destroyed);
}

static size_t run_fleet(const struct json *entry) {
    static const char *const known[] = {"fleet", "cases", NULL};
    expect_known("the entry", entry, known);
    const struct json *spec = json_get(entry, "fleet"), *cases = json_get(entry, "cases");
    struct json_text text = {0};
    json_print(&text, spec);
    otagate_fleet *fleet = NULL;
    otagate_reader *reader = NULL;
    g.how = "a fleet";
    g.row = NULL;
    expect_code("otagate_fleet_new", OTAGATE_OK, otagate_fleet_new(text.data, text.len, &fleet));
    expect_code("otagate_reader_new", OTAGATE_OK, otagate_reader_new(fleet, &reader));
    if (reader != NULL) run_cases("a fleet", "many of a fleet", spec, cases, reader);
    otagate_fleet_free(fleet);
    otagate_reader_free(reader);
    json_text_free(&text);
    run_by_callbacks(spec, cases, 1);
    run_by_callbacks(spec, cases, 0);
    g.how = "";
    return cases->count;
}

/* ---- Who a wave admits. ---- */

static void add_texts(struct json_text *text, const struct json *list) {
    if (list == NULL) json_puts(text, "[]");
    else json_print(text, list);
}

/* One product with one group of these devices, and a rollout in it whose last wave is the one that is counted. */
static void threshold_fleet(struct json_text *text, const struct json *row, size_t *wave) {
    const struct json *size = json_get(row, "size"), *previous = json_get(row, "previous"), *serials = json_get(row, "serials");
    json_puts(text, "{\"revision\":1,\"products\":[{\"product\":{\"id\":");
    json_print(text, json_get(row, "product"));
    json_puts(text, "},\"firmware\":[],\"groups\":[{\"id\":\"field\",\"rollout\":{\"id\":\"any\",\"salt\":");
    json_print(text, json_get(row, "salt"));
    json_puts(text, ",\"target\":{\"firmware\":\"2.0.0\"},\"state\":{\"is\":\"running\"},\"started_at\":0,\"first\":");
    add_texts(text, json_get(row, "first"));
    json_puts(text, ",\"waves\":[");
    *wave = 0;
    if (!json_is(previous, JSON_NULL)) {
        /* A threshold is of some wave before: of the other kind of size, since sizes are cumulative. */
        json_puts(text, json_get(size, "first") != NULL ? "{\"size\":{\"share-bps\":1}" : "{\"size\":{\"first\":1}");
        json_puts(text, ",\"opened\":{\"at\":0,\"threshold\":");
        json_add(text, previous->text.data, previous->text.len);
        json_puts(text, "}},");
        *wave = 1;
    }
    json_puts(text, "{\"size\":");
    json_print(text, size);
    json_puts(text, "}]}}],\"devices\":[");
    for (size_t at = 0; at < serials->count; at++) {
        json_puts(text, at > 0 ? ",{\"serial\":" : "{\"serial\":");
        json_print(text, &serials->items[at]);
        json_puts(text, ",\"state\":\"verified\",\"group\":\"field\"}");
    }
    json_puts(text, "]}]}");
}

static int is_listed(const struct json *list, otagate_text text) {
    for (size_t at = 0; list != NULL && at < list->count; at++) {
        if (view_is(text, list->items[at].text.data, list->items[at].text.len)) return 1;
    }
    return 0;
}

/* Who is in is who has such a rank. */
static uint64_t inside(const struct json *row, const otagate_census *census) {
    const struct json *serials = json_get(row, "serials");
    otagate_text salt = text_of(row, "salt"), product = text_of(row, "product");
    uint64_t count = 0;
    for (size_t at = 0; at < serials->count; at++) {
        otagate_text serial = {serials->items[at].text.data, serials->items[at].text.len};
        uint64_t rank = 0;
        if (!is_listed(json_get(row, "first"), serial)) {
            otagate_rank(salt.data, salt.len, product.data, product.len, serial.data, serial.len, &rank);
        }
        int is_all = json_text_is(json_get(row, "size"), "all");
        count += is_all || (census->has_threshold && rank <= census->threshold);
    }
    return count;
}

static void run_threshold(const struct json *row) {
    static const char *const known[] = {"product",   "salt",    "serials",   "size",  "previous", "n",
                                        "threshold", "counted", "newcomers", "first", "refused",  NULL};
    expect_known("the row", row, known);
    struct json_text text = {0};
    size_t wave;
    threshold_fleet(&text, row, &wave);
    otagate_fleet *fleet = NULL;
    expect_code("otagate_fleet_new", OTAGATE_OK, otagate_fleet_new(text.data, text.len, &fleet));
    json_text_free(&text);
    otagate_census census;
    memset(&census, 0xaa, sizeof census);
    census.struct_size = sizeof census;
    otagate_text product = text_of(row, "product");
    int is_refused = json_is(json_get(row, "refused"), JSON_TRUE);
    expect_code("otagate_fleet_census", is_refused ? OTAGATE_ERROR_REFUSED : OTAGATE_OK,
                otagate_fleet_census(fleet, product.data, product.len, "field", 5, wave, &census));
    otagate_fleet_free(fleet);
    if (is_refused) {
        if (census.eligible != 0 || census.counted != 0 || census.newcomers != 0 || census.has_threshold != 0) {
            fail("a census that was refused counts somebody");
        }
        return;
    }
    int has_threshold = !json_is(json_get(row, "threshold"), JSON_NULL);
    expect_number("has_threshold", has_threshold, census.has_threshold);
    expect_u64("threshold", has_threshold ? u64_of(row, "threshold") : 0, census.threshold);
    expect_u64("counted", u64_of(row, "counted"), census.counted);
    expect_u64("newcomers", u64_of(row, "newcomers"), census.newcomers);
    expect_u64("eligible", json_get(row, "serials")->count, census.eligible);
    expect_u64("who is in by rank", census.counted, inside(row, &census));
    uint64_t asked = u64_of(row, "n"), least = asked < census.eligible ? asked : census.eligible;
    if (census.counted < least) fail("counted: expected at least %" PRIu64 ", found %" PRIu64, least, census.counted);
}

/* ---- What is due about a rollout. ---- */

static void run_transition(const struct json *row) {
    static const char *const known[] = {"case", "rollout", "statistics", "now", "transition", "progress", NULL};
    expect_known("the row", row, known);
    struct json_text rollout = {0}, statistics = {0};
    json_print(&rollout, json_get(row, "rollout"));
    json_print(&statistics, json_get(row, "statistics"));
    otagate_string *answer = NULL;
    expect_code("otagate_rollout_step", OTAGATE_OK,
                otagate_rollout_step(NULL, 0, rollout.data, rollout.len, statistics.data, statistics.len, number_of(row, "now"), &answer));
    struct json told;
    size_t where;
    const char *fault = json_read(&told, otagate_string_data(answer), otagate_string_len(answer), &where);
    static const char *const parts[] = {"transition", "progress", NULL};
    if (fault != NULL) fail("the answer is no JSON: %s at %zu", fault, where);
    else expect_known("the answer", &told, parts);
    for (size_t at = 0; at < 2 && fault == NULL; at++) {
        const struct json *found = json_get(&told, parts[at]);
        if (found == NULL || !json_equal(json_get(row, parts[at]), found)) {
            fail("another `%s`: found %s", parts[at], otagate_string_data(answer));
        }
    }
    json_free(&told);
    otagate_string_free(answer);
    json_text_free(&rollout);
    json_text_free(&statistics);
}

/* ---- Versions of the real world: serve what is assigned, report it back, get 304. ---- */

static int32_t told(otagate_reader *reader, const char *version, size_t len, otagate_decision *decision) {
    otagate_check_in check_in = otagate_check_in_init();
    check_in.key = otagate_text_of("k");
    check_in.serial = otagate_text_of("s");
    check_in.version.data = version;
    check_in.version.len = len;
    *decision = unwritten_decision();
    expect_code("otagate_reader_decide", OTAGATE_OK, otagate_reader_decide(reader, &check_in, 0, decision));
    return decision->status;
}

static void report_back(otagate_reader *reader, const char *version) {
    otagate_decision decision;
    otagate_offer offer = otagate_offer_init();
    if (told(reader, "", 0, &decision) != OTAGATE_STATUS_SERVE || otagate_reader_offer(reader, &offer) != OTAGATE_OK) {
        fail("`%s` is not served: %d %s", version, decision.status, otagate_reason_name(decision.reason));
        return;
    }
    /* The next decision of the reader takes the offer's text away. */
    struct json_text offered = {0};
    json_add(&offered, offer.firmware.data, offer.firmware.len);
    if (strcmp(offered.data, version) != 0) fail("`%s` is served for `%s`", offered.data, version);
    if (told(reader, offered.data, offered.len, &decision) != OTAGATE_STATUS_UP_TO_DATE) {
        fail("`%s` is served again: %d %s", version, decision.status, otagate_reason_name(decision.reason));
    }
    /* Clients store the version in lower case. */
    for (size_t at = 0; at < offered.len; at++) {
        if (offered.data[at] >= 'A' && offered.data[at] <= 'Z') offered.data[at] = (char)(offered.data[at] - 'A' + 'a');
    }
    if (told(reader, offered.data, offered.len, &decision) != OTAGATE_STATUS_UP_TO_DATE) {
        fail("`%s` is served again to who reports it in lower case", version);
    }
    json_text_free(&offered);
}

/* Whether the version can be a firmware's at all. */
static int serve_and_report_back(const char *scheme, const char *prefixes, const char *version) {
    struct json_text text = {0};
    json_puts(&text, "{\"revision\":1,\"products\":[{\"product\":{\"id\":\"p\",\"keys\":[{\"hash\":"
                     "\"5cbcb0cee824b91866cd67f57a6643ddcb7cd4382029039043513953c759246b\"}],\"versions\":{\"scheme\":\"");
    json_puts(&text, scheme);
    json_puts(&text, "\",\"prefixes\":");
    json_puts(&text, prefixes);
    json_puts(&text, "}},\"firmware\":[{\"version\":");
    json_quote(&text, version, strlen(version));
    json_puts(&text, ",\"artifacts\":[{\"size_bytes\":5,\"locator\":\"image\",\"digests\":{\"blake3\":"
                     "\"b1b4f24cf60df9e9e7bc80a2943c4de4fa3b10412a3a428763804355a719102d\"}}]}],"
                     "\"groups\":[{\"id\":\"g\",\"firmware\":");
    json_quote(&text, version, strlen(version));
    json_puts(&text, "}],\"devices\":[{\"serial\":\"s\",\"state\":\"verified\",\"group\":\"g\"}]}]}");
    otagate_fleet *fleet = NULL;
    otagate_reader *reader = NULL;
    int32_t code = otagate_fleet_new(text.data, text.len, &fleet);
    json_text_free(&text);
    if (code != OTAGATE_OK) {
        expect_code("otagate_fleet_new", OTAGATE_ERROR_REFUSED, code);
        return 0;
    }
    expect_code("otagate_reader_new", OTAGATE_OK, otagate_reader_new(fleet, &reader));
    otagate_fleet_free(fleet);
    if (reader != NULL) report_back(reader, version);
    otagate_reader_free(reader);
    return 1;
}

static void run_real_versions(char *text) {
    static const char *const schemes[] = {"exact", "semver", "dotted"};
    static const char *const prefixes[] = {"[]", "[\"v\"]", "[\"v\",\"fw-\",\"release-\",\"version \"]"};
    size_t rows = 0, served[3] = {0, 0, 0};
    g.how = "reported back";
    for (char *line = text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end++ = '\0';
        if (*line != '#' && rows++ % g.every == 0) {
            for (size_t scheme = 0; scheme < 3; scheme++) {
                for (size_t at = 0; at < 3; at++) {
                    served[scheme] += (size_t)serve_and_report_back(schemes[scheme], prefixes[at], line);
                }
            }
        }
        line = end;
    }
    printf("real_versions.txt: %zu\n", rows);
    for (size_t scheme = 0; scheme < 3; scheme++) printf("served under %s: %zu\n", schemes[scheme], served[scheme]);
}

/* ---- The reader of JSON itself: what it takes, and what it refuses. ---- */

static void check_json(void) {
    static const char *const good[][2] = {
        {" { \"a\" : [ 1 , -2.5e+3 , true , false , null , { } , [ ] ] } ", "{\"a\":[1,-2.5e+3,true,false,null,{},[]]}"},
        {"18446744073709551615", "18446744073709551615"},
        {"\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\n\"", "\"\xc3\xa9\xf0\x9f\x98\x80\\\"\\\\/\\u000a\""},
        {"\"\xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80\""},
        {"\"\\u0000\"", "\"\\u0000\""},
        {"\"\"", "\"\""},
    };
    static const char *const bad[] = {
        "",          "nul",        "[1,]",        "{\"a\":1,}", "[1 2]",       "01",          "1.",          "-",         "1e",
        "+1",        "\"",         "\"\t\"",      "\"\\x\"",    "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "{\"a\" 1}", "{a:1}",
        "[1]x",      "{\"a\":1,\"a\":2}", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xe2\x82\"", "[",
        "{\"a\":1]", "\"\\ud800\\u0041\"", "tru", ".5", "'a'", "NaN",
    };
    g.file = "json.h";
    g.how = "itself";
    struct json value;
    size_t where;
    for (size_t at = 0; at < sizeof good / sizeof *good; at++) {
        const char *fault = json_read(&value, good[at][0], strlen(good[at][0]), &where);
        struct json_text text = {0};
        json_print(&text, &value);
        if (fault != NULL) fail("`%s`: %s at %zu", good[at][0], fault, where);
        else if (strcmp(text.data, good[at][1]) != 0) fail("expected `%s`, found `%s`", good[at][1], text.data);
        json_text_free(&text);
        json_free(&value);
    }
    for (size_t at = 0; at < sizeof bad / sizeof *bad; at++) {
        if (json_read(&value, bad[at], strlen(bad[at]), &where) == NULL) fail("`%s` is taken", bad[at]);
        json_free(&value);
    }
    char deep[4 * JSON_DEPTH_MAX];
    memset(deep, '[', sizeof deep);
    if (json_read(&value, deep, sizeof deep, &where) == NULL || where > JSON_DEPTH_MAX) fail("any depth is taken");
    json_free(&value);
}

/* ---- Files. ---- */

static struct json_text slurp(const char *path) {
    struct json_text text = {0};
    char part[4096];
    FILE *file = fopen(path, "rb");
    json_add(&text, "", 0);
    if (file == NULL) {
        perror(path);
        g.failures++;
        return text;
    }
    for (size_t len; (len = fread(part, 1, sizeof part, file)) > 0;) json_add(&text, part, len);
    fclose(file);
    return text;
}

static const struct {
    const char *file, *member;
    void (*run)(const struct json *row);
} row_files[] = {
    {"ranks.json", "ranks", run_rank},
    {"serials.json", "serials", run_serial},
    {"versions.json", "equal_and_order", run_version},
    {"thresholds.json", "thresholds", run_threshold},
    {"transitions.json", "transitions", run_transition},
};

static void run_json(const char *name, const struct json *document) {
    if (strcmp(name, "decisions.json") == 0 || strcmp(name, "more_decisions.json") == 0) {
        const struct json *fleets = json_get(document, "fleets");
        size_t cases = 0, asked = 0;
        for (size_t at = 0; fleets != NULL && at < fleets->count; at++) {
            cases += json_get(&fleets->items[at], "cases")->count;
            if (at % g.every == 0) asked += run_fleet(&fleets->items[at]);
        }
        printf("%s: %zu\n", name, cases);
        printf("asked of %s: %zu\n", name, asked);
        return;
    }
    for (size_t file = 0; file < sizeof row_files / sizeof *row_files; file++) {
        if (strcmp(name, row_files[file].file) != 0) continue;
        const struct json *rows = json_get(document, row_files[file].member);
        for (size_t at = 0; rows != NULL && at < rows->count; at++) {
            g.row = &rows->items[at];
            row_files[file].run(g.row);
        }
        g.row = NULL;
        printf("%s: %zu\n", name, rows == NULL ? 0 : rows->count);
        return;
    }
    fail("nobody knows what to do with it");
}

static void run_file(const char *path) {
    const char *slash = strrchr(path, '/');
    g.file = slash == NULL ? path : slash + 1;
    g.how = "a row";
    g.row = NULL;
    struct json_text text = slurp(path);
    if (strcmp(g.file, "real_versions.txt") == 0) {
        run_real_versions(text.data);
    } else {
        struct json document;
        size_t where;
        const char *fault = json_read(&document, text.data, text.len, &where);
        if (fault != NULL) fail("no JSON: %s at %zu", fault, where);
        else run_json(g.file, &document);
        json_free(&document);
    }
    json_text_free(&text);
}

int main(int argc, char **argv) {
    check_json();
    for (int at = 1; at < argc; at++) {
        if (strncmp(argv[at], "--every=", 8) == 0) g.every = strtoul(argv[at] + 8, NULL, 10);
        else run_file(argv[at]);
    }
    if (g.failures > 0) fprintf(stderr, "%zu differ\n", g.failures);
    return g.failures > 0;
}

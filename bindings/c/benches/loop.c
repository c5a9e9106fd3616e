/* The loops of the bench that run in C: built once with the static library and once with the shared one, and loaded by c.rs. */
#include <otagate.h>
#include <stdlib.h>
#include <string.h>

/* A reader of a fleet in JSON. */
otagate_reader *loop_open(const char *spec, size_t spec_len) {
    otagate_fleet *fleet = NULL;
    otagate_reader *reader = NULL;
    if (otagate_fleet_new(spec, spec_len, &fleet) == OTAGATE_OK) {
        otagate_reader_new(fleet, &reader);
    }
    otagate_fleet_free(fleet);
    return reader;
}

/* How many of these check-ins are not answered by that status. */
size_t loop_decide(otagate_reader *reader, const otagate_check_in *asks, size_t len, int64_t now, int32_t status) {
    otagate_decision decision = otagate_decision_init();
    size_t others = 0;
    for (size_t at = 0; at < len; at++) {
        others += otagate_reader_decide(reader, &asks[at], now, &decision) != OTAGATE_OK || decision.status != status;
    }
    return others;
}

/* The same in batches of 256. */
size_t loop_decide_many(otagate_reader *reader, const otagate_check_in *asks, size_t len, int64_t now, int32_t status) {
    static otagate_decision decisions[256];
    size_t others = 0;
    for (size_t at = 0; at < 256; at++) {
        decisions[at] = otagate_decision_init();
    }
    for (size_t from = 0; from < len; from += 256) {
        size_t many = len - from < 256 ? len - from : 256;
        int32_t code = otagate_reader_decide_many(reader, asks + from, now, decisions, many);
        for (size_t at = 0; at < many; at++) {
            others += code != OTAGATE_OK || decisions[at].status != status;
        }
    }
    return others;
}

/* A host's store: devices in an open hash table, one product and its groups in one document. */
typedef struct {
    const otagate_text *serials;
    size_t *slots; /* 1 + the place of a serial, 0 where free */
    size_t mask;
    const char *document;
    size_t document_len;
} table;

static size_t hash(const char *text, size_t len) {
    size_t sum = 1469598103934665603u;
    for (size_t at = 0; at < len; at++) {
        sum = (sum ^ (unsigned char)text[at]) * 1099511628211u;
    }
    return sum ^ (sum >> 29);
}

static int32_t open_view(void *user_data, void **view, uint64_t *revision) {
    *view = user_data;
    *revision = 1;
    return 0;
}

static int32_t product_of_key(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    const table *held = user_data;
    (void)view;
    (void)key_hash; /* the check-ins of this bench have one key */
    if (otagate_found_known(found, "lamp", 4, 1) == OTAGATE_WANTED) {
        return otagate_found_document(found, "lamp", 4, 1, held->document, held->document_len);
    }
    return 0;
}

static int32_t device_of(void *user_data, void *view, const char *product, size_t product_len, const char *serial,
                         size_t serial_len, otagate_found *found) {
    const table *held = user_data;
    (void)view;
    (void)product;
    (void)product_len;
    for (size_t at = hash(serial, serial_len) & held->mask; held->slots[at]; at = (at + 1) & held->mask) {
        const otagate_text *one = &held->serials[held->slots[at] - 1];
        if (one->len == serial_len && memcmp(one->data, serial, serial_len) == 0) {
            otagate_device device = otagate_device_init();
            device.serial = *one;
            device.group = otagate_text_of("stable");
            device.state = OTAGATE_DEVICE_VERIFIED;
            return otagate_found_device(found, &device);
        }
    }
    return 0;
}

static void destroy(void *user_data) {
    table *held = user_data;
    free(held->slots);
    free(held);
}

otagate_reader *loop_open_store(const char *document, size_t document_len, const otagate_text *serials, size_t len) {
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    otagate_store *store = NULL;
    otagate_reader *reader = NULL;
    table *held = malloc(sizeof *held);
    size_t room = 16;
    while (room < 2 * len) {
        room *= 2;
    }
    held->serials = serials;
    held->slots = calloc(room, sizeof *held->slots);
    held->mask = room - 1;
    held->document = document;
    held->document_len = document_len;
    for (size_t row = 0; row < len; row++) {
        size_t at = hash(serials[row].data, serials[row].len) & held->mask;
        while (held->slots[at]) {
            at = (at + 1) & held->mask;
        }
        held->slots[at] = row + 1;
    }
    callbacks.user_data = held;
    callbacks.destroy = destroy;
    callbacks.open_view = open_view;
    callbacks.product_of_key = product_of_key;
    callbacks.device = device_of;
    if (otagate_store_new(&callbacks, &store) == OTAGATE_OK) {
        otagate_reader_new_of_store(store, &reader);
    }
    otagate_store_free(store);
    return reader;
}

void loop_close(otagate_reader *reader) {
    otagate_reader_free(reader);
}

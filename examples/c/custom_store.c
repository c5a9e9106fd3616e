/*
 * A store of the host's own: SQLite, asked by callbacks. C99 and POSIX threads.
 *
 *     cc -std=c99 custom_store.c $(pkg-config --cflags --libs otagate sqlite3) -lpthread -o custom_store
 *     ./custom_store lamps.db     which must not be there yet
 *
 * Devices are many and small: they have columns. Products with their firmware, and groups, are few and large: each is a JSON document
 * under an edition, and the library reads a document once for each edition.
 */
#define _POSIX_C_SOURCE 200809L

#include <otagate.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The triggers raise the revision whatever is changed, by whomever. An edition is the revision of its change, and so is never given out
 * twice, as one that is counted for each group would be: a group that is removed and comes back would start again from an edition for
 * which the library holds another document. Who puts back a backup raises the revision above all that were seen.
 */
static const char *const SCHEMA =
    "CREATE TABLE fleet (revision INTEGER NOT NULL);"
    "INSERT INTO fleet VALUES (1);"
    "CREATE TABLE products (id TEXT PRIMARY KEY, edition INTEGER NOT NULL, document TEXT NOT NULL,"
    "  registers INTEGER NOT NULL, new_devices_max INTEGER NOT NULL, default_group TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE keys (hash BLOB PRIMARY KEY, product TEXT NOT NULL REFERENCES products) WITHOUT ROWID;"
    "CREATE TABLE groups (product TEXT NOT NULL REFERENCES products, id TEXT NOT NULL, edition INTEGER NOT NULL,"
    "  document TEXT NOT NULL, PRIMARY KEY (product, id)) WITHOUT ROWID;"
    /* By product and serial: with the serial alone, two products that name a unit alike would get each other's firmware. */
    "CREATE TABLE devices (product TEXT NOT NULL REFERENCES products, serial TEXT NOT NULL, state INTEGER NOT NULL,"
    "  group_id TEXT NOT NULL, entered_at_millis INTEGER NOT NULL, version TEXT, hardware TEXT, pin TEXT, cap TEXT,"
    "  PRIMARY KEY (product, serial)) WITHOUT ROWID;"
    "CREATE INDEX new_devices ON devices (product) WHERE state = 0;"
#define RAISE(name, what) \
    "CREATE TRIGGER " name " AFTER " what " BEGIN UPDATE fleet SET revision = revision + 1; END;"
    RAISE("product_put", "INSERT ON products") RAISE("product_set", "UPDATE ON products")
    RAISE("key_put", "INSERT ON keys") RAISE("key_gone", "DELETE ON keys")
    RAISE("group_put", "INSERT ON groups") RAISE("group_set", "UPDATE ON groups") RAISE("group_gone", "DELETE ON groups")
    RAISE("device_put", "INSERT ON devices") RAISE("device_set", "UPDATE ON devices")
    RAISE("device_gone", "DELETE ON devices");

/* The hash of a key stands in the document of its product, with its times, and in `keys`, by which it is found. */
static const char *const ROWS =
    "INSERT INTO products VALUES ('lamp', 1, '{\"product\": {\"id\": \"lamp\", \"serial_scheme\": \"mac\","
    "  \"versions\": {\"scheme\": \"semver\"}, \"register_on_first_contact\": true,"
    "  \"keys\": [{\"hash\": \"%s\"}]},"
    "  \"firmware\": ["
    "    {\"version\": \"2.0.0\", \"artifacts\": [{\"size_bytes\": 1048576, \"locator\": \"lamp-2.0.0.bin\", \"digests\":"
    "      {\"blake3\": \"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262\"}}]},"
    "    {\"version\": \"2.1.0\", \"artifacts\": [{\"size_bytes\": 1049600, \"locator\": \"lamp-2.1.0.bin\", \"digests\":"
    "      {\"blake3\": \"0229ff7dec8a365f7300835d175494866d46e56fec330dad33cd3dc93df3c16d\"}}]}]}', 1, 1, 'stable');"
    "INSERT INTO keys VALUES (x'%s', 'lamp');"
    "INSERT INTO groups VALUES ('lamp', 'stable', 1, '{\"id\": \"stable\", \"firmware\": \"2.0.0\"}');"
    "INSERT INTO devices (product, serial, state, group_id, entered_at_millis) VALUES"
    "  ('lamp', 'a4cf12345678', 1, 'stable', 0), ('lamp', 'a4cf12345679', 2, 'stable', 0);";

/* What an operator does. No process is told: the next decision of each sees it. */
static const char *const ASSIGN =
    "UPDATE groups SET document = json_set(document, '$.firmware', '2.1.0'), edition = (SELECT revision + 1 FROM fleet)"
    "  WHERE product = 'lamp' AND id = 'stable'";

/* Of two tables at once: who saw the devices from before and the groups from after would find no group. */
#define RENAME(name, version) \
    "BEGIN IMMEDIATE;" \
    "UPDATE groups SET id = '" name "', document = json_set(document, '$.id', '" name "', '$.firmware', '" version "')," \
    "  edition = (SELECT revision + 1 FROM fleet) WHERE product = 'lamp';" \
    "UPDATE devices SET group_id = '" name "' WHERE product = 'lamp';" \
    "COMMIT"

enum { BEGIN, END, REVISION, PRODUCT, DEVICE, GROUP, REGISTER, STATEMENTS };

static const char *const SQL[STATEMENTS] = {
    "BEGIN",
    "ROLLBACK", /* nothing was written: to end is all that is left */
    "SELECT revision FROM fleet",
    /* SQLite reads a long document only where its column is asked for, which is not done while its edition is known. */
    "SELECT id, edition, document FROM products WHERE id = (SELECT product FROM keys WHERE hash = ?1)",
    "SELECT state, group_id, entered_at_millis, version, hardware, pin, cap FROM devices WHERE product = ?1 AND serial = ?2",
    "SELECT id, edition, document FROM groups WHERE product = ?1 AND id = ?2",
    /* Counts and adds in one statement, so that a flood of strangers cannot pass the limit together. Who is known stays as it is: a
       blocked device must not unblock itself. */
    "INSERT INTO devices (product, serial, state, group_id, entered_at_millis)"
    "  SELECT id, ?2, 0, default_group, ?3 FROM products WHERE id = ?1 AND registers AND new_devices_max >"
    "    (SELECT count(*) FROM devices WHERE product = ?1 AND state = 0)"
    "  ON CONFLICT (product, serial) DO NOTHING",
};

/* A connection with its statements; one thread at a time has it, through a whole view. */
typedef struct connection {
    struct connection *next;
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
} connection;

/* Connections that nobody uses now. There are never more than threads that decide at once. */
typedef struct {
    pthread_mutex_t lock;
    connection *idle;
    char path[]; /* its own copy */
} database;

static void disconnect(connection *one) {
    int i;
    for (i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(one->statements[i]);
    }
    sqlite3_close(one->db);
    free(one);
}

static int connect_to(const char *path, connection **made) {
    connection *one = calloc(1, sizeof *one);
    int i;
    int code = one == NULL ? SQLITE_NOMEM : sqlite3_open_v2(path, &one->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (one == NULL) return code;
    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(one->db, 1);
        sqlite3_busy_timeout(one->db, 5000); /* writers wait for each other; readers, in WAL mode, for nobody */
    }
    for (i = 0; i < STATEMENTS && code == SQLITE_OK; i++) {
        code = sqlite3_prepare_v2(one->db, SQL[i], -1, &one->statements[i], NULL);
    }
    if (code != SQLITE_OK) {
        disconnect(one);
        return code;
    }
    *made = one;
    return SQLITE_OK;
}

static int take(database *base, connection **taken) {
    pthread_mutex_lock(&base->lock);
    *taken = base->idle;
    if (*taken != NULL) {
        base->idle = (*taken)->next;
    }
    pthread_mutex_unlock(&base->lock);
    return *taken != NULL ? SQLITE_OK : connect_to(base->path, taken);
}

static void give_back(database *base, connection *one) {
    pthread_mutex_lock(&base->lock);
    one->next = base->idle;
    base->idle = one;
    pthread_mutex_unlock(&base->lock);
}

static void bind(sqlite3_stmt *statement, int at, const char *text, size_t len) {
    /* Lengths from the library are at most OTAGATE_FIELD_BYTES_MAX, and the text lives until the statement is reset. */
    sqlite3_bind_text(statement, at, text, (int)len, SQLITE_STATIC);
}

static otagate_text column(sqlite3_stmt *statement, int at) {
    otagate_text text; /* NULL is NULL, and empty is empty */
    text.data = (const char *)sqlite3_column_text(statement, at);
    text.len = (size_t)sqlite3_column_bytes(statement, at);
    return text;
}

/* After the last step: SQLITE_DONE and SQLITE_ROW are no errors, everything else is this store's error code. */
static int32_t done(sqlite3_stmt *statement, int code) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? 0 : code;
}

static int32_t run(connection *one, int which) {
    return done(one->statements[which], sqlite3_step(one->statements[which]));
}

/* A read transaction: all look-ups of a decision see one state. An old one is safe, half a change is not. */
static int32_t open_view(void *user_data, void **view, uint64_t *revision) {
    database *base = user_data;
    connection *one = NULL;
    int code = take(base, &one);
    if (code != SQLITE_OK) return code;
    code = run(one, BEGIN);
    if (code == 0) {
        sqlite3_stmt *statement = one->statements[REVISION];
        int step = sqlite3_step(statement); /* the first look is what the transaction sees from then on */
        if (step == SQLITE_ROW) {
            *revision = (uint64_t)sqlite3_column_int64(statement, 0);
        }
        code = step == SQLITE_DONE ? SQLITE_CORRUPT : done(statement, step);
        if (code != 0) {
            run(one, END);
        }
    }
    if (code != 0) {
        disconnect(one); /* whatever is wrong with it, the next view begins with a fresh one */
        return code;
    }
    *view = one;
    return 0;
}

static void close_view(void *user_data, void *view) {
    run(view, END);
    give_back(user_data, view);
}

/* A row of name, edition and document, into `found`. What the library refuses fails the decision by itself. */
static int32_t put_document(sqlite3_stmt *statement, otagate_found *found) {
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        otagate_text name = column(statement, 0);
        uint64_t edition = (uint64_t)sqlite3_column_int64(statement, 1);
        if (otagate_found_known(found, name.data, name.len, edition) == OTAGATE_WANTED) {
            otagate_text document = column(statement, 2);
            if (document.data == NULL) { /* out of memory, or a row that the schema would not let in */
                step = SQLITE_NOMEM;
            } else {
                otagate_found_document(found, name.data, name.len, edition, document.data, document.len);
            }
        }
    }
    return done(statement, step);
}

static int32_t product_of_key(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    sqlite3_stmt *statement = ((connection *)view)->statements[PRODUCT];
    (void)user_data;
    sqlite3_bind_blob(statement, 1, key_hash, 32, SQLITE_STATIC);
    return put_document(statement, found);
}

static int32_t group(void *user_data, void *view, const char *product, size_t product_len, const char *id, size_t id_len,
                     otagate_found *found) {
    sqlite3_stmt *statement = ((connection *)view)->statements[GROUP];
    (void)user_data;
    bind(statement, 1, product, product_len);
    bind(statement, 2, id, id_len);
    return put_document(statement, found);
}

/* On a key that nobody has this is asked for a product that is none: the same statement, the same time, no row. */
static int32_t device(void *user_data, void *view, const char *product, size_t product_len, const char *serial,
                      size_t serial_len, otagate_found *found) {
    sqlite3_stmt *statement = ((connection *)view)->statements[DEVICE];
    int step;
    (void)user_data;
    bind(statement, 1, product, product_len);
    bind(statement, 2, serial, serial_len);
    step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        otagate_device row = otagate_device_init();
        row.serial.data = serial;
        row.serial.len = serial_len;
        row.state = sqlite3_column_int(statement, 0);
        row.group = column(statement, 1);
        row.entered_at_millis = sqlite3_column_int64(statement, 2);
        row.version = column(statement, 3);
        row.hardware = column(statement, 4);
        row.pin = column(statement, 5);
        row.cap = column(statement, 6);
        otagate_found_device(found, &row); /* before the reset: until then the texts live */
    }
    return done(statement, step);
}

static int32_t register_device(void *user_data, const char *product, size_t product_len, const char *serial, size_t serial_len,
                               int64_t at_millis, int32_t *registered) {
    connection *one = NULL;
    sqlite3_stmt *statement;
    int step;
    int32_t code = take(user_data, &one);
    if (code != 0) return code;
    statement = one->statements[REGISTER];
    bind(statement, 1, product, product_len);
    bind(statement, 2, serial, serial_len);
    sqlite3_bind_int64(statement, 3, at_millis);
    code = done(statement, sqlite3_step(statement));
    if (code == 0 && sqlite3_changes(one->db) == 1) {
        *registered = OTAGATE_REGISTERED_NEW;
    } else if (code == 0) {
        statement = one->statements[DEVICE];
        bind(statement, 1, product, product_len);
        bind(statement, 2, serial, serial_len);
        step = sqlite3_step(statement);
        *registered = step == SQLITE_ROW ? OTAGATE_REGISTERED_KNOWN : OTAGATE_REGISTERED_REFUSED;
        code = done(statement, step);
    }
    give_back(user_data, one);
    return code;
}

/* When the last handle and the last reader are gone, so that every view is closed and every connection idle. */
static void destroy(void *user_data) {
    database *base = user_data;
    while (base->idle != NULL) {
        connection *one = base->idle;
        base->idle = one->next;
        disconnect(one);
    }
    pthread_mutex_destroy(&base->lock);
    free(base);
}

/* The store of a database that is there; NULL, and said why, if it cannot be. */
static otagate_store *open_store(const char *path) {
    otagate_store_callbacks callbacks = otagate_store_callbacks_init();
    otagate_store *store = NULL;
    database *base = calloc(1, sizeof *base + strlen(path) + 1);
    if (base == NULL) return NULL;
    strcpy(base->path, path);
    pthread_mutex_init(&base->lock, NULL);
    callbacks.user_data = base;
    callbacks.destroy = destroy;
    callbacks.open_view = open_view;
    callbacks.close_view = close_view;
    callbacks.product_of_key = product_of_key;
    callbacks.device = device;
    callbacks.group = group;
    callbacks.register_device = register_device;
    if (otagate_store_new(&callbacks, &store) != OTAGATE_OK) {
        destroy(base); /* it is the store's only once there is one */
    }
    return store;
}

/* From here on: a program that uses it. */

static const int64_t NOW = 1795428000000; /* 2026-11-23T10:00:00Z; a server asks its clock */

static int32_t decide(otagate_reader *reader, const char *serial, const char *version, otagate_decision *decision) {
    otagate_check_in check_in = otagate_check_in_init();
    check_in.key = otagate_text_of("secret");
    check_in.serial = otagate_text_of(serial);
    check_in.version = otagate_text_of(version);
    return otagate_reader_decide(reader, &check_in, NOW, decision);
}

static void ask(otagate_reader *reader, const char *serial, const char *version) {
    otagate_decision decision = otagate_decision_init();
    otagate_offer offer = otagate_offer_init();
    otagate_after *after = NULL;
    int32_t code = decide(reader, serial, version, &decision);
    printf("%s %s: ", serial, version);
    if (code != OTAGATE_OK) { /* answer 503: nothing is served */
        char words[256];
        otagate_last_error(words, sizeof words);
        printf("%s: %s; to SQLite that is `%s`\n", otagate_code_name(code), words, sqlite3_errstr(otagate_last_store_code()));
        return;
    }
    printf("%d %s", (int)decision.status, otagate_reason_name(decision.reason));
    if (decision.offer == OTAGATE_OFFER_FIRMWARE && otagate_reader_offer(reader, &offer) == OTAGATE_OK) {
        printf(" %.*s", (int)offer.locator.len, offer.locator.data);
    }
    printf("\n");
    /* When the answer is sent, by whichever thread: registers who is unknown. */
    if (otagate_reader_after(reader, &after) != OTAGATE_OK || otagate_after_answer(after, NOW) != OTAGATE_OK) {
        printf("  not registered; it will ask again\n");
    }
    otagate_after_free(after);
}

static int execute(sqlite3 *db, const char *sql) {
    char *words = NULL;
    int code = sqlite3_exec(db, sql, NULL, NULL, &words);
    if (code != SQLITE_OK) {
        fprintf(stderr, "SQLite: %s\n", words != NULL ? words : sqlite3_errstr(code));
    }
    sqlite3_free(words);
    return code;
}

static int fill(sqlite3 *db) {
    uint8_t hash[32];
    char hex[2 * sizeof hash + 1], *rows;
    size_t i;
    int code;
    otagate_key_hash("secret", strlen("secret"), hash); /* a key itself is kept nowhere */
    for (i = 0; i < sizeof hash; i++) {
        sprintf(hex + 2 * i, "%02x", (unsigned)hash[i]);
    }
    rows = sqlite3_mprintf(ROWS, hex, hex);
    code = rows == NULL ? SQLITE_NOMEM : execute(db, rows);
    sqlite3_free(rows);
    return code;
}

enum { THREADS = 4, ASKS = 250 };

/* What one thread heard: how often the one firmware, the other, or anything else. */
typedef struct {
    const otagate_store *store;
    int heard[3];
} asker;

static void *ask_often(void *argument) {
    asker *self = argument;
    otagate_decision decision = otagate_decision_init();
    otagate_reader *reader = NULL; /* one per thread */
    int i;
    if (otagate_reader_new_of_store(self->store, &reader) != OTAGATE_OK) return NULL;
    for (i = 0; i < ASKS; i++) {
        int served = decide(reader, "A4:CF:12:34:56:78", "1.9.0", &decision) == OTAGATE_OK
                     && decision.status == OTAGATE_STATUS_SERVE && decision.meant.len == 5;
        int old = served && memcmp(decision.meant.data, "2.0.0", 5) == 0;
        int new = served && memcmp(decision.meant.data, "2.1.0", 5) == 0;
        self->heard[old ? 0 : new ? 1 : 2]++;
    }
    otagate_reader_free(reader);
    return NULL;
}

/* Threads ask while an operator renames the group and changes its assignment, to and fro. */
static int ask_by_many(const otagate_store *store, sqlite3 *db) {
    pthread_t threads[THREADS];
    asker askers[THREADS];
    int started, i, answers = 0, odd = 0;
    for (started = 0; started < THREADS; started++) {
        memset(&askers[started], 0, sizeof askers[started]);
        askers[started].store = store;
        if (pthread_create(&threads[started], NULL, ask_often, &askers[started]) != 0) break;
    }
    for (i = 0; i < 20; i++) {
        execute(db, i % 2 == 0 ? RENAME("beta", "2.0.0") : RENAME("stable", "2.1.0"));
    }
    for (i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        answers += askers[i].heard[0] + askers[i].heard[1] + askers[i].heard[2];
        odd += askers[i].heard[2];
    }
    printf("%d answers to %d threads, %d of them neither 2.0.0 nor 2.1.0\n", answers, started, odd);
    return odd != 0 || answers != THREADS * ASKS;
}

int main(int argc, char **argv) {
    const char *path = argc == 2 ? argv[1] : "";
    sqlite3 *db = NULL; /* the operator's own connection */
    otagate_store *store = NULL;
    otagate_reader *reader = NULL;
    int wrong = 1;

    if (*path == '\0' || sqlite3_open(path, &db) != SQLITE_OK || execute(db, "PRAGMA journal_mode = WAL") != SQLITE_OK
        || execute(db, SCHEMA) != SQLITE_OK || fill(db) != SQLITE_OK || (store = open_store(path)) == NULL
        || otagate_reader_new_of_store(store, &reader) != OTAGATE_OK) {
        fprintf(stderr, "no store in %s\n", path);
    } else {
        ask(reader, "A4:CF:12:34:56:78", "1.9.0");
        ask(reader, "A4:CF:12:34:56:79", "1.9.0");
        ask(reader, "00:00:5E:00:53:01", "1.9.0"); /* unknown: registered after the answer */
        ask(reader, "00:00:5E:00:53:01", "1.9.0");
        ask(reader, "00:00:5E:00:53:02", "1.9.0"); /* unknown, and one new device is the limit */
        ask(reader, "00:00:5E:00:53:02", "1.9.0");
        printf("-- 2.1.0 is assigned, by plain SQL\n");
        execute(db, ASSIGN);
        ask(reader, "A4:CF:12:34:56:78", "2.0.0");
        wrong = ask_by_many(store, db);
        printf("-- a table is lost\n");
        execute(db, "DROP TABLE groups");
        ask(reader, "A4:CF:12:34:56:78", "2.0.0");
    }
    otagate_reader_free(reader);
    otagate_store_free(store);
    sqlite3_close(db);
    return wrong;
}

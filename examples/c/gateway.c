/*
 * A gateway that real devices can ask: the OTAdrive calls over HTTP by libmicrohttpd, firmware from disk, one fleet file. C99 and POSIX.
 *
 *     cc -std=c99 gateway.c $(pkg-config --cflags --libs otagate libmicrohttpd) -lpthread -o gateway
 *     ./gateway --fleet fleet.toml --firmware firmware --port 8080
 *
 * otagate decides; here is what belongs to a host: sockets, files, the clock, the words of the protocol.
 *
 *     a thread of the pool ──▶ its reader ──▶ attend: claimed, leased ──▶ answer sent ──▶ after: registered, arrived, last byte
 *     the main thread      ──▶ waits for signals; once a second advances rollouts
 *
 * Left out: TLS, and limits for each client (a proxy's work), `config?plain` and lists as JSON (501). Ledger and leases are in memory:
 * they begin anew with the process; otagate_ledger_to_json keeps the ledger.
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <otagate.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, CONNECTIONS_MAX = 1024, CONNECTION_IDLE_SECS = 30, REQUEST_BYTES_MAX = 32 * 1024, STOP_SECS_MAX = 10 };
enum { LEASES_MAX = 100000, GRACE_SECS = 60, DEVICE_BODY_BYTES_MAX = 64 * 1024, CHANGES_BYTES_MAX = 1024 * 1024 };

static const char *const HELP =
    "A gateway for the OTAdrive device protocol, deciding by otagate.\n\n"
    "Usage: gateway --fleet FILE --firmware DIR [--listen ADDRESS] [--port N] [--admin-port N] [--lease-secs N]\n\n"
    "  --fleet FILE      the fleet file (TOML); read again on SIGHUP\n"
    "  --firmware DIR    where its files are; nothing outside is served, and no symbolic link is followed\n"
    "  --listen ADDRESS  the IPv4 address that devices ask [default: 127.0.0.1]\n"
    "  --port N          its port [default: 8080]; 0 takes a free one\n"
    "  --admin-port N    POST /admin/changes on 127.0.0.1 alone, for who has a shell here [default: none]:\n"
    "                    applies JSON changes, whole or not at all: 200 with the revision, or 400 with every\n"
    "                    problem; what the fleet file does not say is gone when that is read again\n"
    "  --lease-secs N    how long an offer stays the same: longer than the slowest download [default: 3600]\n\n"
    "Each answer is a line on standard output. SIGTERM and SIGINT let running downloads finish, for ten seconds.\n";

typedef struct {
    otagate_fleet *fleet;
    otagate_ledger *ledger;
    pthread_key_t readers; /* one reader for each thread of the pool */
    int firmware;          /* the folder */
    uint32_t lease_secs;
    const char *fleet_file;
} gateway;

/* What is kept of a request until its answer is sent. */
typedef struct {
    struct MHD_Connection *connection; /* NULL before the headers are there */
    const char *method;
    unsigned status; /* what was answered */
    size_t body_len;
    char *body;
    otagate_after *after; /* what to do then; the reader decides for others meanwhile */
    int is_end;           /* the last byte of the answer is the last of what is served */
    char target[];        /* as it was sent: path and query */
} request;

/* A port: whom its requests are answered by. */
typedef struct {
    const char *what;
    const gateway *gate;
    enum MHD_Result (*respond)(const gateway *gate, request *asked);
    size_t body_bytes_max;
    unsigned threads;
} face;

static int64_t now_millis(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void complain(const char *doing, int32_t code) {
    char words[4096];
    otagate_last_error(words, sizeof words);
    fprintf(stderr, "%s: %s: %s\n", doing, otagate_code_name(code), words);
}

/* The query. */

typedef struct {
    const char *name;
    int given;
    otagate_text value;
} parameter;

/* The byte that two digits of hex stand for; -1: they are none. */
static int hex_byte(const char *at) {
    const char two[] = {at[0], at[0] == '\0' ? '\0' : at[1], '\0'};
    return isxdigit((unsigned char)two[0]) && isxdigit((unsigned char)two[1]) ? (int)strtol(two, NULL, 16) : -1;
}

/* Decodes in place; `+` is a plus, since devices do not encode and send versions such as `1.0+5` as they are. -1: not followed by hex. */
static int decode(char *text, otagate_text *value) {
    char *to = text;
    int byte;
    value->data = text;
    for (; *text != '\0'; text++) {
        byte = *text == '%' ? hex_byte(text + 1) : *text;
        if (*text == '%' && byte < 0) return -1;
        text += *text == '%' ? 2 : 0;
        *to++ = (char)byte; /* any byte, NUL too: from here on there is a length */
    }
    value->len = (size_t)(to - value->data);
    return 0;
}

/* Names in either case. -1: malformed, or one that is wanted stands twice. Takes the query apart. */
static int parse_query(char *query, parameter *wanted, size_t wanted_len) {
    char *next, *value;
    size_t i;
    for (; query != NULL; query = next) {
        otagate_text decoded;
        if ((next = strchr(query, '&')) != NULL) {
            *next++ = '\0';
        }
        value = query + strcspn(query, "=");
        if (*value == '=') { /* else a bare flag: empty */
            *value++ = '\0';
        }
        if (decode(value, &decoded) != 0) return -1;
        for (i = 0; i < wanted_len; i++) {
            if (strcasecmp(query, wanted[i].name) == 0) {
                if (wanted[i].given++) return -1;
                wanted[i].value = decoded;
            }
        }
    }
    return 0;
}

/* The key of a resource is the hex of its name. Decodes it in place; -1: it is not hex. */
static int decode_resource_key(otagate_text *key) {
    char *name = (char *)(uintptr_t)key->data; /* in the request's own memory */
    size_t i;
    for (i = 0; i < key->len; i += 2) {
        int byte = i + 1 < key->len ? hex_byte(name + i) : -1;
        if (byte < 0) return -1;
        name[i / 2] = (char)byte;
    }
    key->len = i / 2;
    return 0;
}

/* Answers. Header names are compared byte for byte by some clients; libmicrohttpd writes them as they stand here. */

static struct MHD_Response *text_response(const char *type, const char *text, size_t len) {
    struct MHD_Response *response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (response != NULL && type != NULL) {
        MHD_add_response_header(response, "Content-Type", type);
    }
    return response;
}

static void add_text(struct MHD_Response *response, const char *name, otagate_text text) {
    char *value = text.data == NULL ? NULL : strndup(text.data, text.len);
    if (value != NULL) {
        MHD_add_response_header(response, name, value); /* no line breaks: the library lets none into a version (L3) */
    }
    free(value);
}

static const char *hex(char *to, const void *bytes, size_t len) {
    size_t i;
    for (i = 0; i < len; i++) {
        sprintf(to + 2 * i, "%02x", (unsigned)((const unsigned char *)bytes)[i]);
    }
    return to;
}

static enum MHD_Result queue(request *asked, unsigned status, struct MHD_Response *response) {
    enum MHD_Result queued;
    if (response == NULL) {
        return MHD_NO; /* out of memory: the connection is closed */
    }
    asked->status = status;
    queued = MHD_queue_response(asked->connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Nothing but the status: all 401 look the same. */
static enum MHD_Result queue_status(request *asked, unsigned status) {
    return queue(asked, status, text_response(NULL, "", 0));
}

/* Opens a file below the folder, going down step by step, so that neither `..` nor a link leads out of it; of exactly that size, since
   another is not the file that was digested. */
static int open_below(int folder, otagate_text locator, uint64_t size) {
    char path[4096], *step = path, *next;
    struct stat held;
    int at = folder, below;
    if (locator.len >= sizeof path) return -1;
    memcpy(path, locator.data, locator.len);
    path[locator.len] = '\0';
    for (;; step = next) {
        if ((next = strchr(step, '/')) != NULL) {
            *next++ = '\0';
        }
        below = *step == '\0' || strcmp(step, ".") == 0 || strcmp(step, "..") == 0
                    ? -1
                    : openat(at, step, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (next == NULL ? 0 : O_DIRECTORY));
        if (at != folder) {
            close(at);
        }
        at = below;
        if (at < 0 || next == NULL) break;
    }
    if (at >= 0 && (fstat(at, &held) != 0 || !S_ISREG(held.st_mode) || (uint64_t)held.st_size != size)) {
        close(at);
        at = -1;
    }
    return at;
}

static enum MHD_Result queue_file(const gateway *gate, request *asked, const otagate_offer *offer) {
    int head = strcmp(asked->method, "HEAD") == 0; /* it names the length of the whole file, whatever range it asks for */
    otagate_text range = otagate_text_of(head ? NULL : MHD_lookup_connection_value(asked->connection, MHD_HEADER_KIND, "Range"));
    uint64_t first, last, len;
    int32_t kind;
    char value[128];
    struct MHD_Response *response;
    int file;
    otagate_parse_range(range.data, range.len, offer->size_bytes, &kind, &first, &last);
    if (kind == OTAGATE_RANGE_UNSATISFIABLE) {
        response = text_response(NULL, "", 0);
        snprintf(value, sizeof value, "bytes */%" PRIu64, offer->size_bytes);
        if (response != NULL) {
            MHD_add_response_header(response, "Content-Range", value);
        }
        return queue(asked, 416, response);
    }
    file = open_below(gate->firmware, offer->locator, offer->size_bytes);
    if (file < 0) {
        fprintf(stderr, "cannot serve `%.*s`: no such file, or of another size\n", (int)offer->locator.len, offer->locator.data);
        return queue_status(asked, 503);
    }
    len = kind == OTAGATE_RANGE_WHOLE ? offer->size_bytes : last - first + 1;
    response = MHD_create_response_from_fd_at_offset64(len, file, first);
    if (response == NULL) {
        close(file);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "application/octet-stream");
    if (offer->kind == OTAGATE_OFFER_FIRMWARE) {
        add_text(response, "X-Version", offer->firmware); /* of what is served: a stone's own, on the way to what is meant */
    }
    if (offer->digests.kinds & OTAGATE_DIGEST_MD5) { /* the x is small */
        MHD_add_response_header(response, "x-MD5", hex(value, offer->digests.md5, sizeof offer->digests.md5));
    }
    MHD_add_response_header(response, "Accept-Ranges", "bytes");
    if (kind == OTAGATE_RANGE_PART) {
        snprintf(value, sizeof value, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, offer->size_bytes);
        MHD_add_response_header(response, "Content-Range", value);
    }
    asked->is_end = !head && first + len == offer->size_bytes;
    return queue(asked, kind == OTAGATE_RANGE_PART ? 206 : 200, response);
}

/* Three lines for each: name, key, MD5; the key is the hex of the name, as clients put it into a URL as it is. */
static enum MHD_Result queue_list(request *asked, otagate_reader *reader, size_t resources_len) {
    char *text = NULL, md5[33];
    size_t len = 0, i, j;
    enum MHD_Result queued;
    FILE *to = open_memstream(&text, &len);
    int failed = to == NULL;
    for (i = 0; i < resources_len && !failed; i++) {
        otagate_resource resource = otagate_resource_init();
        failed = otagate_reader_resource(reader, i, &resource) != OTAGATE_OK;
        fprintf(to, "%.*s\n", (int)resource.name.len, resource.name.data);
        for (j = 0; j < resource.name.len; j++) {
            fprintf(to, "%02x", (unsigned)(unsigned char)resource.name.data[j]);
        }
        fprintf(to, "\n%s\n", resource.digests.kinds & OTAGATE_DIGEST_MD5 ? hex(md5, resource.digests.md5, 16) : "");
    }
    failed = (to != NULL && fclose(to) != 0) || failed;
    asked->is_end = !failed;
    queued = failed ? queue_status(asked, 503) : queue(asked, 200, text_response("text/plain; charset=utf-8", text, len));
    free(text);
    return queued;
}

static enum MHD_Result queue_offer(const gateway *gate, request *asked, otagate_reader *reader) {
    otagate_offer offer = otagate_offer_init();
    int32_t code = otagate_reader_offer(reader, &offer);
    switch (offer.kind) {
    case OTAGATE_OFFER_FIRMWARE:
    case OTAGATE_OFFER_RESOURCE:
        return queue_file(gate, asked, &offer);
    case OTAGATE_OFFER_CONFIG:
        asked->is_end = 1;
        return queue(asked, 200, text_response("application/json", offer.document.data, offer.document.len));
    case OTAGATE_OFFER_RESOURCES:
        return queue_list(asked, reader, offer.resources_len);
    default:
        complain("offer", code);
        return queue_status(asked, 503);
    }
}

static enum MHD_Result queue_up_to_date(request *asked, const otagate_decision *decision, int32_t want) {
    struct MHD_Response *response = text_response(NULL, "", 0);
    char value[32];
    if (response != NULL && want == OTAGATE_WANT_FIRMWARE) {
        add_text(response, "X-Version", decision->meant); /* what it should have; never what is withheld from it */
    }
    if (response != NULL && decision->retry_after_secs >= 0) {
        snprintf(value, sizeof value, "%" PRId64, decision->retry_after_secs);
        MHD_add_response_header(response, "Retry-After", value);
    }
    return queue(asked, 304, response);
}

/* The reader of this thread. One that rests keeps the revision that it saw last: at most one for each thread. */
static otagate_reader *reader_of_thread(const gateway *gate) {
    otagate_reader *reader = pthread_getspecific(gate->readers);
    if (reader == NULL && otagate_reader_new(gate->fleet, &reader) == OTAGATE_OK
        && pthread_setspecific(gate->readers, reader) != 0) {
        otagate_reader_free(reader);
        reader = NULL;
    }
    return reader;
}

static void free_reader(void *reader) {
    otagate_reader_free(reader);
}

/* A field of the log: what could be taken for another field or line is a `?`. */
static void put_field(otagate_text text) {
    size_t i;
    for (i = 0; i < text.len; i++) {
        putchar(iscntrl((unsigned char)text.data[i]) || text.data[i] == ' ' ? '?' : text.data[i]);
    }
    fputs(text.len == 0 ? "- " : " ", stdout);
}

/* The serial is the canonical one, so that one device is one name. Who asks with a wrong key, or is unknown, has none. */
static void log_answer(otagate_reader *reader, const request *asked, int32_t reason) {
    otagate_who who = otagate_who_init();
    otagate_reader_who(reader, &who);
    flockfile(stdout);
    printf("%s %s ", asked->method, asked->target);
    put_field(who.product);
    put_field(who.serial);
    put_field(who.group);
    printf("%u %s\n", asked->status, reason == OTAGATE_REASON_NONE ? "alive" : otagate_reason_name(reason));
    funlockfile(stdout);
}

/* Decides, and queues the answer; what comes after it is kept until it is sent. */
static enum MHD_Result decide(const gateway *gate, request *asked, int alive, const otagate_check_in *check_in) {
    otagate_decision decision = otagate_decision_init();
    otagate_reader *reader = reader_of_thread(gate);
    enum MHD_Result queued;
    int32_t may_ask = 0, code = OTAGATE_ERROR_NULL;
    if (reader != NULL && alive) { /* a sign of life, and no word about firmware: only whether the device may ask */
        code = otagate_reader_identify(reader, check_in, now_millis(), &may_ask, &decision);
    } else if (reader != NULL) {
        code = otagate_reader_attend(reader, gate->ledger, check_in, gate->lease_secs, now_millis(), &decision);
    }
    if (code != OTAGATE_OK) {
        complain("decide", code);
        return queue_status(asked, 503); /* never 401: the device is not to blame */
    }
    if (may_ask) {
        queued = queue_status(asked, 200);
    } else if (decision.status == OTAGATE_STATUS_SERVE) {
        queued = queue_offer(gate, asked, reader);
    } else if (decision.status == OTAGATE_STATUS_UP_TO_DATE) {
        queued = queue_up_to_date(asked, &decision, check_in->want);
    } else {
        queued = queue_status(asked, (unsigned)decision.status);
    }
    log_answer(reader, asked, decision.reason);
    otagate_reader_after(reader, &asked->after);
    return queued;
}

/* `x-check-sketch-md5: 1` asks to compare the digest of the image that runs. */
static void read_digest(struct MHD_Connection *connection, otagate_check_in *check_in) {
    const char *check = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-check-sketch-md5");
    const char *md5 = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-ESP32-sketch-md5");
    if (md5 == NULL) {
        md5 = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-ESP8266-sketch-md5");
    }
    if (check != NULL && strcmp(check, "1") == 0 && md5 != NULL) {
        check_in->digest_hex = otagate_text_of(md5);
        check_in->digest_kind = OTAGATE_DIGEST_MD5;
    }
}

static const struct call {
    const char *path, *methods[2];
    int32_t want;
} CALLS[] = {
    {"/deviceapi/update", {"GET", "HEAD"}, OTAGATE_WANT_FIRMWARE},    {"/deviceapi/alive", {"GET", "POST"}, OTAGATE_WANT_FIRMWARE},
    {"/deviceapi/config", {"GET", "GET"}, OTAGATE_WANT_CONFIG},       {"/deviceapi/getconfig", {"GET", "GET"}, OTAGATE_WANT_CONFIG},
    {"/deviceapi/resource/list", {"GET", "GET"}, OTAGATE_WANT_RESOURCES},
    {"/deviceapi/resource/get", {"GET", "HEAD"}, OTAGATE_WANT_RESOURCE},
};

static enum MHD_Result respond_to_device(const gateway *gate, request *asked) {
    enum { K, S, V, FK, PLAIN, PARAMETERS };
    parameter given[PARAMETERS] = {{"k", 0, {NULL, 0}}, {"s", 0, {NULL, 0}}, {"v", 0, {NULL, 0}}, {"fk", 0, {NULL, 0}},
                                   {"plain", 0, {NULL, 0}}};
    otagate_check_in check_in = otagate_check_in_init();
    const struct call *made = NULL;
    char *query = strchr(asked->target, '?');
    size_t i;
    int update;
    if (query != NULL) {
        *query++ = '\0';
    }
    for (i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        made = strcmp(CALLS[i].path, asked->target) == 0 ? &CALLS[i] : made;
    }
    if (made == NULL) return queue_status(asked, 404);
    if (strcmp(asked->method, made->methods[0]) != 0 && strcmp(asked->method, made->methods[1]) != 0) {
        return queue_status(asked, 405);
    }
    update = made == &CALLS[0];
    /* A version decides about firmware alone; elsewhere clients may leave it out. Empty is not missing. */
    if (parse_query(query, given, PARAMETERS) != 0 || !given[K].given || !given[S].given || (update && !given[V].given)) {
        return queue_status(asked, 400);
    }
    if (made->want == OTAGATE_WANT_RESOURCE && (!given[FK].given || decode_resource_key(&given[FK].value) != 0)) {
        return queue_status(asked, 400);
    }
    if ((made->want == OTAGATE_WANT_CONFIG && given[PLAIN].given) || (made->want == OTAGATE_WANT_RESOURCES && !given[PLAIN].given)) {
        return queue_status(asked, 501); /* flattening and writing JSON takes a JSON library */
    }
    check_in.key = given[K].value;
    check_in.serial = given[S].value;
    check_in.version = given[V].value;
    check_in.resource = given[FK].value;
    check_in.want = made->want;
    if (update) {
        read_digest(asked->connection, &check_in);
    }
    return decide(gate, asked, made == &CALLS[1], &check_in);
}

static enum MHD_Result respond_to_admin(const gateway *gate, request *asked) {
    char text[4096];
    uint64_t revision = 0;
    int32_t code;
    /* Who can connect is trusted, but not the pages in a browser here: those say where they come from. */
    if (MHD_lookup_connection_value(asked->connection, MHD_HEADER_KIND, "Origin") != NULL) {
        return queue_status(asked, 403);
    }
    if (strcmp(asked->target, "/admin/changes") != 0 || strcmp(asked->method, "POST") != 0) {
        return queue_status(asked, 404);
    }
    code = otagate_fleet_apply(gate->fleet, asked->body, asked->body_len, &revision);
    if (code != OTAGATE_OK) {
        otagate_last_error(text, sizeof text); /* on this thread still: each has its own */
        return queue(asked, 400, text_response("text/plain; charset=utf-8", text, strlen(text)));
    }
    snprintf(text, sizeof text, "{\"revision\":%" PRIu64 "}\n", revision);
    return queue(asked, 200, text_response("application/json", text, strlen(text)));
}

/* What libmicrohttpd calls. */

/* The target before anything is decoded: libmicrohttpd's own reading of queries makes `+` a blank. */
static void *begin(void *self, const char *target, struct MHD_Connection *connection) {
    request *asked = calloc(1, sizeof *asked + strlen(target) + 1);
    (void)self, (void)connection;
    if (asked != NULL) {
        strcpy(asked->target, target);
    }
    return asked;
}

static enum MHD_Result on_request(void *self, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **state) {
    const face *to = self;
    request *asked = *state;
    char *longer;
    (void)url, (void)version;
    if (asked == NULL) return MHD_NO;
    if (asked->connection == NULL) { /* the headers alone; the answer is asked for when all of the request is there */
        asked->connection = connection;
        asked->method = method;
        return MHD_YES;
    }
    if (*upload_len != 0) {
        longer = *upload_len > to->body_bytes_max - asked->body_len ? NULL : realloc(asked->body, asked->body_len + *upload_len);
        if (longer == NULL) return MHD_NO;
        memcpy(longer + asked->body_len, upload, *upload_len);
        asked->body = longer;
        asked->body_len += *upload_len;
        *upload_len = 0;
        return MHD_YES;
    }
    return to->respond(to->gate, asked);
}

/* The answer is sent, or its client gone: only now, so that no device waits for it, nor learns by the time who is known. */
static void on_completed(void *self, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode how) {
    request *asked = *state;
    int32_t code;
    (void)self, (void)connection;
    if (asked == NULL) return;
    code = otagate_after_answer(asked->after, now_millis());
    if (code != OTAGATE_OK && code != OTAGATE_ERROR_REFUSED) { /* refused: the device is gone meanwhile */
        complain("after the answer", code);
    }
    if (asked->is_end && how == MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        otagate_after_last_byte(asked->after, GRACE_SECS, now_millis(), NULL);
    }
    otagate_after_free(asked->after);
    free(asked->body);
    free(asked);
    *state = NULL;
}

/* Starts to listen; says where. */
static struct MHD_Daemon *listen_on(const face *to, const char *address, uint16_t port) {
    struct sockaddr_in at;
    struct MHD_Daemon *daemon = NULL;
    const union MHD_DaemonInfo *bound;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    if (inet_pton(AF_INET, address, &at.sin_addr) == 1) {
        daemon = MHD_start_daemon(MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request, (void *)(uintptr_t)to,
                                  MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at, MHD_OPTION_THREAD_POOL_SIZE, to->threads,
                                  MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                  (unsigned)CONNECTION_IDLE_SECS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES_MAX,
                                  MHD_OPTION_URI_LOG_CALLBACK, begin, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                  MHD_OPTION_END);
    }
    bound = daemon == NULL ? NULL : MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    if (bound == NULL) {
        fprintf(stderr, "cannot listen on %s:%u\n", address, (unsigned)port);
        return daemon;
    }
    fprintf(stderr, "%s on %s:%u\n", to->what, address, (unsigned)bound->port);
    return daemon;
}

/* Takes no new connection, lets those that there are finish, for a while, and stops. */
static void stop(struct MHD_Daemon *daemon) {
    const struct timespec tenth = {0, 100000000};
    int listening, i;
    if (daemon == NULL) return;
    listening = MHD_quiesce_daemon(daemon);
    for (i = 0; i < STOP_SECS_MAX * 10; i++) {
        const union MHD_DaemonInfo *held = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        if (held == NULL || held->num_connections == 0) break;
        nanosleep(&tenth, NULL);
    }
    MHD_stop_daemon(daemon); /* joins its threads; what hangs on them is freed by then */
    if (listening != MHD_INVALID_SOCKET) {
        close(listening);
    }
}

/* Loads the file, the first time or again; says what it notices there. */
static int load(gateway *gate) {
    otagate_string *notes = NULL;
    const otagate_text file = otagate_text_of(gate->fleet_file);
    const int first = gate->fleet == NULL;
    uint64_t revision = 0;
    int32_t code = first ? otagate_fleet_load(file.data, file.len, now_millis(), OTAGATE_FORMAT_TEXT, &gate->fleet, &notes)
                         : otagate_fleet_reload(gate->fleet, file.data, file.len, now_millis(), OTAGATE_FORMAT_TEXT, &notes);
    if (code != OTAGATE_OK) {
        complain(first ? "not loaded" : "not reloaded, the fleet is as it was", code);
        return -1;
    }
    otagate_fleet_revision(gate->fleet, &revision);
    fprintf(stderr, "%s%s at revision %" PRIu64 "\n", otagate_string_data(notes), first ? "loaded" : "reloaded", revision);
    otagate_string_free(notes);
    return 0;
}

/* Moves rollouts on that are due. What is to be seen to is due each time, and told once. */
static void advance(const gateway *gate, otagate_string **told) {
    otagate_string *moved = NULL;
    if (otagate_fleet_advance(gate->fleet, gate->ledger, now_millis(), OTAGATE_FORMAT_TEXT, &moved) != OTAGATE_OK) {
        return;
    }
    if (otagate_string_len(moved) > 0 && strcmp(otagate_string_data(moved), otagate_string_data(*told)) != 0) {
        fprintf(stderr, "rollouts: %s", otagate_string_data(moved));
    }
    otagate_string_free(*told);
    *told = moved;
}

static void run(gateway *gate, const sigset_t *signals) {
    const struct timespec second = {1, 0};
    otagate_string *told = NULL;
    int signal;
    while ((signal = sigtimedwait(signals, NULL, &second)) != SIGTERM && signal != SIGINT) {
        if (signal == SIGHUP) {
            load(gate);
        }
        advance(gate, &told);
    }
    otagate_string_free(told);
}

static long number_of(const char *text, long least, long most) {
    char *end = NULL;
    long value;
    errno = 0;
    value = strtol(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' || value < least || value > most ? -1 : value;
}

int main(int argc, char **argv) {
    const char *firmware = NULL, *address = "127.0.0.1";
    long port = 8080, admin_port = -2, lease_secs = 3600; /* -2: none is asked for; -1: not a number */
    gateway gate = {NULL, NULL, 0, -1, 0, NULL};
    const face to_devices = {"listening", &gate, respond_to_device, DEVICE_BODY_BYTES_MAX, THREADS};
    const face to_admin = {"administered", &gate, respond_to_admin, CHANGES_BYTES_MAX, 1};
    struct MHD_Daemon *devices = NULL, *admin = NULL;
    const struct option {
        const char *name, **text;
        long *number, least, most;
    } options[] = {
        {"--fleet", &gate.fleet_file, NULL, 0, 0},      {"--firmware", &firmware, NULL, 0, 0},
        {"--listen", &address, NULL, 0, 0},             {"--port", NULL, &port, 0, 65535},
        {"--admin-port", NULL, &admin_port, 0, 65535},  {"--lease-secs", NULL, &lease_secs, 1, INT32_MAX},
        {NULL, NULL, NULL, 0, 0},
    };
    sigset_t signals;
    int i, wrong = 1;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(HELP, stdout);
        return 0;
    }
    for (i = 1; i < argc; i += 2) {
        const struct option *option = options;
        while (option->name != NULL && strcmp(option->name, argv[i]) != 0) {
            option++;
        }
        if (option->name == NULL || i + 1 == argc) {
            break;
        } else if (option->text != NULL) {
            *option->text = argv[i + 1];
        } else {
            *option->number = number_of(argv[i + 1], option->least, option->most);
        }
    }
    if (i < argc || gate.fleet_file == NULL || firmware == NULL || port < 0 || admin_port == -1 || lease_secs < 0) {
        fprintf(stderr, "%s is missing or wrong; see --help\n", i < argc ? argv[i] : "an argument");
        return 2;
    }
    gate.lease_secs = (uint32_t)lease_secs;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    /* Before there are threads, so that all have them blocked and only `run` takes them; and before the load, which may take seconds. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a client that is gone is no reason to end */

    if (pthread_key_create(&gate.readers, free_reader) != 0) {
        fprintf(stderr, "no place for readers\n");
        return 1;
    }
    gate.firmware = open(firmware, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (gate.firmware < 0) {
        perror(firmware);
    } else if (load(&gate) == 0 && otagate_ledger_new(LEASES_MAX, &gate.ledger) == OTAGATE_OK
               && (admin_port < 0 || (admin = listen_on(&to_admin, "127.0.0.1", (uint16_t)admin_port)) != NULL)
               && (devices = listen_on(&to_devices, address, (uint16_t)port)) != NULL) {
        run(&gate, &signals);
        fprintf(stderr, "stopping\n");
        wrong = 0;
    }
    stop(admin);
    stop(devices);
    if (gate.firmware >= 0) {
        close(gate.firmware);
    }
    otagate_ledger_free(gate.ledger);
    otagate_fleet_free(gate.fleet); /* the readers went with their threads */
    pthread_key_delete(gate.readers);
    return wrong;
}

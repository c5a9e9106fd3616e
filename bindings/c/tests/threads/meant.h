/* What is meant at a revision: the fleets, as JSON and as files. A part of threads.c. */

static const char *const VERSIONS[2] = {"1.0.0", "2.0.0"};
/* Steps to an even revision change what is assigned; steps to an odd one change anything else. */
static int version_at(uint64_t revision) { return (int)(revision >> 1 & 1); }

static const char *const KEY = "secret"; /* its BLAKE3 is in PRODUCT: printf %s secret | b3sum */
#define PRODUCT(id, more)                                                                                              \
    "{\"id\":\"" id "\",\"versions\":{\"scheme\":\"semver\"}," more                                                    \
    "\"keys\":[{\"hash\":\"5fbf08af2b116ab8f7f3c14b8ec01a46ce23d290e2ebc7a752d0982d54c054f2\"}]}"
#define TIMES_32(byte) byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte  \
    byte byte byte byte byte byte byte byte byte byte byte byte byte
#define FIRMWARE(version, digest)                                                                                      \
    "{\"version\":\"" version "\",\"artifacts\":[{\"size_bytes\":7,\"locator\":\"image-" version ".bin\","             \
    "\"digests\":{\"blake3\":\"" TIMES_32(digest) "\"}}]}"
#define BOTH_FIRMWARE "[" FIRMWARE("1.0.0", "11") "," FIRMWARE("2.0.0", "22") "]"

struct text {
    char *at;
    size_t len, capacity;
};

static void put(struct text *text, const char *format, ...) {
    va_list list;
    int more;
    if (text->capacity - text->len < 1024) {
        text->capacity = 2 * text->capacity + 4096;
        text->at = realloc(text->at, text->capacity);
        CHECK(text->at != NULL, "out of memory");
    }
    va_start(list, format);
    more = vsnprintf(text->at + text->len, text->capacity - text->len, format, list);
    va_end(list);
    CHECK(more >= 0 && (size_t)more < text->capacity - text->len, "a piece of text is too long");
    text->len += (size_t)more;
}

static void put_group(struct text *text, int version) {
    put(text, "{\"id\":\"stable\",\"firmware\":\"%s\",\"config\":{\"document\":\"{\\\"is\\\":\\\"%s\\\"}\"}}",
        VERSIONS[version], VERSIONS[version]);
}

static const char *place_of(int lamp) { return lamp >= STABLE && lamp < STAGED ? "staged" : "stable"; }
static int state_of(int lamp) { return lamp < STAGED ? OTAGATE_DEVICE_VERIFIED : OTAGATE_DEVICE_BLOCKED; }

static void put_lamps(struct text *text, uint64_t revision) {
    int lamp;
    put(text, "{\"revision\":%" PRIu64 ",\"products\":[{\"product\":%s,\"firmware\":", revision,
        PRODUCT("lamp", "\"register_on_first_contact\":true,"));
    put(text, "%s,\"groups\":[{\"id\":\"staged\",\"firmware\":\"1.0.0\"},", BOTH_FIRMWARE);
    put_group(text, version_at(revision));
    put(text, "],\"devices\":[");
    for (lamp = 0; lamp < BLOCKED; lamp++) {
        put(text, "%s{\"serial\":\"lamp-%d\",\"state\":\"%s\",\"group\":\"%s\"}", lamp == 0 ? "" : ",", lamp,
            state_of(lamp) == OTAGATE_DEVICE_VERIFIED ? "verified" : "blocked", place_of(lamp));
    }
    put(text, "]}]}");
}

static void put_bulbs(struct text *text) {
    int bulb;
    put(text, "{\"revision\":1,\"products\":[{\"product\":%s,\"firmware\":",
        PRODUCT("bulb", "\"register_on_first_contact\":true,\"new_devices_max\":40,"));
    put(text, "%s,\"groups\":[{\"id\":\"canary\",\"firmware\":\"1.0.0\"}],\"devices\":[", BOTH_FIRMWARE);
    for (bulb = 0; bulb < BULBS; bulb++) {
        put(text, "%s{\"serial\":\"bulb-%d\",\"state\":\"verified\",\"group\":\"canary\"}", bulb == 0 ? "" : ",", bulb);
    }
    put(text, "]}]}");
}

/* The lamps again, as files: one of the fleet for each version, which share the devices. */
static char files[2][512];

static void write_file(const char *path, const struct text *text) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fwrite(text->at, 1, text->len, file) == text->len, "%s cannot be written", path);
    CHECK(fclose(file) == 0, "%s cannot be written", path);
}

static void write_lamps(const char *folder) {
    char path[512];
    int version, lamp;
    struct text text = {NULL, 0, 0};
    put(&text, "serial,state,group\n");
    for (lamp = 0; lamp < BLOCKED; lamp++) {
        put(&text, "lamp-%d,%s,%s\n", lamp, state_of(lamp) == OTAGATE_DEVICE_VERIFIED ? "verified" : "blocked",
            place_of(lamp));
    }
    snprintf(path, sizeof path, "%s/lamps.csv", folder);
    write_file(path, &text);
    for (version = 0; version < 2; version++) {
        text.len = 0;
        put(&text, "{\"is\":\"%s\"}", VERSIONS[version]);
        snprintf(path, sizeof path, "%s/config-%d.json", folder, version);
        write_file(path, &text);
        text.len = 0;
        put(&text, "firmware_dir = \".\"\n[[product]]\nid = \"lamp\"\nversions = { scheme = \"semver\" }\n"
                   "register_on_first_contact = true\ndevices = \"lamps.csv\"\n[[product.key]]\nkey = \"%s\"\n", KEY);
        put(&text, "[[product.firmware]]\nversion = \"1.0.0\"\n[[product.firmware.artifact]]\n"
                   "locator = \"image-1.0.0.bin\"\nsize_bytes = 7\nblake3 = \"%s\"\n", TIMES_32("11"));
        put(&text, "[[product.firmware]]\nversion = \"2.0.0\"\n[[product.firmware.artifact]]\n"
                   "locator = \"image-2.0.0.bin\"\nsize_bytes = 7\nblake3 = \"%s\"\n", TIMES_32("22"));
        put(&text, "[[product.group]]\nid = \"stable\"\nfirmware = \"%s\"\nconfig = \"config-%d.json\"\n",
            VERSIONS[version], version);
        put(&text, "[[product.group]]\nid = \"staged\"\nfirmware = \"1.0.0\"\n");
        snprintf(files[version], sizeof files[version], "%s/fleet-%d.toml", folder, version);
        write_file(files[version], &text);
    }
    free(text.at);
}

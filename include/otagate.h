/*
 * otagate: is there firmware for this device? 401, 404, 304, or serve exactly this artifact.
 *
 *     fleet --> reader (one per thread) --> decide(check-in, now) --> decision --> offer, effect
 *           ledger: what was offered   -->  attend(check-in, now) --> decision --> offer, and what comes after it
 *     or a store of your own, by callbacks
 *
 * Generated from bindings/c; do not edit. What a decision means is in the project's semantics: V, S, W, R, L
 * and question numbers below are its rules.
 *
 *     otagate_fleet *fleet;
 *     otagate_reader *reader;
 *     otagate_check_in check_in = otagate_check_in_init();
 *     otagate_decision decision = otagate_decision_init();
 *     code = otagate_fleet_new(json, strlen(json), &fleet);           (once; then for each thread)
 *     code = otagate_reader_new(fleet, &reader);                      (and for each check-in)
 *     check_in.key = otagate_text_of("secret"), check_in.serial = ..., check_in.version = ...;
 *     code = otagate_reader_decide(reader, &check_in, now_millis, &decision);
 *     if (code == OTAGATE_OK) the answer is decision.status: 200, 304, 401 or 404; else nothing is to be served.
 *
 * The rules of this interface:
 *
 * - Results. Every function that can fail gives a code, OTAGATE_OK or OTAGATE_ERROR_...; the words are in
 *   otagate_last_error(). A verdict is a result, not an error: 401 comes with OTAGATE_OK. On an error every
 *   out-parameter that can be written says "deny", "none" or NULL, before anything else is looked at.
 * - Handles (otagate_fleet, otagate_reader, otagate_store, otagate_ledger, otagate_after, otagate_string) are
 *   made by a function of this library and freed by their _free, which takes NULL. Shared ones have a _clone;
 *   what hangs on them lives until the last is freed.
 * - Bytes go in as pointer and length, and are never assumed to be UTF-8 unless the text says so. NULL with
 *   length 0 is empty. What goes in is copied or read before the function returns: nothing of the caller's is
 *   kept.
 * - Texts that come out in structs belong to the reader: they live until its next decision (decide,
 *   decide_many, attend, identify, report), or its end. They are UTF-8 without a NUL behind them. Copy what has
 *   to live longer, and what goes into a check-in again.
 * - Structs begin with struct_size. Initialise them by their otagate_..._init(); they only grow at the end, and
 *   a size that the library does not know is refused before anything else of the struct is touched.
 * - Times are milliseconds since 1970-01-01T00:00:00Z, and always passed in: the library reads no clock.
 * - Threads: fleets, stores and ledgers may be used by all at once; a reader by one at a time.
 * - No panic leaves the library, and nothing is printed but the message of one, to stderr. No signal handler,
 *   locale, hook or environment of the process is touched. Where memory runs out the process ends. Nothing may
 *   be called from a signal handler. After a fork the child may use what no other thread was using at that
 *   moment.
 * - Numbers never change their meaning; new ones may come.
 *
 * At each function: what it does; "Owns", whose what is; "NULL", where it is allowed; "Threads", from where it
 * may be called; "Errors", without their OTAGATE_ERROR_, to which OTAGATE_ERROR_PANIC comes everywhere;
 * "Since", the version that brought it.
 */

#ifndef OTAGATE_H
#define OTAGATE_H


#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * The version of the header, to be compared with `otagate_version()`, which is the library's.
 */
#define OTAGATE_VERSION_MAJOR 0

/**
 * See `OTAGATE_VERSION_MAJOR`.
 */
#define OTAGATE_VERSION_MINOR 1

/**
 * See `OTAGATE_VERSION_MAJOR`.
 */
#define OTAGATE_VERSION_PATCH 0

/**
 * The version of the binary interface, to be compared with `otagate_abi_version()`. It grows when a program
 * that was built with an older header would no longer run; the soname does too.
 */
#define OTAGATE_ABI_VERSION 1

/**
 * It was done.
 */
#define OTAGATE_OK 0

/**
 * A pointer is NULL that must not be, or a length that is not 0 belongs to one.
 */
#define OTAGATE_ERROR_NULL 1

/**
 * A `struct_size` is none that this library knows: initialise the struct by its `otagate_..._init()`, with a
 * header that is not newer than the library.
 */
#define OTAGATE_ERROR_STRUCT_SIZE 2

/**
 * A length is beyond its limit; nothing of what it belongs to was read.
 */
#define OTAGATE_ERROR_LENGTH 3

/**
 * A number, a time or a combination of arguments that means nothing.
 */
#define OTAGATE_ERROR_ARGUMENT 4

/**
 * Bytes that must be UTF-8, or a name, and are not. (What devices send may be any bytes.)
 */
#define OTAGATE_ERROR_TEXT 5

/**
 * No JSON, or not of the shape that is asked for.
 */
#define OTAGATE_ERROR_JSON 6

/**
 * The rules refuse it (section 6 of the semantics, or R1 to R11); nothing was changed. The last error has
 * every problem, each on a line of its own.
 */
#define OTAGATE_ERROR_REFUSED 7

/**
 * A file cannot be read.
 */
#define OTAGATE_ERROR_IO 8

/**
 * The revision is not above the one that is held (L2): raise it, or force.
 */
#define OTAGATE_ERROR_REVISION 9

/**
 * A callback of the host's store gave an error code: `otagate_last_store_code()` has it. Nothing is to be
 * served.
 */
#define OTAGATE_ERROR_STORE 10

/**
 * The host's store gave facts that cannot be. Nothing is to be served.
 */
#define OTAGATE_ERROR_GARBAGE 11

/**
 * There is no such thing: no such product, group, rollout or wave, or the last decision of this reader has no
 * such part.
 */
#define OTAGATE_ERROR_NOTHING 12

/**
 * The reader is in use: by another thread, which is a mistake of the program, or further down in the same
 * call, by a callback.
 */
#define OTAGATE_ERROR_BUSY 13

/**
 * What was looked at was changed meanwhile, again and again: try again.
 */
#define OTAGATE_ERROR_CHANGED 14

/**
 * A fault inside otagate. Nothing is to be served; every handle still works. Please report it, with the last
 * error.
 */
#define OTAGATE_ERROR_PANIC 15

/**
 * No error: `otagate_found_known` does not have the document, give it by `otagate_found_document`.
 */
#define OTAGATE_WANTED 100

/**
 * Verdict `serve`: exactly one artifact of one firmware; a config; resources.
 */
#define OTAGATE_STATUS_SERVE 200

/**
 * Verdict `up-to-date`: it stays where it is, for good or for now.
 */
#define OTAGATE_STATUS_UP_TO_DATE 304

/**
 * Verdict `unauthorized`: the device has not proved that it may ask. Also what a decision says while there is
 * none.
 */
#define OTAGATE_STATUS_UNAUTHORIZED 401

/**
 * Verdict `unavailable`: no firmware is available for it.
 */
#define OTAGATE_STATUS_UNAVAILABLE 404

/**
 * No reason: no decision was made.
 */
#define OTAGATE_REASON_NONE 0

/**
 * 401: no product has this API key.
 */
#define OTAGATE_REASON_KEY_UNKNOWN 1

/**
 * 401: the API key is revoked.
 */
#define OTAGATE_REASON_KEY_REVOKED 2

/**
 * 401: the API key is not valid yet.
 */
#define OTAGATE_REASON_KEY_NOT_YET_VALID 3

/**
 * 401: the API key has expired.
 */
#define OTAGATE_REASON_KEY_EXPIRED 4

/**
 * 401: the serial is not spelled as the product's scheme says.
 */
#define OTAGATE_REASON_SERIAL_MALFORMED 5

/**
 * 401: the serial is a placeholder and names nobody.
 */
#define OTAGATE_REASON_SERIAL_PLACEHOLDER 6

/**
 * 401: the product has no device of this serial.
 */
#define OTAGATE_REASON_DEVICE_UNKNOWN 7

/**
 * 401: the device waits to be verified.
 */
#define OTAGATE_REASON_DEVICE_NEW 8

/**
 * 401: the device is blocked.
 */
#define OTAGATE_REASON_DEVICE_BLOCKED 9

/**
 * 401: the device is disabled.
 */
#define OTAGATE_REASON_DEVICE_DISABLED 10

/**
 * 401: the device is over the account's limit.
 */
#define OTAGATE_REASON_DEVICE_QUOTA 11

/**
 * 404: the device's group does not exist.
 */
#define OTAGATE_REASON_GROUP_MISSING 21

/**
 * 404: nothing is assigned to the group.
 */
#define OTAGATE_REASON_NOTHING_ASSIGNED 22

/**
 * 404: the firmware that is meant does not exist.
 */
#define OTAGATE_REASON_FIRMWARE_MISSING 23

/**
 * 404: the firmware that is meant is denied.
 */
#define OTAGATE_REASON_FIRMWARE_DENIED 24

/**
 * 404: the firmware that is meant has no artifact for the device's hardware.
 */
#define OTAGATE_REASON_HARDWARE 25

/**
 * 404: no stepping stones lead from the device's version to the firmware that is meant.
 */
#define OTAGATE_REASON_NO_PATH 26

/**
 * 404: the next firmware has neither a full image nor a delta from the device's version.
 */
#define OTAGATE_REASON_NO_ARTIFACT 27

/**
 * 304: the device has what is meant for it.
 */
#define OTAGATE_REASON_CURRENT 41

/**
 * 304: the rollout has not reached the device yet.
 */
#define OTAGATE_REASON_WAVE_NOT_OPEN 42

/**
 * 304: the rollout is paused.
 */
#define OTAGATE_REASON_ROLLOUT_PAUSED 43

/**
 * 304: the rollout was aborted, and devices on its target are left there.
 */
#define OTAGATE_REASON_LEFT 44

/**
 * 304: the firmware that is meant is above a cap.
 */
#define OTAGATE_REASON_HELD 45

/**
 * 304: the device is above the firmware that is meant, and the policy goes forward only.
 */
#define OTAGATE_REASON_AHEAD 46

/**
 * 304: the device's version cannot be placed, and the product holds such devices.
 */
#define OTAGATE_REASON_VERSION_UNREADABLE 47

/**
 * 304: the group's window is shut.
 */
#define OTAGATE_REASON_WINDOW_SHUT 48

/**
 * 304: as many devices download as the group's cap allows.
 */
#define OTAGATE_REASON_DOWNLOADS_FULL 49

/**
 * 304: the device failed at this firmware and waits.
 */
#define OTAGATE_REASON_PENALTY 50

/**
 * 200: it is served.
 */
#define OTAGATE_REASON_SERVE 61

/**
 * All reasons are below: the length of an array of counts by reason.
 */
#define OTAGATE_REASONS_MAX 64

/**
 * What a device asks for: the firmware meant for it.
 */
#define OTAGATE_WANT_FIRMWARE 0

/**
 * The configuration of its group.
 */
#define OTAGATE_WANT_CONFIG 1

/**
 * The list of its group's resources.
 */
#define OTAGATE_WANT_RESOURCES 2

/**
 * One resource of its group, by name.
 */
#define OTAGATE_WANT_RESOURCE 3

/**
 * The device sent no digest.
 */
#define OTAGATE_DIGEST_NONE 0

/**
 * BLAKE3, 32 bytes.
 */
#define OTAGATE_DIGEST_BLAKE3 1

/**
 * SHA-256, 32 bytes.
 */
#define OTAGATE_DIGEST_SHA256 2

/**
 * MD5, 16 bytes.
 */
#define OTAGATE_DIGEST_MD5 4

/**
 * Nothing is served.
 */
#define OTAGATE_OFFER_NONE 0

/**
 * One artifact of one firmware.
 */
#define OTAGATE_OFFER_FIRMWARE 1

/**
 * The configuration.
 */
#define OTAGATE_OFFER_CONFIG 2

/**
 * The list of resources.
 */
#define OTAGATE_OFFER_RESOURCES 3

/**
 * One resource.
 */
#define OTAGATE_OFFER_RESOURCE 4

/**
 * Nothing is left to do but to answer.
 */
#define OTAGATE_EFFECT_NONE 0

/**
 * After the answer: register the device (question 3).
 */
#define OTAGATE_EFFECT_REGISTER 1

/**
 * Before the answer: claim in a ledger, and where that refuses, give what `otagate_reader_refuse` says (V7).
 */
#define OTAGATE_EFFECT_CLAIM 2

/**
 * After the answer: the device reported the target of this rollout (R9, `installed`).
 */
#define OTAGATE_EFFECT_SEEN 3

/**
 * All slots of the wave are taken.
 */
#define OTAGATE_REFUSED_SLOTS 1

/**
 * As many downloads run as the cap allows.
 */
#define OTAGATE_REFUSED_DOWNLOADS 2

/**
 * What became of an offer (R9): it was made.
 */
#define OTAGATE_OUTCOME_OFFERED 1

/**
 * The last byte was sent.
 */
#define OTAGATE_OUTCOME_DOWNLOADED 2

/**
 * Offered again and again, and still elsewhere.
 */
#define OTAGATE_OUTCOME_MISSING 3

/**
 * A check-in reported the target.
 */
#define OTAGATE_OUTCOME_INSTALLED 4

/**
 * The host says that it is healthy.
 */
#define OTAGATE_OUTCOME_CONFIRMED 5

/**
 * The device said that it failed.
 */
#define OTAGATE_OUTCOME_FAILED 6

/**
 * A report changed where the device stands.
 */
#define OTAGATE_NOTED_MOVED 1

/**
 * It was known, or weaker than what is known, or about an earlier attempt.
 */
#define OTAGATE_NOTED_KNOWN 2

/**
 * This run never offered the device anything, or not that attempt: it does not count.
 */
#define OTAGATE_NOTED_FOREIGN 3

/**
 * A device's state: seen, not yet verified.
 */
#define OTAGATE_DEVICE_NEW 0

/**
 * It may be served.
 */
#define OTAGATE_DEVICE_VERIFIED 1

/**
 * It learns nothing.
 */
#define OTAGATE_DEVICE_BLOCKED 2

/**
 * Switched off by the operator.
 */
#define OTAGATE_DEVICE_DISABLED 3

/**
 * Over the account's limit.
 */
#define OTAGATE_DEVICE_QUOTA 4

/**
 * The device is `new` now.
 */
#define OTAGATE_REGISTERED_NEW 1

/**
 * It was known.
 */
#define OTAGATE_REGISTERED_KNOWN 2

/**
 * The product has as many new devices as it may, does not register on first contact, lists the serial as a
 * placeholder, or does not exist.
 */
#define OTAGATE_REGISTERED_REFUSED 3

/**
 * A serial scheme (S1): any text, byte for byte.
 */
#define OTAGATE_SERIAL_OPAQUE 0

/**
 * Any text, ASCII case folded.
 */
#define OTAGATE_SERIAL_OPAQUE_NOCASE 1

/**
 * A MAC address in any spelling.
 */
#define OTAGATE_SERIAL_MAC 2

/**
 * Hex digits, lower case.
 */
#define OTAGATE_SERIAL_HEX 3

/**
 * Decimal digits.
 */
#define OTAGATE_SERIAL_DECIMAL 4

/**
 * What a serial is: one that names a unit.
 */
#define OTAGATE_SERIAL_IS_FINE 0

/**
 * Not spelled as the scheme says.
 */
#define OTAGATE_SERIAL_IS_MALFORMED 1

/**
 * Names nobody.
 */
#define OTAGATE_SERIAL_IS_PLACEHOLDER 2

/**
 * Two versions have no order: one of them does not parse, or the scheme is `exact`.
 */
#define OTAGATE_UNORDERED 2

/**
 * All of the file.
 */
#define OTAGATE_RANGE_WHOLE 0

/**
 * A part of it.
 */
#define OTAGATE_RANGE_PART 1

/**
 * Nothing of it is in the range.
 */
#define OTAGATE_RANGE_UNSATISFIABLE 2

/**
 * For people: a line for each question, lint, or step.
 */
#define OTAGATE_FORMAT_TEXT 1

/**
 * For programs.
 */
#define OTAGATE_FORMAT_JSON 2

/**
 * The longest field of a check-in, name, path or serial that is read, in bytes.
 */
#define OTAGATE_FIELD_BYTES_MAX 65536

/**
 * The longest JSON document that is read, in bytes.
 */
#define OTAGATE_JSON_BYTES_MAX 1073741824

/**
 * The most elements of an array: check-ins of a batch, devices.
 */
#define OTAGATE_ROWS_MAX 100000000

/**
 * The longest canonical serial, in bytes.
 */
#define OTAGATE_SERIAL_BYTES_MAX 64

/**
 * No such time.
 */
#define OTAGATE_NEVER INT64_MIN

/**
 * What is left to do about one decision, after the answer and after the last byte. It stands by itself:
 * readers, fleets, stores and ledgers may be freed before it.
 *
 * Every function of it may be called from any thread, several at once.
 */
typedef struct otagate_after otagate_after;

/**
 * A fleet of up to millions of devices in memory. Shared: readers are made from it, and changes are seen by
 * the next decision of each.
 *
 * Every function of a fleet may be called from any thread, several at once: readers wait for nobody, writers
 * for each other.
 */
typedef struct otagate_fleet otagate_fleet;

/**
 * What a look-up found; only inside the callback that it was given to, on its thread.
 */
typedef struct otagate_found otagate_found;

/**
 * The ledger of one process, in memory: who was offered what and what became of it, and the leases by which an
 * offer stays the same through a ranged download. Shared.
 *
 * Every function of a ledger may be called from any thread, several at once.
 */
typedef struct otagate_ledger otagate_ledger;

/**
 * One thread's place at the gate: it decides check-ins, of a fleet or of a host's own store, and keeps what
 * its last decision points at.
 *
 * For one thread at a time. A second one that comes in meanwhile gets `OTAGATE_ERROR_BUSY`, and nothing is
 * served; it is still a mistake, since both would own the last decision. A reader of a fleet that rests for
 * long keeps the revision in memory that it saw last: free it, or decide something now and then.
 */
typedef struct otagate_reader otagate_reader;

/**
 * A store of the host's own. Shared: readers are made from it.
 */
typedef struct otagate_store otagate_store;

/**
 * Text that the library made and the caller frees: UTF-8, with a NUL behind it, and none inside.
 */
typedef struct otagate_string otagate_string;

/**
 * Bytes by pointer and length. What a device sent may be any bytes; where it is text, it is UTF-8 without a
 * NUL behind it: print it by `"%.*s"`. `data` is NULL where there is none, and then `len` is 0.
 */
typedef struct otagate_text {
    /**
     * The first byte.
     */
    const char *data;
    /**
     * How many.
     */
    size_t len;
} otagate_text;

/**
 * A device, for `otagate_fleet_add_devices` and as a host's own store finds it.
 */
typedef struct otagate_device {
    /**
     * `sizeof(otagate_device)`.
     */
    size_t struct_size;
    /**
     * Its serial, in any spelling of the product's scheme.
     */
    struct otagate_text serial;
    /**
     * Its group.
     */
    struct otagate_text group;
    /**
     * The version that it reported last; NULL: not known; not NULL and empty: it reported an empty one (W4).
     */
    struct otagate_text version;
    /**
     * Its hardware; NULL: not known.
     */
    struct otagate_text hardware;
    /**
     * The version that it is pinned to; NULL: none. Not for `otagate_fleet_add_devices`.
     */
    struct otagate_text pin;
    /**
     * The highest version that it is given; NULL: none. Not for `otagate_fleet_add_devices`.
     */
    struct otagate_text cap;
    /**
     * When it entered its group for the first time (R4), in milliseconds since 1970-01-01T00:00:00Z; 0 or less
     * is before every rollout.
     */
    int64_t entered_at_millis;
    /**
     * Where it stands: `OTAGATE_DEVICE_...`.
     */
    int32_t state;
    /**
     * 0.
     */
    int32_t reserved;
} otagate_device;

/**
 * Who would be admitted if a wave were opened now (R3).
 */
typedef struct otagate_census {
    /**
     * `sizeof(otagate_census)`.
     */
    size_t struct_size;
    /**
     * How many devices could be given the target.
     */
    uint64_t eligible;
    /**
     * How many of them the wave admits.
     */
    uint64_t counted;
    /**
     * How many of those no wave before had admitted.
     */
    uint64_t newcomers;
    /**
     * The highest rank that is in, if `has_threshold`.
     */
    uint64_t threshold;
    /**
     * 1: there is a threshold. 0: nobody is in by rank.
     */
    int32_t has_threshold;
    /**
     * 0.
     */
    int32_t reserved;
} otagate_census;

/**
 * What became of an offer (R9).
 */
typedef struct otagate_report {
    /**
     * `sizeof(otagate_report)`.
     */
    size_t struct_size;
    /**
     * The product.
     */
    struct otagate_text product;
    /**
     * The device's group when it was offered; empty: that which it is in now.
     */
    struct otagate_text group;
    /**
     * The serial, in any spelling of the product's scheme.
     */
    struct otagate_text serial;
    /**
     * The rollout, as the offer named it; empty: that of the group.
     */
    struct otagate_text rollout;
    /**
     * When that was started, as the offer said: then it is noted in that run, whatever the group's rollout is
     * by now. `OTAGATE_NEVER`: the group's rollout must be the one that is named.
     */
    int64_t rollout_started_at_millis;
    /**
     * The attempt, as the offer said; 0: the latest.
     */
    uint32_t attempt;
    /**
     * `OTAGATE_OUTCOME_...`, but for `_OFFERED`.
     */
    int32_t outcome;
} otagate_report;

/**
 * One question by one device. Fields may be any bytes, empty ones included; each is at most
 * `OTAGATE_FIELD_BYTES_MAX` long.
 */
typedef struct otagate_check_in {
    /**
     * `sizeof(otagate_check_in)`.
     */
    size_t struct_size;
    /**
     * The API key.
     */
    struct otagate_text key;
    /**
     * The serial, in any spelling of the product's scheme.
     */
    struct otagate_text serial;
    /**
     * The version that runs; empty is a factory device (W4).
     */
    struct otagate_text version;
    /**
     * The hardware; empty is saying nothing.
     */
    struct otagate_text hardware;
    /**
     * The digest of the image that runs, or of the config or resource that the device holds (W6), in hex of
     * either case. What is not hex, or of the wrong length for its kind, counts as not sent.
     */
    struct otagate_text digest_hex;
    /**
     * The name of the resource, for `OTAGATE_WANT_RESOURCE`.
     */
    struct otagate_text resource;
    /**
     * What it asks for: `OTAGATE_WANT_...`.
     */
    int32_t want;
    /**
     * The kind of the digest: `OTAGATE_DIGEST_...`.
     */
    int32_t digest_kind;
} otagate_check_in;

/**
 * The one answer to a check-in. What it serves, and what the host must do, are asked of the reader that gave
 * it: `otagate_reader_offer`, `otagate_reader_effect`.
 *
 * `meant` points into memory that the reader keeps until its next decision, or its end.
 */
typedef struct otagate_decision {
    /**
     * `sizeof(otagate_decision)`.
     */
    size_t struct_size;
    /**
     * The revision of the fleet that was seen, and no other (V5).
     */
    uint64_t revision;
    /**
     * What the device is told: `OTAGATE_STATUS_...`, which are HTTP statuses.
     */
    int32_t status;
    /**
     * Why: `OTAGATE_REASON_...`. New ones may come; `status` decides what to do.
     */
    int32_t reason;
    /**
     * After how many seconds asking again makes sense; -1 where that is not known.
     */
    int64_t retry_after_secs;
    /**
     * The version of the firmware that is meant for the device, where question 6 was reached; never a withheld
     * target.
     */
    struct otagate_text meant;
    /**
     * What is served: `OTAGATE_OFFER_...`; `OTAGATE_OFFER_NONE` but with `OTAGATE_STATUS_SERVE`.
     */
    int32_t offer;
    /**
     * What the host must do besides answering: `OTAGATE_EFFECT_...`.
     */
    int32_t effect;
} otagate_decision;

/**
 * Digests of one file.
 */
typedef struct otagate_digests {
    /**
     * Which of them are known: `OTAGATE_DIGEST_BLAKE3`, `_SHA256`, `_MD5`, added up. The others are zero.
     */
    uint32_t kinds;
    /**
     * BLAKE3.
     */
    uint8_t blake3[32];
    /**
     * SHA-256.
     */
    uint8_t sha256[32];
    /**
     * MD5.
     */
    uint8_t md5[16];
    /**
     * Zero, for a kind to come.
     */
    uint8_t reserved[28];
} otagate_digests;

/**
 * What is served. Its texts point into memory that the reader keeps until the next decision, or its end.
 */
typedef struct otagate_offer {
    /**
     * `sizeof(otagate_offer)`.
     */
    size_t struct_size;
    /**
     * `OTAGATE_OFFER_...`.
     */
    int32_t kind;
    /**
     * 1: it continues an offer that was made before, so it is no new one. Else 0.
     */
    int32_t leased;
    /**
     * Firmware: its version, which is the meant one, or a stone's on the way to it.
     */
    struct otagate_text firmware;
    /**
     * Firmware: for a delta, the version that it applies to.
     */
    struct otagate_text from;
    /**
     * Firmware and resource: where the host finds the file.
     */
    struct otagate_text locator;
    /**
     * Firmware and resource: the size of the file in bytes. Config: of the document.
     */
    uint64_t size_bytes;
    /**
     * Config: the document.
     */
    struct otagate_text document;
    /**
     * Resource: its name.
     */
    struct otagate_text name;
    /**
     * The rollout on whose account it is served, if it is one's.
     */
    struct otagate_text rollout;
    /**
     * When the run of the rollout was started in which the ledger counts it, in milliseconds since
     * 1970-01-01T00:00:00Z; `OTAGATE_NEVER` where it does not.
     */
    int64_t rollout_started_at_millis;
    /**
     * Resources: how many; each by `otagate_reader_resource`.
     */
    size_t resources_len;
    /**
     * The digests of what is served, but of a list.
     */
    struct otagate_digests digests;
    /**
     * The attempt that the ledger counts it as, from 1; 0 without a ledger, or where it is on no rollout's
     * account.
     */
    uint32_t attempt;
    /**
     * 0.
     */
    uint32_t reserved;
} otagate_offer;

/**
 * One resource of a list. Its texts are kept as those of the offer.
 */
typedef struct otagate_resource {
    /**
     * `sizeof(otagate_resource)`.
     */
    size_t struct_size;
    /**
     * Its name inside its group.
     */
    struct otagate_text name;
    /**
     * Where the host finds it.
     */
    struct otagate_text locator;
    /**
     * Its size in bytes.
     */
    uint64_t size_bytes;
    /**
     * Its digests.
     */
    struct otagate_digests digests;
} otagate_resource;

/**
 * What the host must do besides answering (V7). Its texts point into memory that the reader keeps until the
 * next decision, or its end.
 */
typedef struct otagate_effect {
    /**
     * `sizeof(otagate_effect)`.
     */
    size_t struct_size;
    /**
     * `OTAGATE_EFFECT_...`.
     */
    int32_t kind;
    /**
     * 1: `otagate_reader_attend` has settled it: the claim is granted. Else 0.
     */
    int32_t settled;
    /**
     * Register: the product.
     */
    struct otagate_text product;
    /**
     * Register: the canonical serial.
     */
    struct otagate_text serial;
    /**
     * Claim and seen: the rollout; for a claim that is of a place among the downloads alone, none.
     */
    struct otagate_text rollout;
    /**
     * Claim: it must be one of at most so many of the rollout, lapsed ones included; -1 where that is not
     * asked.
     */
    int64_t slots_max;
    /**
     * Claim: it must be one of at most so many live ones of the group; -1 where that is not asked.
     */
    int64_t downloads_max;
} otagate_effect;

/**
 * Whom the last decision of a reader is about.
 */
typedef struct otagate_who {
    /**
     * `sizeof(otagate_who)`.
     */
    size_t struct_size;
    /**
     * The product of the key; none: nobody has the key.
     */
    struct otagate_text product;
    /**
     * The canonical serial; none: the product has no such device.
     */
    struct otagate_text serial;
    /**
     * The group of the device.
     */
    struct otagate_text group;
    /**
     * Where it stands: `OTAGATE_DEVICE_...`; -1 where there is no device.
     */
    int32_t state;
    /**
     * 0.
     */
    int32_t reserved;
} otagate_who;

/**
 * A store of the host's own. The table is copied when the store is made; `user_data` belongs to the store from
 * then on, until `destroy`, which is called exactly once, when the last handle on the store and the last
 * reader of it are gone, by the thread that frees it.
 *
 * Callbacks are called from every thread that decides, several at once; those of one decision one after the
 * other, on one thread, between `open_view` and `close_view`. They give 0, or an error code of the host's own:
 * then nothing is served, and `otagate_last_store_code()` has the code. They must return: no C++ exception and
 * no `longjmp` may leave them. They may call otagate, but neither use nor free the reader that is deciding.
 *
 * Finding nothing is no error: give 0 and put nothing into `found`.
 */
typedef struct otagate_store_callbacks {
    /**
     * `sizeof(otagate_store_callbacks)`.
     */
    size_t struct_size;
    /**
     * Handed to every callback.
     */
    void *user_data;
    /**
     * Frees `user_data`. May be NULL.
     */
    void (*destroy)(void *user_data);
    /**
     * Begins to look at one state of the store: a read transaction, say. `*view` is handed to the other
     * callbacks, `*revision` says which state it is; it only grows (V5). Must not be NULL.
     */
    int32_t (*open_view)(void *user_data, void **view, uint64_t *revision);
    /**
     * Ends it, exactly once for each view that was opened. May be NULL.
     */
    void (*close_view)(void *user_data, void *view);
    /**
     * The product that has the key of this BLAKE3, 32 bytes: `otagate_found_known`, and where that says
     * `OTAGATE_WANTED`, `otagate_found_document` with an object of `product` and `firmware`, as in a fleet's
     * JSON; and of `groups`, if `group` is NULL. Must not be NULL.
     */
    int32_t (*product_of_key)(void *user_data, void *view, const uint8_t *key_hash, struct otagate_found *found);
    /**
     * The device of this product and canonical serial: `otagate_found_device`. On a key that nobody has it is
     * asked for a product that does not exist, so that time does not tell the two apart: do the same work.
     * Must not be NULL.
     */
    int32_t (*device)(void *user_data,
                      void *view,
                      const char *product,
                      size_t product_len,
                      const char *serial,
                      size_t serial_len,
                      struct otagate_found *found);
    /**
     * The group of a verified device: `otagate_found_known`, `otagate_found_document` with a group as in a
     * fleet's JSON. NULL: groups stand in the documents of products.
     */
    int32_t (*group)(void *user_data,
                     void *view,
                     const char *product,
                     size_t product_len,
                     const char *group,
                     size_t group_len,
                     struct otagate_found *found);
    /**
     * What the host's own ledger holds about a verified device: `otagate_found_standing`. NULL: it has none.
     */
    int32_t (*standing)(void *user_data,
                        void *view,
                        const char *product,
                        size_t product_len,
                        const char *group,
                        size_t group_len,
                        const char *serial,
                        size_t serial_len,
                        struct otagate_found *found);
    /**
     * Carries out a registration (question 3), outside of any view: the device becomes `new` in the product's
     * default group; twice is once; the product's limit of new devices is kept in one step. `*registered` gets
     * `OTAGATE_REGISTERED_...`. NULL: nobody is registered.
     */
    int32_t (*register_device)(void *user_data,
                               const char *product,
                               size_t product_len,
                               const char *serial,
                               size_t serial_len,
                               int64_t at_millis,
                               int32_t *registered);
} otagate_store_callbacks;

/**
 * What a host's own ledger holds about a device. Times are in milliseconds since 1970-01-01T00:00:00Z, and
 * `OTAGATE_NEVER` where there is none.
 */
typedef struct otagate_standing {
    /**
     * `sizeof(otagate_standing)`.
     */
    size_t struct_size;
    /**
     * When its claim on the target of the group's rollout ends, or ended.
     */
    int64_t claim_expires_at_millis;
    /**
     * When its place among the group's downloads ends, or ended.
     */
    int64_t download_expires_at_millis;
    /**
     * Until when it waits that failed at `penalty_hop`.
     */
    int64_t penalty_until_millis;
    /**
     * The version that it failed at; NULL: none.
     */
    struct otagate_text penalty_hop;
    /**
     * Its place by the census of the rollout, from 1; 0: not known.
     */
    uint64_t place;
    /**
     * How often it was offered this target or a hop to it.
     */
    uint32_t attempts;
    /**
     * How many downloads of the group run now.
     */
    uint32_t downloads_now;
    /**
     * How many slots of a first-come rollout are taken, lapsed ones included.
     */
    uint32_t slots_taken;
    /**
     * 0.
     */
    uint32_t reserved;
} otagate_standing;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the binary interface of the library that runs, to be compared with `OTAGATE_ABI_VERSION`,
 * which is the header's.
 *
 * Threads: any. Errors: none.
 * Since: 0.1.
 */
uint32_t otagate_abi_version(void);

/**
 * The version of the library that runs, such as `0.1.0`.
 *
 * Owns: the text lives as long as the process; do not free it.
 * Threads: any. Errors: none.
 * Since: 0.1.
 */
const char *otagate_version(void);

/**
 * The name of a code, such as `OTAGATE_ERROR_NULL`; `unknown` for a number that is none.
 *
 * Owns: the text lives as long as the process; do not free it.
 * Threads: any. Errors: none.
 * Since: 0.1.
 */
const char *otagate_code_name(int32_t code);

/**
 * The stable kebab-case name of a reason, such as `wave-not-open` (V2); `none` for `OTAGATE_REASON_NONE` and
 * for a number that this library does not know.
 *
 * Owns: the text lives as long as the process; do not free it.
 * Threads: any. Errors: none.
 * Since: 0.1.
 */
const char *otagate_reason_name(int32_t reason);

/**
 * A sentence for people about a reason; for logs, never for the device.
 *
 * Owns: the text lives as long as the process; do not free it.
 * Threads: any. Errors: none; as `otagate_reason_name` for a number that is none.
 * Since: 0.1.
 */
const char *otagate_reason_sentence(int32_t reason);

/**
 * The status of the verdict that a reason belongs to, such as `OTAGATE_STATUS_UP_TO_DATE`;
 * `OTAGATE_STATUS_UNAUTHORIZED` for a number that is none.
 *
 * Threads: any. Errors: none.
 * Since: 0.1.
 */
int32_t otagate_reason_status(int32_t reason);

/**
 * Copies what the last call of this thread that failed has to say: UTF-8, several problems on several lines,
 * cut to `capacity - 1` bytes at a character, with a NUL behind it. Gives the length of the whole text without
 * the NUL, so that a second call with one byte more than that gets all of it. Calls that succeed leave it as
 * it was; it is empty while none has failed.
 *
 * Owns: `buffer` stays the caller's.
 * NULL: `buffer` may be, with any `capacity`: nothing is copied.
 * Threads: any; each has its own last error.
 * Errors: none.
 * Since: 0.1.
 */
size_t otagate_last_error(char *buffer, size_t capacity);

/**
 * The error code that a callback of the host's own store gave, where the last call of this thread that failed
 * did so with `OTAGATE_ERROR_STORE`; else 0.
 *
 * Threads: any; each has its own.
 * Errors: none.
 * Since: 0.1.
 */
int32_t otagate_last_store_code(void);

/**
 * The text, with a NUL behind it.
 *
 * Owns: the string does; the pointer is valid until `otagate_string_free`.
 * NULL: gives an empty text.
 * Threads: any, several at once.
 * Errors: none.
 * Since: 0.1.
 */
const char *otagate_string_data(const struct otagate_string *string);

/**
 * The length of the text in bytes, without the NUL behind it.
 *
 * NULL: gives 0.
 * Threads: any, several at once.
 * Errors: none.
 * Since: 0.1.
 */
size_t otagate_string_len(const struct otagate_string *string);

/**
 * Frees a string.
 *
 * Owns: takes it; its text is gone.
 * NULL: does nothing.
 * Threads: any, while no other uses it.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_string_free(struct otagate_string *string);

/**
 * Builds a fleet from JSON: an object of `revision` and `products`, each with `product`, `firmware`, `groups`
 * and `devices`. Empty is a fleet without products. Costs a few microseconds per device.
 *
 * Owns: the caller frees `*fleet` by `otagate_fleet_free`.
 * NULL: `fleet` must not be; `spec` may be, with length 0.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` with every problem (L1, L3); `*fleet` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_new(const char *spec, size_t spec_len, struct otagate_fleet **fleet);

/**
 * Loads a fleet from its file in TOML, with what that names: devices in CSV, configs, firmware. `now` is when
 * waves are opened that the file opens, and what lint judges keys by. `notes`, if it is wanted, is by `format`
 * (`OTAGATE_FORMAT_...`) text, a line for each lint and each wave that was counted, or a JSON object: `lints`
 * (what is legal but surely not meant, L4) and `more` (how many lints are not listed), `counted` (waves that
 * were opened by a census at this load, with the line that keeps that over a restart), `firmware_dir`, and
 * `files` (where the file of each locator is).
 *
 * Owns: the caller frees `*fleet` by `otagate_fleet_free` and `*notes` by `otagate_string_free`.
 * NULL: `fleet` must not be; `notes` may.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `TEXT`, `ARGUMENT` for a format that is none, `IO`, `REFUSED` with every problem,
 * each with file, line and column; `*fleet` and `*notes` are NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_load(const char *path,
                           size_t path_len,
                           int64_t now_millis,
                           int32_t format,
                           struct otagate_fleet **fleet,
                           struct otagate_string **notes);

/**
 * Loads the file of a fleet anew over what is held, as after an edit: what was frozen stays (R3, R7), a pause
 * stays unless the file ends it, devices that registered themselves stay. Readers go on meanwhile, and see the
 * new fleet with their next decision. See `otagate_fleet_load` for `notes`.
 *
 * Owns: the caller frees `*notes` by `otagate_string_free`.
 * NULL: `fleet` must not be; `notes` may.
 * Threads: any, several at once.
 * Errors: as `otagate_fleet_load`, and `REVISION`, `CHANGED`; the fleet is as it was then.
 * Since: 0.1.
 */
int32_t otagate_fleet_reload(const struct otagate_fleet *fleet,
                             const char *path,
                             size_t path_len,
                             int64_t now_millis,
                             int32_t format,
                             struct otagate_string **notes);

/**
 * Another handle on the same fleet.
 *
 * Owns: the caller frees `*clone` by `otagate_fleet_free`; the fleet goes with the last of its handles and
 * readers.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*clone` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_clone(const struct otagate_fleet *fleet, struct otagate_fleet **clone);

/**
 * Frees a handle on a fleet. Readers that were made from it go on.
 *
 * Owns: takes it.
 * NULL: does nothing.
 * Threads: any, while no other uses this handle.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_fleet_free(struct otagate_fleet *fleet);

/**
 * Applies changes, whole or not at all: a JSON array of them, or a single one, such as
 * `{"change":"assign-firmware","product":"lamp","group":"stable","firmware":"2.1.0"}`. Commands to rollouts
 * are changes too: `put-rollout`, `start-rollout`, `pause-rollout`, `resume-rollout`, `abort-rollout`, ... The
 * next decision of every reader sees them; a change of one device costs microseconds, however many there are.
 *
 * NULL: `fleet` must not be; `revision`, if not NULL, gets the new revision, or the one that is held where
 * nothing changed.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` with every problem; the fleet is as it was then, and `*revision`
 * is 0.
 * Since: 0.1.
 */
int32_t otagate_fleet_apply(const struct otagate_fleet *fleet,
                            const char *changes,
                            size_t changes_len,
                            uint64_t *revision);

/**
 * Adds many devices that are not there yet, as one revision: all of them or none. A million takes a fraction
 * of a second.
 *
 * Owns: the array and its texts stay the caller's.
 * NULL: `fleet` must not be; `devices` may, with length 0. `revision` as in `otagate_fleet_apply`.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `STRUCT_SIZE`, `TEXT`, `ARGUMENT` for a state that is none and for a pin or a cap
 * (those are changes), `REFUSED` with every problem; the fleet is as it was then.
 * Since: 0.1.
 */
int32_t otagate_fleet_add_devices(const struct otagate_fleet *fleet,
                                  const char *product,
                                  size_t product_len,
                                  const struct otagate_device *devices,
                                  size_t devices_len,
                                  uint64_t *revision);

/**
 * Registers a device on first contact (question 3), as `otagate_after_answer` does: `new`, in the default
 * group. `registered` gets `OTAGATE_REGISTERED_...`.
 *
 * NULL: `fleet` and `registered` must not be.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a product that is none, `ARGUMENT` for a serial that names
 * nobody; `*registered` says refused then.
 * Since: 0.1.
 */
int32_t otagate_fleet_register(const struct otagate_fleet *fleet,
                               const char *product,
                               size_t product_len,
                               const char *serial,
                               size_t serial_len,
                               int64_t now_millis,
                               int32_t *registered);

/**
 * Replaces the whole fleet by one of a higher revision (L2), in JSON as for `otagate_fleet_new`; with `force`
 * not 0 by one of any. Built before it is put in place; readers wait for nothing.
 *
 * NULL: `fleet` must not be; `spec` may be, with length 0.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED`, `REVISION`; the fleet is as it was then.
 * Since: 0.1.
 */
int32_t otagate_fleet_replace(const struct otagate_fleet *fleet, const char *spec, size_t spec_len, int32_t force);

/**
 * The revision that new decisions see.
 *
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*revision` is 0 then.
 * Since: 0.1.
 */
int32_t otagate_fleet_revision(const struct otagate_fleet *fleet, uint64_t *revision);

/**
 * The whole fleet as JSON, from which `otagate_fleet_new` builds it again: to be kept over a restart.
 *
 * Owns: the caller frees `*spec` by `otagate_string_free`.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*spec` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_to_json(const struct otagate_fleet *fleet, struct otagate_string **spec);

/**
 * One device as JSON, as it stands in `put-device`.
 *
 * Owns: the caller frees `*device` by `otagate_string_free`.
 * NULL: `fleet` and `device` must not be.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a product or device that is none, `ARGUMENT` for a serial
 * that names nobody; `*device` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_device(const struct otagate_fleet *fleet,
                             const char *product,
                             size_t product_len,
                             const char *serial,
                             size_t serial_len,
                             struct otagate_string **device);

/**
 * Drops old revisions that no reader holds any more. Each change does so too; after the last one, or after a
 * large fleet was replaced, call it now and then. `held`, if not NULL, gets how many old revisions are still
 * held.
 *
 * NULL: `fleet` must not be; `held` may.
 * Threads: any, several at once.
 * Errors: `NULL`; `*held` is 0 then.
 * Since: 0.1.
 */
int32_t otagate_fleet_reclaim(const struct otagate_fleet *fleet, size_t *held);

/**
 * What is legal in the fleet but surely not meant (L4): a JSON array of objects of `place` and `message`.
 * Looks at every device.
 *
 * Owns: the caller frees `*lints` by `otagate_string_free`.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*lints` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_lint(const struct otagate_fleet *fleet, int64_t now_millis, struct otagate_string **lints);

/**
 * How often each reason was given by the readers of this fleet since it was made: `counts[reason]`, for all
 * products, unknown keys included, or for the one that is named. An array of `OTAGATE_REASONS_MAX` has room
 * for all; reasons beyond `counts_len` are left out.
 *
 * NULL: `fleet` must not be; `product` may be, with length 0: all; `counts` may be, with length 0.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`; the counts are 0 then.
 * Since: 0.1.
 */
int32_t otagate_fleet_verdicts(const struct otagate_fleet *fleet,
                               const char *product,
                               size_t product_len,
                               uint64_t *counts,
                               size_t counts_len);

/**
 * The same as JSON: an array of objects of `product` (null for unknown keys), `reason`, `number`, `status` and
 * `count`, of all that was given.
 *
 * Owns: the caller frees `*verdicts` by `otagate_string_free`.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*verdicts` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_verdicts_json(const struct otagate_fleet *fleet, struct otagate_string **verdicts);

/**
 * Who would be admitted if that wave (from 0) of the rollout of a group were opened now (R3). Nothing is
 * changed. Looks at each device once.
 *
 * NULL: none may be.
 * Threads: any, several at once.
 * Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `NOTHING` for a product, group or wave that is none,
 * `REFUSED` where the wave cannot be counted; `*census` counts nobody then.
 * Since: 0.1.
 */
int32_t otagate_fleet_census(const struct otagate_fleet *fleet,
                             const char *product,
                             size_t product_len,
                             const char *group,
                             size_t group_len,
                             size_t wave,
                             struct otagate_census *census);

/**
 * Moves every rollout on that is due, by the account of that ledger (R8): opens waves, halts, completes. To be
 * called on a timer, or after outcomes. `moved`, if it is wanted, is by `format` (`OTAGATE_FORMAT_...`) text,
 * a line for each step; or a JSON array of what was due: `product`, `group`, `rollout`, `transition` as in
 * `otagate_rollout_step`, `outcome` (`done`, `lost`, `held`, `uncounted`, `refused`), `revision` and `opened`
 * where it was done, and `line`, the whole in words for a log.
 *
 * Owns: the caller frees `*moved` by `otagate_string_free`.
 * NULL: `fleet` and `ledger` must not be; `moved` may.
 * Threads: any, several at once: of several that look at the same state one moves it.
 * Errors: `NULL`, `ARGUMENT` for a format that is none; `*moved` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_fleet_advance(const struct otagate_fleet *fleet,
                              const struct otagate_ledger *ledger,
                              int64_t now_millis,
                              int32_t format,
                              struct otagate_string **moved);

/**
 * Takes down what became of an offer (R9), as a back end tells it. What the offer said of its run and attempt
 * is best given back, so that what comes late is not booked on another. Late, twice or out of order, it counts
 * once; what is stronger than a download ends the lease of firmware too. `noted`, if not NULL, gets
 * `OTAGATE_NOTED_...`. For downloads see `otagate_after_last_byte`, for what a device tells
 * `otagate_reader_report`.
 *
 * NULL: `fleet`, `ledger` and `report` must not be; `noted` may.
 * Threads: any, several at once.
 * Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `NOTHING` for a product, group or device that is none,
 * `ARGUMENT` for an outcome that is none and a serial that names nobody; nothing is noted then.
 * Since: 0.1.
 */
int32_t otagate_fleet_report(const struct otagate_fleet *fleet,
                             const struct otagate_ledger *ledger,
                             const struct otagate_report *report,
                             int64_t now_millis,
                             int32_t *noted);

/**
 * A reader of a fleet. Its decisions take about one trip to memory, wait for nobody and allocate nothing on
 * the way to a 401, 404 or 304.
 *
 * Owns: the caller frees `*reader` by `otagate_reader_free`; it keeps the fleet alive.
 * NULL: neither may be.
 * Threads: any. The reader is for one at a time.
 * Errors: `NULL`; `*reader` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_reader_new(const struct otagate_fleet *fleet, struct otagate_reader **reader);

/**
 * A reader of a host's own store.
 *
 * Owns: the caller frees `*reader` by `otagate_reader_free`; it keeps the store alive.
 * NULL: neither may be.
 * Threads: any. The reader is for one at a time.
 * Errors: `NULL`; `*reader` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_reader_new_of_store(const struct otagate_store *store, struct otagate_reader **reader);

/**
 * Frees a reader.
 *
 * Owns: takes it; what its last decision points at is gone.
 * NULL: does nothing.
 * Threads: any, while no other uses it. One that is in use, by another thread or by the call that this
 * callback is part of, is left as it is and never freed: `otagate_last_error` says so.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_reader_free(struct otagate_reader *reader);

/**
 * Decides a check-in: a pure function of what the store knows, the check-in and the time, in milliseconds
 * since 1970-01-01T00:00:00Z (V3). Without a ledger of otagate's: who needs one calls `otagate_reader_attend`;
 * a host with its own carries out `OTAGATE_EFFECT_CLAIM`.
 *
 * Owns: what `decision` points at is the reader's, until its next decision.
 * NULL: none may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `ARGUMENT`, `BUSY`, `PANIC`; of a host's store `STORE` and
 * `GARBAGE`. `decision` says 401 then, without a reason: nothing is to be served.
 * Since: 0.1.
 */
int32_t otagate_reader_decide(struct otagate_reader *reader,
                              const struct otagate_check_in *check_in,
                              int64_t now_millis,
                              struct otagate_decision *decision);

/**
 * Decides many check-ins, of a fleet all from one revision; the trips to memory of sixteen are made at once.
 * `decisions` has as many elements as `check_ins`. What is served is asked for by `otagate_reader_decide`, one
 * by one: after a batch the reader has no offer and no effect to give.
 *
 * Owns: what the decisions point at is the reader's, until its next decision.
 * NULL: none may be, but both arrays with length 0.
 * Threads: one at a time for each reader.
 * Errors: as `otagate_reader_decide`; all of the decisions say 401 then, without a reason, where they could be
 * written at all.
 * Since: 0.1.
 */
int32_t otagate_reader_decide_many(struct otagate_reader *reader,
                                   const struct otagate_check_in *check_ins,
                                   int64_t now_millis,
                                   struct otagate_decision *decisions,
                                   size_t len);

/**
 * Takes away what the last decision of this reader leaves to do, to be done when the answer is sent, by
 * whichever thread: `otagate_after_answer`, and where something was served, `otagate_after_last_byte`.
 * `*after` is NULL where nothing is left; its functions take that.
 *
 * Owns: the caller frees `*after` by `otagate_after_free`. A second call finds nothing left.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `BUSY`; `*after` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_reader_after(struct otagate_reader *reader, struct otagate_after **after);

/**
 * What the last decision of this reader serves.
 *
 * Owns: what `offer` points at is the reader's, until its next decision.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where it serves nothing; `offer` says so then.
 * Since: 0.1.
 */
int32_t otagate_reader_offer(struct otagate_reader *reader, struct otagate_offer *offer);

/**
 * One resource of the list that the last decision of this reader serves, from 0.
 *
 * Owns: what `resource` points at is the reader's, until its next decision.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where there are not so many; the resource has no name then.
 * Since: 0.1.
 */
int32_t otagate_reader_resource(struct otagate_reader *reader, size_t at, struct otagate_resource *resource);

/**
 * What the host must do about the last decision of this reader, besides answering.
 *
 * Owns: what `effect` points at is the reader's, until its next decision.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` where there is nothing to do; `effect` says so then.
 * Since: 0.1.
 */
int32_t otagate_reader_effect(struct otagate_reader *reader, struct otagate_effect *effect);

/**
 * What to answer instead of the last decision of this reader, where the host's own ledger refuses the claim
 * that it needs (V7); `refused` is `OTAGATE_REFUSED_...`. The reader has no offer to give then.
 *
 * Owns: what `decision` points at is the reader's, until its next decision.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `ARGUMENT`, `NOTHING` where the last decision needs no claim, or has
 * been settled; `decision` says 401 then, without a reason.
 * Since: 0.1.
 */
int32_t otagate_reader_refuse(struct otagate_reader *reader, int32_t refused, struct otagate_decision *decision);

/**
 * Decides a check-in with a ledger: what it holds counts, what is offered is claimed before it is given, and a
 * lease keeps it the same for `lease_secs` (longer than the slowest download), through as many ranged requests
 * as it takes. The decision is the one to give; where its effect is a claim, that is granted.
 *
 * What is left to do after the answer, and after the last byte, is taken away by `otagate_reader_after`.
 *
 * Owns: what `decision` points at is the reader's, until its next decision.
 * NULL: none may be.
 * Threads: one at a time for each reader.
 * Errors: as `otagate_reader_decide`; `ARGUMENT` for a lease of no time. `decision` says 401 then, without a
 * reason: nothing is to be served.
 * Since: 0.1.
 */
int32_t otagate_reader_attend(struct otagate_reader *reader,
                              const struct otagate_ledger *ledger,
                              const struct otagate_check_in *check_in,
                              uint32_t lease_secs,
                              int64_t now_millis,
                              struct otagate_decision *decision);

/**
 * Asks questions 1 to 4 alone: who is it, and may it ask? For calls that tell the host something, such as a
 * sign of life. `may_ask` gets 1 where the device is known and verified; else 0, and `refusal` is the 401 to
 * give; where it may ask, `refusal` says 401 without a reason, and is not to be given. Nothing is counted.
 * `otagate_reader_who` says whom it is about.
 *
 * Owns: what `refusal` points at is the reader's, until its next decision.
 * NULL: none may be.
 * Threads: one at a time for each reader.
 * Errors: as `otagate_reader_decide`; `may_ask` is 0 then, and `refusal` says 401 without a reason.
 * Since: 0.1.
 */
int32_t otagate_reader_identify(struct otagate_reader *reader,
                                const struct otagate_check_in *check_in,
                                int64_t now_millis,
                                int32_t *may_ask,
                                struct otagate_decision *refusal);

/**
 * Takes down what a device tells of the firmware, config or resources that it was offered (R9):
 * `OTAGATE_OUTCOME_FAILED`, `_CONFIRMED`, ... Questions 1 to 4 are asked: who may not ask tells nothing. It is
 * about the device's latest attempt in the rollout of its group, where that moves what the check-in wants: a
 * config that failed is no firmware that did. `noted`, if not NULL, gets `OTAGATE_NOTED_...`.
 *
 * NULL: `noted` may be, the others must not.
 * Threads: one at a time for each reader.
 * Errors: as `otagate_reader_decide`, `ARGUMENT` for an outcome that is none; nothing is noted then.
 * Since: 0.1.
 */
int32_t otagate_reader_report(struct otagate_reader *reader,
                              const struct otagate_ledger *ledger,
                              const struct otagate_check_in *check_in,
                              int32_t outcome,
                              int64_t now_millis,
                              int32_t *noted);

/**
 * Whom the last decision of this reader is about: for logs, and for what the host itself keeps by device.
 * After `otagate_reader_attend`, `otagate_reader_identify`, and a decision that asks for a claim.
 *
 * Owns: what `who` points at is the reader's, until its next decision.
 * NULL: neither may be.
 * Threads: one at a time for each reader.
 * Errors: `NULL`, `STRUCT_SIZE`, `BUSY`, `NOTHING` after another call, or none; `who` says nobody then.
 * Since: 0.1.
 */
int32_t otagate_reader_who(struct otagate_reader *reader, struct otagate_who *who);

/**
 * Explains a check-in: every question that was asked, with the values compared, by the same code that decides;
 * and when the device would become eligible (V6). Changes nothing: nothing is claimed, counted, or registered,
 * and the last decision of the reader stays. With a ledger what that holds is looked at too. `format` is
 * `OTAGATE_FORMAT_...`; as JSON it is an object of `decision`, `steps` and `eligible`. What the device sent
 * stands escaped in it, its key not at all.
 *
 * Owns: the caller frees `*explanation` by `otagate_string_free`.
 * NULL: `ledger` may be.
 * Threads: one at a time for each reader.
 * Errors: as `otagate_reader_decide`; `*explanation` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_reader_explain(struct otagate_reader *reader,
                               const struct otagate_ledger *ledger,
                               const struct otagate_check_in *check_in,
                               int64_t now_millis,
                               int32_t format,
                               struct otagate_string **explanation);

/**
 * Does what comes after the answer (V7): registers the device; after `otagate_reader_attend` also notes that
 * it has arrived (R9), and in a fleet which version and hardware it reported, which a census will ask (R3). To
 * be called when the answer is sent, so that nothing of it changes the answer or its time. What was done is
 * done once; what failed is done by the next call.
 *
 * NULL: nothing is left to do.
 * Threads: any.
 * Errors: `REFUSED` where the device is gone meanwhile; of a host's store `STORE` and `GARBAGE`. The answer to
 * the device stays the same.
 * Since: 0.1.
 */
int32_t otagate_after_answer(const struct otagate_after *after, int64_t now_millis);

/**
 * The last byte of what was served has been sent: its lease and its place among the downloads end `grace_secs`
 * from now (60, say, for a device whose connection broke just then), and where it was on a rollout's account,
 * the ledger notes that it was downloaded. A ranged download tells it once, for the request that sent the end
 * of the file. `noted`, if not NULL, gets `OTAGATE_NOTED_...`: foreign, where it was on no rollout's account.
 * A second call does nothing.
 *
 * NULL: `after`: nothing is left to do; `noted` may be.
 * Threads: any.
 * Errors: none but `PANIC`.
 * Since: 0.1.
 */
int32_t otagate_after_last_byte(const struct otagate_after *after,
                                uint32_t grace_secs,
                                int64_t now_millis,
                                int32_t *noted);

/**
 * Frees it; what was not done is left undone.
 *
 * Owns: takes it.
 * NULL: does nothing.
 * Threads: any, while no other uses it.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_after_free(struct otagate_after *after);

/**
 * An empty ledger, with leases for at most so many devices at once: as many as download at a time. Where there
 * is no room for another, its device is decided anew on each request.
 *
 * Owns: the caller frees `*ledger` by `otagate_ledger_free`.
 * NULL: `ledger` must not be.
 * Threads: any.
 * Errors: `NULL`.
 * Since: 0.1.
 */
int32_t otagate_ledger_new(uint32_t leases_max, struct otagate_ledger **ledger);

/**
 * The ledger that `otagate_ledger_to_json` wrote down; without leases, which go with the process.
 *
 * Owns: the caller frees `*ledger` by `otagate_ledger_free`.
 * NULL: neither may be.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for rows that cannot be; `*ledger` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_ledger_from_json(const char *rows,
                                 size_t rows_len,
                                 uint32_t leases_max,
                                 struct otagate_ledger **ledger);

/**
 * Everything but the leases as JSON, to be kept over a restart.
 *
 * Owns: the caller frees `*rows` by `otagate_string_free`.
 * NULL: neither may be.
 * Threads: any, several at once; others wait while the rows are copied.
 * Errors: `NULL`; `*rows` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_ledger_to_json(const struct otagate_ledger *ledger, struct otagate_string **rows);

/**
 * Another handle on the same ledger.
 *
 * Owns: the caller frees `*clone` by `otagate_ledger_free`; the ledger goes with the last of its handles.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*clone` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_ledger_clone(const struct otagate_ledger *ledger, struct otagate_ledger **clone);

/**
 * Frees a handle on a ledger.
 *
 * Owns: takes it.
 * NULL: does nothing.
 * Threads: any, while no other uses this handle.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_ledger_free(struct otagate_ledger *ledger);

/**
 * The account of the rollout of a group: how many devices stand at which outcome, by wave; what
 * `otagate_rollout_step` judges. Empty, where nobody was offered anything.
 *
 * Owns: the caller frees `*statistics` by `otagate_string_free`.
 * NULL: none may be.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`, `NOTHING` for a group that is none, or that has no rollout that was
 * started; `*statistics` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_ledger_statistics(const struct otagate_ledger *ledger,
                                  const struct otagate_fleet *fleet,
                                  const char *product,
                                  size_t product_len,
                                  const char *group,
                                  size_t group_len,
                                  struct otagate_string **statistics);

/**
 * The account of one run by its name: for rollouts of a host's own store, and for those that are over. What is
 * recent is what came about with at least `resumes` resumes.
 *
 * Owns: the caller frees `*statistics` by `otagate_string_free`.
 * NULL: `ledger` and `statistics` must not be.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`; `*statistics` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_ledger_run_statistics(const struct otagate_ledger *ledger,
                                      const char *product,
                                      size_t product_len,
                                      const char *group,
                                      size_t group_len,
                                      const char *rollout,
                                      size_t rollout_len,
                                      int64_t started_at_millis,
                                      uint32_t resumes,
                                      struct otagate_string **statistics);

/**
 * Forgets a rollout that is over, whose devices need no account any more. Forgetting twice is forgetting once.
 *
 * NULL: none may be.
 * Threads: any, several at once.
 * Errors: `NULL`, `LENGTH`, `TEXT`.
 * Since: 0.1.
 */
int32_t otagate_ledger_forget(const struct otagate_ledger *ledger,
                              const char *product,
                              size_t product_len,
                              const char *group,
                              size_t group_len,
                              const char *rollout,
                              size_t rollout_len,
                              int64_t started_at_millis);

/**
 * Makes a store of callbacks.
 *
 * Owns: takes `user_data`, if it succeeds; else it stays the caller's, and `destroy` is not called. The caller
 * frees `*store` by `otagate_store_free`.
 * NULL: neither may be, nor `open_view`, `product_of_key` and `device`.
 * Threads: any.
 * Errors: `NULL`, `STRUCT_SIZE`; `*store` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_store_new(const struct otagate_store_callbacks *callbacks, struct otagate_store **store);

/**
 * Another handle on the same store.
 *
 * Owns: the caller frees `*clone` by `otagate_store_free`.
 * NULL: neither may be.
 * Threads: any, several at once.
 * Errors: `NULL`; `*clone` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_store_clone(const struct otagate_store *store, struct otagate_store **clone);

/**
 * Frees a handle on a store. Readers that were made from it go on; `destroy` is called when the last of all is
 * gone.
 *
 * Owns: takes it.
 * NULL: does nothing.
 * Threads: any, while no other uses this handle.
 * Errors: none.
 * Since: 0.1.
 */
void otagate_store_free(struct otagate_store *store);

/**
 * Puts in a product or a group whose document the library has in that edition. An edition is given out once:
 * it changes whenever anything in the document does, and the same name never has the same edition with another
 * document, not even after it was removed and came back, or a backup was restored; the revision of the last
 * change will do. Documents of a product's groups are read under its rules, and read anew when it changes.
 * Edition 0 is never kept: the document is read for each check-in, which takes so long that time tells a known
 * key from another. After `OTAGATE_WANTED` the document must be given; a decision without it fails with
 * `OTAGATE_ERROR_GARBAGE`, and so it does after an error.
 *
 * NULL: `found` must not be.
 * Threads: that of the callback.
 * Errors: `OTAGATE_OK`: it is taken. `OTAGATE_WANTED`, which is no error: give it by `otagate_found_document`.
 * `NULL`, `LENGTH`, `TEXT`; `ARGUMENT` in a callback that finds something else.
 * Since: 0.1.
 */
int32_t otagate_found_known(struct otagate_found *found, const char *name, size_t name_len, uint64_t edition);

/**
 * Puts in a product or a group by its document, which is checked and kept under its edition.
 *
 * Owns: the texts stay the caller's.
 * NULL: `found` must not be.
 * Threads: that of the callback.
 * Errors: `NULL`, `LENGTH`, `TEXT`, `JSON`, `REFUSED` with every problem; `ARGUMENT` in a callback that finds
 * something else, and for a document of another name or with devices. The decision fails with
 * `OTAGATE_ERROR_GARBAGE` then, whatever the callback gives.
 * Since: 0.1.
 */
int32_t otagate_found_document(struct otagate_found *found,
                               const char *name,
                               size_t name_len,
                               uint64_t edition,
                               const char *document,
                               size_t document_len);

/**
 * Puts in a device.
 *
 * Owns: the struct and its texts stay the caller's.
 * NULL: neither may be.
 * Threads: that of the callback.
 * Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `ARGUMENT` for a state that is none and in a callback that
 * finds something else, `REFUSED` with every problem. The decision fails with `OTAGATE_ERROR_GARBAGE` then,
 * whatever the callback gives.
 * Since: 0.1.
 */
int32_t otagate_found_device(struct otagate_found *found, const struct otagate_device *device);

/**
 * Puts in what the host's own ledger holds about the device.
 *
 * Owns: the struct and its text stay the caller's.
 * NULL: neither may be.
 * Threads: that of the callback.
 * Errors: `NULL`, `STRUCT_SIZE`, `LENGTH`, `TEXT`, `ARGUMENT` in a callback that finds something else. The
 * decision fails with `OTAGATE_ERROR_GARBAGE` then, whatever the callback gives.
 * Since: 0.1.
 */
int32_t otagate_found_standing(struct otagate_found *found, const struct otagate_standing *standing);

/**
 * The rank of a device in a rollout (R2): where its place is fixed by chance. `serial` is the canonical one.
 *
 * NULL: `rank` must not be; a text may be, with length 0.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `TEXT`; the rank is the last of all then.
 * Since: 0.1.
 */
int32_t otagate_rank(const char *salt,
                     size_t salt_len,
                     const char *product,
                     size_t product_len,
                     const char *serial,
                     size_t serial_len,
                     uint64_t *rank);

/**
 * The BLAKE3 of an API key, 32 bytes: all that a fleet and a host's store hold of it (`hash` of a product's
 * `keys`, in hex).
 *
 * NULL: `hash` must not be; `key` may be, with length 0.
 * Threads: any.
 * Errors: `NULL`, `LENGTH` for a key that is longer than any product's may be (1 024 bytes); the hash is all 0
 * then, which no key has.
 * Since: 0.1.
 */
int32_t otagate_key_hash(const char *key, size_t key_len, uint8_t *hash);

/**
 * Reads a serial under a scheme (S1), with the placeholders that every product has: `fault` says
 * `OTAGATE_SERIAL_IS_...`, and where it is fine, its canonical form is written to `canonical`, which has room
 * for `OTAGATE_SERIAL_BYTES_MAX` bytes, and its length to `canonical_len`. No NUL is written.
 *
 * NULL: `canonical`, `canonical_len` and `fault` must not be.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `ARGUMENT` for a scheme that is none; the serial is malformed then. A serial that
 * is malformed is no error.
 * Since: 0.1.
 */
int32_t otagate_read_serial(int32_t scheme,
                            const char *serial,
                            size_t serial_len,
                            char *canonical,
                            size_t *canonical_len,
                            int32_t *fault);

/**
 * Compares two versions under a product's rules (W1, W2): `equal` is 1 or 0; `order` is that of `a` against
 * `b`, -1, 0 or 1, or `OTAGATE_UNORDERED`. `rules` is the JSON of a product's `versions`, such as
 * `{"scheme":"semver"}`; empty is `exact`. Equality is not order: versions of order 0 may be unequal, and the
 * other way about.
 *
 * NULL: `equal` and `order` must not be.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for rules that are none; the versions are unequal and unordered
 * then. A version that does not parse is no error.
 * Since: 0.1.
 */
int32_t otagate_compare_versions(const char *rules,
                                 size_t rules_len,
                                 const char *a,
                                 size_t a_len,
                                 const char *b,
                                 size_t b_len,
                                 int32_t *equal,
                                 int32_t *order);

/**
 * The threshold of a share in basis points, for a host that cannot count (R3): whose rank is not above it is
 * in.
 *
 * NULL: `threshold` must not be.
 * Threads: any.
 * Errors: `NULL`, `ARGUMENT` for a share outside of 1 to 10 000; the threshold is 0 then.
 * Since: 0.1.
 */
int32_t otagate_share_threshold(uint32_t share_bps, uint64_t *threshold);

/**
 * Which bytes of a file of `size_bytes` a `Range` header asks for, as download clients write it: one range of
 * bytes, clamped to the file. `kind` gets `OTAGATE_RANGE_WHOLE` (200: none was asked for, or one that may be
 * ignored), `OTAGATE_RANGE_PART` (206: `first` to `last`, both included) or `OTAGATE_RANGE_UNSATISFIABLE`
 * (416). A server that ignores ranges corrupts the image on devices that ask for them.
 *
 * NULL: `kind`, `first` and `last` must not be; `header` may be, with length 0: there is none.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`; nothing can be sent of it then.
 * Since: 0.1.
 */
int32_t otagate_parse_range(const char *header,
                            size_t header_len,
                            uint64_t size_bytes,
                            int32_t *kind,
                            uint64_t *first,
                            uint64_t *last);

/**
 * What is to be done about a rollout, given its account and the time (R7, R8): a pure function. `rollout` is
 * the JSON of a rollout, `statistics` that of `otagate_ledger_statistics`, `product` that of its product, or
 * empty for one that compares versions byte for byte. The answer is a JSON object of `transition` and
 * `progress`, each null where there is none; a transition has a `kind`: `open-wave` with `wave` (from 0) and
 * `progress`, `halt` with `failed` and `finished`, `complete` with `progress`.
 *
 * Owns: the caller frees `*answer` by `otagate_string_free`.
 * NULL: `answer` must not be.
 * Threads: any.
 * Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for a rollout that cannot be; `*answer` is NULL then.
 * Since: 0.1.
 */
int32_t otagate_rollout_step(const char *product,
                             size_t product_len,
                             const char *rollout,
                             size_t rollout_len,
                             const char *statistics,
                             size_t statistics_len,
                             int64_t now_millis,
                             struct otagate_string **answer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* What follows is compiled into the program that includes it. */

#ifdef __cplusplus
extern "C" {
#endif

/** A text of a C string; of NULL, none. */
static inline otagate_text otagate_text_of(const char *text) {
    otagate_text view;
    view.data = text;
    view.len = text == NULL ? 0 : strlen(text);
    return view;
}

/* Each gives a struct that is initialised: its size is set, and everything else is zero. */
#define OTAGATE_INIT(type)                                                                                             \
    static inline type type##_init(void) {                                                                             \
        type made;                                                                                                     \
        memset(&made, 0, sizeof made);                                                                                 \
        made.struct_size = sizeof made;                                                                                \
        return made;                                                                                                   \
    }

OTAGATE_INIT(otagate_check_in)
OTAGATE_INIT(otagate_resource)
OTAGATE_INIT(otagate_effect)
OTAGATE_INIT(otagate_device)
OTAGATE_INIT(otagate_census)
OTAGATE_INIT(otagate_who)
OTAGATE_INIT(otagate_store_callbacks)
#undef OTAGATE_INIT

/** A decision that is initialised: it denies. */
static inline otagate_decision otagate_decision_init(void) {
    otagate_decision made;
    memset(&made, 0, sizeof made);
    made.struct_size = sizeof made;
    made.status = OTAGATE_STATUS_UNAUTHORIZED;
    made.retry_after_secs = -1;
    return made;
}

/** An offer that is initialised: it offers nothing. */
static inline otagate_offer otagate_offer_init(void) {
    otagate_offer made;
    memset(&made, 0, sizeof made);
    made.struct_size = sizeof made;
    made.rollout_started_at_millis = OTAGATE_NEVER;
    return made;
}

/** A report that is initialised: of the latest attempt in the rollout of the group. */
static inline otagate_report otagate_report_init(void) {
    otagate_report made;
    memset(&made, 0, sizeof made);
    made.struct_size = sizeof made;
    made.rollout_started_at_millis = OTAGATE_NEVER;
    return made;
}

/** A standing that is initialised: it holds nothing. */
static inline otagate_standing otagate_standing_init(void) {
    otagate_standing made;
    memset(&made, 0, sizeof made);
    made.struct_size = sizeof made;
    made.claim_expires_at_millis = OTAGATE_NEVER;
    made.download_expires_at_millis = OTAGATE_NEVER;
    made.penalty_until_millis = OTAGATE_NEVER;
    return made;
}

#ifdef __cplusplus
}
#endif

#endif /* OTAGATE_H */

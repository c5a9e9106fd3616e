/*
 * A small, strict JSON reader for the tests, so that they need no package: a document becomes a tree, and a part of it text again.
 *
 * Numbers stay the text that they were, so that no digit of a u64 is lost. What is not JSON is refused, with the place: trailing commas, leading
 * zeros, lone surrogates, bytes that are not UTF-8, a name that stands twice, anything behind the document.
 */
#ifndef OTAGATE_TESTS_JSON_H
#define OTAGATE_TESTS_JSON_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX 64

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_text {
    char *data; /* with a NUL behind it, which does not count */
    size_t len;
    size_t room;
};

struct json {
    enum json_kind kind;
    struct json_text text;   /* of a number as it was written; of a string without its escapes */
    struct json_text *names; /* of the members of an object */
    struct json *items;      /* of an array, or an object's */
    size_t count;
};

/* ---- Text that grows. ---- */

static inline void *json_grown(void *data, size_t size) {
    void *grown = realloc(data, size);
    if (grown == NULL) {
        fputs("no memory\n", stderr);
        abort();
    }
    return grown;
}

static inline void json_add(struct json_text *text, const char *data, size_t len) {
    if (text->len + len + 1 > text->room) {
        text->room = 2 * (text->len + len + 1);
        text->data = json_grown(text->data, text->room);
    }
    if (len > 0) memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

static inline void json_puts(struct json_text *text, const char *more) {
    json_add(text, more, strlen(more));
}

/* A string with its quotes and escapes. */
static inline void json_quote(struct json_text *text, const char *data, size_t len) {
    json_puts(text, "\"");
    for (size_t at = 0; at < len; at++) {
        unsigned char byte = (unsigned char)data[at];
        char escape[8];
        if (byte == '"' || byte == '\\') {
            snprintf(escape, sizeof escape, "\\%c", byte);
        } else if (byte < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)byte);
        } else {
            snprintf(escape, sizeof escape, "%c", byte);
        }
        json_puts(text, escape);
    }
    json_puts(text, "\"");
}

static inline void json_text_free(struct json_text *text) {
    free(text->data);
    memset(text, 0, sizeof *text);
}

/* ---- Reading. ---- */

struct json_reader {
    const char *data;
    size_t len;
    size_t at;
    int depth;
    const char *fault; /* what is wrong at `at` */
};

static inline void json_free(struct json *value) {
    for (size_t at = 0; at < value->count; at++) {
        json_free(&value->items[at]);
        if (value->names != NULL) json_text_free(&value->names[at]);
    }
    free(value->items);
    free(value->names);
    json_text_free(&value->text);
    memset(value, 0, sizeof *value);
}

static inline int json_fail(struct json_reader *reader, const char *fault) {
    if (reader->fault == NULL) reader->fault = fault;
    return 0;
}

static inline int json_peek(const struct json_reader *reader) {
    return reader->at < reader->len ? (unsigned char)reader->data[reader->at] : -1;
}

static inline void json_blanks(struct json_reader *reader) {
    for (;; reader->at++) {
        int byte = json_peek(reader);
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') return;
    }
}

static inline int json_word(struct json_reader *reader, const char *word) {
    size_t len = strlen(word);
    if (reader->len - reader->at < len || memcmp(reader->data + reader->at, word, len) != 0) {
        return json_fail(reader, "no value");
    }
    reader->at += len;
    return 1;
}

static inline int json_digits(struct json_reader *reader) {
    size_t from = reader->at;
    while (json_peek(reader) >= '0' && json_peek(reader) <= '9') reader->at++;
    return reader->at > from ? 1 : json_fail(reader, "a digit is missing");
}

static inline int json_number(struct json_reader *reader, struct json *value) {
    size_t from = reader->at;
    if (json_peek(reader) == '-') reader->at++;
    if (json_peek(reader) == '0') {
        reader->at++;
    } else if (!json_digits(reader)) {
        return 0;
    }
    if (json_peek(reader) == '.') {
        reader->at++;
        if (!json_digits(reader)) return 0;
    }
    if (json_peek(reader) == 'e' || json_peek(reader) == 'E') {
        reader->at++;
        if (json_peek(reader) == '+' || json_peek(reader) == '-') reader->at++;
        if (!json_digits(reader)) return 0;
    }
    value->kind = JSON_NUMBER;
    json_add(&value->text, reader->data + from, reader->at - from);
    return 1;
}

/* The four digits behind \u; -1 where there are not. */
static inline long json_hex4(struct json_reader *reader) {
    long unit = 0;
    for (int digit = 0; digit < 4; digit++, reader->at++) {
        int byte = json_peek(reader);
        if (byte >= '0' && byte <= '9') unit = 16 * unit + (byte - '0');
        else if (byte >= 'a' && byte <= 'f') unit = 16 * unit + (byte - 'a' + 10);
        else if (byte >= 'A' && byte <= 'F') unit = 16 * unit + (byte - 'A' + 10);
        else return -1;
    }
    return unit;
}

static inline void json_add_utf8(struct json_text *text, long point) {
    char bytes[4];
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t at = len; at-- > 1; point >>= 6) bytes[at] = (char)(0x80 | (point & 0x3f));
    bytes[0] = (char)(lead[len] | point);
    json_add(text, bytes, len);
}

static inline int json_escape(struct json_reader *reader, struct json_text *text) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int byte = json_peek(reader);
    const char *simple = byte > 0 ? strchr(from, byte) : NULL;
    if (simple != NULL) {
        reader->at++;
        json_add(text, &to[simple - from], 1);
        return 1;
    }
    if (byte != 'u') return json_fail(reader, "no such escape");
    reader->at++;
    long point = json_hex4(reader);
    if (point < 0) return json_fail(reader, "no hex digit");
    if (point >= 0xdc00 && point < 0xe000) return json_fail(reader, "a lone low surrogate");
    if (point >= 0xd800 && point < 0xdc00) {
        if (reader->len - reader->at < 2 || memcmp(reader->data + reader->at, "\\u", 2) != 0) {
            return json_fail(reader, "a lone high surrogate");
        }
        reader->at += 2;
        long low = json_hex4(reader);
        if (low < 0xdc00 || low >= 0xe000) return json_fail(reader, "no low surrogate");
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    json_add_utf8(text, point);
    return 1;
}

/* One character beyond ASCII, as it stands. */
static inline int json_utf8(struct json_reader *reader, struct json_text *text) {
    const unsigned char *at = (const unsigned char *)reader->data + reader->at;
    size_t len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || reader->len - reader->at < len) return json_fail(reader, "no UTF-8");
    for (size_t more = 1; more < len; more++) {
        if ((at[more] & 0xc0) != 0x80) return json_fail(reader, "no UTF-8");
    }
    int overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    int beyond = (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf4 && at[1] >= 0x90);
    if (overlong || beyond) return json_fail(reader, "no UTF-8");
    json_add(text, (const char *)at, len);
    reader->at += len;
    return 1;
}

static inline int json_string(struct json_reader *reader, struct json_text *text) {
    if (json_peek(reader) != '"') return json_fail(reader, "no string");
    reader->at++;
    json_add(text, "", 0);
    for (;;) {
        int byte = json_peek(reader);
        if (byte == '"') {
            reader->at++;
            return 1;
        }
        if (byte < 0x20) return json_fail(reader, byte < 0 ? "a string without an end" : "a control byte");
        if (byte == '\\') {
            reader->at++;
            if (!json_escape(reader, text)) return 0;
        } else if (byte < 0x80) {
            json_add(text, reader->data + reader->at++, 1);
        } else if (!json_utf8(reader, text)) {
            return 0;
        }
    }
}

static inline int json_value(struct json_reader *reader, struct json *value);

/* The members of an object, or the items of an array: up to the bracket that ends it. */
static inline int json_members(struct json_reader *reader, struct json *value, int is_object) {
    int end = is_object ? '}' : ']';
    value->kind = is_object ? JSON_OBJECT : JSON_ARRAY;
    reader->at++;
    json_blanks(reader);
    if (json_peek(reader) == end) {
        reader->at++;
        return 1;
    }
    for (size_t room = 0;;) {
        if (value->count == room) {
            room = room == 0 ? 4 : 2 * room;
            value->items = json_grown(value->items, room * sizeof *value->items);
            if (is_object) value->names = json_grown(value->names, room * sizeof *value->names);
        }
        size_t at = value->count;
        memset(&value->items[at], 0, sizeof *value->items);
        if (is_object) memset(&value->names[at], 0, sizeof *value->names);
        value->count++;
        if (is_object) {
            json_blanks(reader);
            if (!json_string(reader, &value->names[at])) return 0;
            for (size_t other = 0; other < at; other++) {
                if (value->names[other].len == value->names[at].len &&
                    memcmp(value->names[other].data, value->names[at].data, value->names[at].len) == 0) {
                    return json_fail(reader, "a name that stands twice");
                }
            }
            json_blanks(reader);
            if (json_peek(reader) != ':') return json_fail(reader, "a colon is missing");
            reader->at++;
        }
        if (!json_value(reader, &value->items[at])) return 0;
        json_blanks(reader);
        int byte = json_peek(reader);
        if (byte != ',' && byte != end) return json_fail(reader, "neither a comma nor an end");
        reader->at++;
        if (byte == end) return 1;
    }
}

static inline int json_value(struct json_reader *reader, struct json *value) {
    if (reader->depth >= JSON_DEPTH_MAX) return json_fail(reader, "too deep");
    reader->depth++;
    json_blanks(reader);
    int done, byte = json_peek(reader);
    if (byte == '{' || byte == '[') {
        done = json_members(reader, value, byte == '{');
    } else if (byte == '"') {
        value->kind = JSON_STRING;
        done = json_string(reader, &value->text);
    } else if (byte == '-' || (byte >= '0' && byte <= '9')) {
        done = json_number(reader, value);
    } else {
        value->kind = byte == 't' ? JSON_TRUE : byte == 'f' ? JSON_FALSE : JSON_NULL;
        done = json_word(reader, byte == 't' ? "true" : byte == 'f' ? "false" : "null");
    }
    reader->depth--;
    return done;
}

/* Reads a whole document into `value`, which the caller frees by json_free() in either case; NULL, or what is wrong with it, and where. */
static inline const char *json_read(struct json *value, const char *data, size_t len, size_t *where) {
    struct json_reader reader = {data, len, 0, 0, NULL};
    memset(value, 0, sizeof *value);
    if (json_value(&reader, value)) {
        json_blanks(&reader);
        if (reader.at < len) json_fail(&reader, "something behind the document");
    }
    *where = reader.at;
    return reader.fault;
}

/* ---- Looking. ---- */

/* A member of an object; NULL where there is none. */
static inline const struct json *json_get(const struct json *object, const char *name) {
    if (object == NULL || object->kind != JSON_OBJECT) return NULL;
    for (size_t at = 0; at < object->count; at++) {
        if (strcmp(object->names[at].data, name) == 0) return &object->items[at];
    }
    return NULL;
}

static inline int json_is(const struct json *value, enum json_kind kind) {
    return value != NULL && value->kind == kind;
}

static inline int json_text_is(const struct json *value, const char *text) {
    return json_is(value, JSON_STRING) && value->text.len == strlen(text) &&
           memcmp(value->text.data, text, value->text.len) == 0;
}

/* A whole number, of a number or of a string of one; `*is_fine` is cleared where it is none or does not fit. */
static inline int64_t json_i64(const struct json *value, int *is_fine) {
    if (!json_is(value, JSON_NUMBER) && !json_is(value, JSON_STRING)) {
        *is_fine = 0;
        return 0;
    }
    char *end;
    errno = 0;
    long long number = strtoll(value->text.data, &end, 10);
    if (errno != 0 || *end != '\0' || end == value->text.data) *is_fine = 0;
    return number;
}

static inline uint64_t json_u64(const struct json *value, int *is_fine) {
    int is_text = json_is(value, JSON_NUMBER) || json_is(value, JSON_STRING);
    if (!is_text || value->text.data[0] < '0' || value->text.data[0] > '9') {
        *is_fine = 0;
        return 0;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value->text.data, &end, 10);
    if (errno != 0 || *end != '\0') *is_fine = 0;
    return number;
}

/* Whether two say the same: members in any order, numbers by their text. */
static inline int json_equal(const struct json *a, const struct json *b) {
    if (a->kind != b->kind || a->count != b->count) return 0;
    if (a->kind == JSON_NUMBER || a->kind == JSON_STRING) {
        return a->text.len == b->text.len && memcmp(a->text.data, b->text.data, a->text.len) == 0;
    }
    for (size_t at = 0; at < a->count; at++) {
        const struct json *other = a->kind == JSON_OBJECT ? json_get(b, a->names[at].data) : &b->items[at];
        if (other == NULL || !json_equal(&a->items[at], other)) return 0;
    }
    return 1;
}

/* The value as text again, without blanks. */
static inline void json_print(struct json_text *text, const struct json *value) {
    static const char *const words[] = {"null", "false", "true"};
    switch (value->kind) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE: json_puts(text, words[value->kind]); return;
    case JSON_NUMBER: json_add(text, value->text.data, value->text.len); return;
    case JSON_STRING: json_quote(text, value->text.data, value->text.len); return;
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    int is_object = value->kind == JSON_OBJECT;
    json_puts(text, is_object ? "{" : "[");
    for (size_t at = 0; at < value->count; at++) {
        if (at > 0) json_puts(text, ",");
        if (is_object) {
            json_quote(text, value->names[at].data, value->names[at].len);
            json_puts(text, ":");
        }
        json_print(text, &value->items[at]);
    }
    json_puts(text, is_object ? "}" : "]");
}

#endif

/*
 * What watches the other programs, put to the test: each argument plants one mistake that a C program can make with this library.
 *
 *     nets clean          none: nothing must be reported
 *     nets leak           a reader and a string are never freed
 *     nets double-free    a fleet handle is freed twice
 *     nets late-read      a text of a decision is read when its reader is gone
 */
#include <otagate.h>
#include <stdio.h>

static const char *const FLEET =
    "{\"revision\":1,\"products\":[{\"product\":{\"id\":\"lamp\",\"register_on_first_contact\":true,"
    /* The BLAKE3 of `secret`. */
    "\"keys\":[{\"hash\":\"5fbf08af2b116ab8f7f3c14b8ec01a46ce23d290e2ebc7a752d0982d54c054f2\"}]},"
    "\"firmware\":[],\"groups\":[],\"devices\":[]}]}";

static void must(int32_t code, const char *what) {
    if (code != OTAGATE_OK) {
        fprintf(stderr, "%s: %s\n", what, otagate_code_name(code));
        _Exit(1);
    }
}

/* The compiler must not see that a text is of no use to anybody. */
static volatile char sink;

static void touch(otagate_text text) {
    size_t at;
    for (at = 0; at < text.len; at++) {
        sink = text.data[at];
    }
}

/* In a frame of its own, so that what is lost is not still found on the stack, or in a register. */
static void __attribute__((noinline)) ask(const char *mistake) {
    otagate_fleet *fleet = NULL, *clone = NULL;
    otagate_reader *reader = NULL;
    otagate_string *lints[16] = {NULL}; /* of many not all are still found by chance */
    otagate_check_in check_in = otagate_check_in_init();
    otagate_decision decision = otagate_decision_init();
    otagate_effect effect = otagate_effect_init();

    must(otagate_fleet_new(FLEET, strlen(FLEET), &fleet), "build the fleet");
    must(otagate_fleet_clone(fleet, &clone), "clone the fleet");
    must(otagate_reader_new(fleet, &reader), "make a reader");
    for (size_t at = 0; at < sizeof lints / sizeof *lints; at++) {
        must(otagate_fleet_lint(fleet, 0, &lints[at]), "lint");
    }
    check_in.key = otagate_text_of("secret");
    check_in.serial = otagate_text_of("somebody whom nobody knows");
    must(otagate_reader_decide(reader, &check_in, 1795428000000, &decision), "decide");
    must(otagate_reader_effect(reader, &effect), "a stranger is to be registered");
    touch(effect.serial);
    touch(effect.product);

    if (strcmp(mistake, "leak") != 0) {
        for (size_t at = 0; at < sizeof lints / sizeof *lints; at++) {
            otagate_string_free(lints[at]);
        }
        otagate_reader_free(reader);
    }
    if (strcmp(mistake, "late-read") == 0) {
        touch(effect.serial);
    }
    otagate_fleet_free(clone);
    if (strcmp(mistake, "double-free") == 0) {
        otagate_fleet_free(clone); /* what it stood for is still there: without a net nothing is seen */
    }
    otagate_fleet_free(fleet);
}

/* Writes over what the frames before have left behind. */
static void __attribute__((noinline)) sweep(void) {
    volatile char stack[16384];
    size_t at;
    for (at = 0; at < sizeof stack; at++) {
        stack[at] = 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: nets clean|leak|double-free|late-read\n");
        return 2;
    }
    ask(argv[1]);
    sweep();
    printf("%s: the program has ended by itself\n", argv[1]);
    return 0;
}

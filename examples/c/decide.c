/*
 * The smallest program: a fleet, a check-in, a decision.
 *
 *     cc decide.c $(pkg-config --cflags --libs otagate) -o decide && ./decide
 */
#include <otagate.h>
#include <stdio.h>

static const char *const FLEET =
    "{\"revision\": 1, \"products\": [{"
    "  \"product\": {\"id\": \"lamp\", \"serial_scheme\": \"mac\", \"versions\": {\"scheme\": \"semver\"},"
    /* The BLAKE3 of `secret`: printf %s secret | b3sum */
    "    \"keys\": [{\"hash\": \"5fbf08af2b116ab8f7f3c14b8ec01a46ce23d290e2ebc7a752d0982d54c054f2\"}]},"
    "  \"firmware\": [{\"version\": \"2.0.0\", \"artifacts\": [{\"size_bytes\": 1048576, \"locator\": \"lamp-2.0.0.bin\","
    "    \"digests\": {\"blake3\": \"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262\"}}]}],"
    "  \"groups\": [{\"id\": \"stable\", \"firmware\": \"2.0.0\"}],"
    "  \"devices\": [{\"serial\": \"a4cf12345678\", \"state\": \"verified\", \"group\": \"stable\"}]}]}";

static int failed(const char *doing, int32_t code) {
    char words[512];
    otagate_last_error(words, sizeof words);
    fprintf(stderr, "%s: %s: %s\n", doing, otagate_code_name(code), words);
    return 1;
}

static int ask(otagate_reader *reader, const char *serial, const char *version) {
    otagate_check_in check_in = otagate_check_in_init();
    otagate_decision decision = otagate_decision_init();
    otagate_offer offer = otagate_offer_init();
    const int64_t now = 1795428000000; /* 2026-11-23T10:00:00Z; a server asks its clock */
    int32_t code;

    check_in.key = otagate_text_of("secret");
    check_in.serial = otagate_text_of(serial);
    check_in.version = otagate_text_of(version);
    code = otagate_reader_decide(reader, &check_in, now, &decision);
    if (code != OTAGATE_OK) {
        return failed("decide", code); /* answer 503: nothing is served */
    }
    printf("%s %s: %d %s", serial, version, (int)decision.status, otagate_reason_name(decision.reason));
    if (decision.status == OTAGATE_STATUS_SERVE && otagate_reader_offer(reader, &offer) == OTAGATE_OK) {
        printf(" %.*s, %llu bytes", (int)offer.locator.len, offer.locator.data, (unsigned long long)offer.size_bytes);
    }
    printf("\n");
    return 0;
}

int main(void) {
    otagate_fleet *fleet = NULL;
    otagate_reader *reader = NULL;
    int wrong;
    int32_t code = otagate_fleet_new(FLEET, otagate_text_of(FLEET).len, &fleet);

    if (code == OTAGATE_OK) {
        code = otagate_reader_new(fleet, &reader); /* one per thread */
    }
    if (code != OTAGATE_OK) {
        otagate_fleet_free(fleet);
        return failed("build the fleet", code);
    }
    wrong = ask(reader, "A4:CF:12:34:56:78", "1.9.0");
    wrong |= ask(reader, "A4:CF:12:34:56:78", "2.0.0");
    wrong |= ask(reader, "00:00:5E:00:53:01", "1.9.0");
    otagate_reader_free(reader);
    otagate_fleet_free(fleet);
    return wrong;
}

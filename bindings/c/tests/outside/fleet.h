/* One lamp, whose key is `secret`, in a group that is to have 2.0.0. */
#define FLEET                                                                                                          \
    "{\"revision\": 1, \"products\": [{"                                                                               \
    "  \"product\": {\"id\": \"lamp\", \"serial_scheme\": \"mac\", \"versions\": {\"scheme\": \"semver\"},"            \
    "    \"keys\": [{\"hash\": \"5fbf08af2b116ab8f7f3c14b8ec01a46ce23d290e2ebc7a752d0982d54c054f2\"}]},"               \
    "  \"firmware\": [{\"version\": \"2.0.0\", \"artifacts\": [{\"size_bytes\": 1, \"locator\": \"lamp-2.0.0.bin\","   \
    "    \"digests\": {\"blake3\": \"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262\"}}]}],"         \
    "  \"groups\": [{\"id\": \"stable\", \"firmware\": \"2.0.0\"}],"                                                   \
    "  \"devices\": [{\"serial\": \"a4cf12345678\", \"state\": \"verified\", \"group\": \"stable\"}]}]}"

#define NOW 1795428000000 /* 2026-11-23T10:00:00Z */

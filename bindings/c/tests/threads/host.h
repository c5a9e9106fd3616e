/* The host's own store, and its readers. A part of threads.c. */

struct host {
    pthread_mutex_t lock;
    uint64_t revision, opened, closed, registered;
};
static struct host *host_alive; /* what destroy frees */
static uint64_t destroyed, views_opened, views_closed;

static void host_destroy(void *user_data) {
    struct host *host = user_data;
    views_opened = host->opened;
    views_closed = host->closed;
    pthread_mutex_destroy(&host->lock);
    free(host);
    add(&destroyed, 1);
}

static int32_t host_open(void *user_data, void **view, uint64_t *revision) {
    struct host *host = user_data;
    uint64_t *state = malloc(sizeof *state);
    CHECK(state != NULL, "out of memory");
    pthread_mutex_lock(&host->lock);
    *state = *revision = host->revision;
    host->opened++;
    pthread_mutex_unlock(&host->lock);
    *view = state;
    return 0;
}

static void host_close(void *user_data, void *view) {
    struct host *host = user_data;
    free(view);
    pthread_mutex_lock(&host->lock);
    host->closed++;
    pthread_mutex_unlock(&host->lock);
}

static int32_t host_product(void *user_data, void *view, const uint8_t *key_hash, otagate_found *found) {
    static const char document[] = "{\"product\":" PRODUCT("lamp", "\"register_on_first_contact\":true,")
                                   ",\"firmware\":" BOTH_FIRMWARE "}";
    const uint64_t edition = *(uint64_t *)view / 64 + 1; /* a new one now and then, so that it is read anew */
    int32_t code;
    (void)user_data;
    if (key_hash[0] != 0x5f || key_hash[1] != 0xbf) {
        return 0;
    }
    code = otagate_found_known(found, "lamp", 4, edition);
    return code == OTAGATE_WANTED ? otagate_found_document(found, "lamp", 4, edition, document, sizeof document - 1) : code;
}

static int32_t host_device(void *user_data, void *view, const char *product, size_t product_len, const char *serial,
                           size_t serial_len, otagate_found *found) {
    otagate_device device = otagate_device_init();
    char name[32];
    int lamp;
    (void)user_data;
    (void)view;
    snprintf(name, sizeof name, "%.*s", (int)serial_len, serial);
    lamp = atoi(name + 5);
    if (lamp == FAILING) {
        return FAILING;
    }
    if (product_len != 4 || memcmp(product, "lamp", 4) != 0 || lamp >= BLOCKED) {
        return 0;
    }
    device.serial = otagate_text_of(name);
    device.group = otagate_text_of(place_of(lamp));
    device.state = state_of(lamp);
    return otagate_found_device(found, &device);
}

static int32_t host_group(void *user_data, void *view, const char *product, size_t product_len, const char *group,
                          size_t group_len, otagate_found *found) {
    const uint64_t edition = *(uint64_t *)view / 2 + 1;
    int32_t code;
    (void)user_data;
    (void)product;
    (void)product_len;
    code = otagate_found_known(found, group, group_len, edition);
    if (code == OTAGATE_WANTED) {
        struct text text = {NULL, 0, 0};
        if (group_len == 6 && memcmp(group, "staged", 6) == 0) {
            put(&text, "{\"id\":\"staged\",\"firmware\":\"1.0.0\"}");
        } else {
            put_group(&text, version_at(*(uint64_t *)view));
        }
        code = otagate_found_document(found, group, group_len, edition, text.at, text.len);
        free(text.at);
    }
    return code;
}

static int32_t host_register(void *user_data, const char *product, size_t product_len, const char *serial,
                             size_t serial_len, int64_t at_millis, int32_t *registered) {
    struct host *host = user_data;
    CHECK(product_len == 4 && memcmp(product, "lamp", 4) == 0 && serial_len > 5 && memcmp(serial, "lamp-", 5) == 0 && at_millis == NOW,
          "somebody else is registered");
    pthread_mutex_lock(&host->lock);
    host->registered++;
    pthread_mutex_unlock(&host->lock);
    *registered = OTAGATE_REGISTERED_NEW;
    return 0;
}

static uint64_t host_revision(void) {
    uint64_t revision;
    pthread_mutex_lock(&host_alive->lock);
    revision = host_alive->revision;
    pthread_mutex_unlock(&host_alive->lock);
    return revision;
}

static void *read_host(void *argument) {
    const int me = (int)(intptr_t)argument;
    uint32_t seed = 77u * (uint32_t)me + 1;
    otagate_store *mine = NULL;
    otagate_reader *reader = NULL;
    uint64_t turn;
    OK(otagate_store_clone(store, &mine));
    OK(otagate_reader_new_of_store(mine, &reader));
    pthread_barrier_wait(&started);
    for (turn = 1; look(&stop) == 0; turn++) {
        struct ask ask;
        otagate_decision decision = otagate_decision_init();
        const uint64_t low = host_revision();
        draw_ask(&ask, &seed);
        OK(otagate_reader_decide(reader, &ask.check_in, NOW, &decision));
        CHECK(low <= decision.revision && decision.revision <= host_revision(), "a revision that the host never had");
        check_decision(&ask, &decision);
        check_parts(reader, &ask, &decision, &seed);
        do_after(HOST_AFTER, reader, NOW, &seed);
        if (turn % 32 == 0) {
            /* A failure of the host's: this thread's alone, and nothing is served. */
            ask.check_in.serial = otagate_text_of("lamp-240");
            ask.check_in.key = otagate_text_of(KEY);
            CHECK(otagate_reader_decide(reader, &ask.check_in, NOW, &decision) == OTAGATE_ERROR_STORE, "a store that fails");
            CHECK(decision.status == 401 && decision.reason == 0 && decision.revision == 0, "a failure that decides");
            CHECK(otagate_last_store_code() == FAILING, "the store code of another");
            add(&refusals, 1);
            check_own_error(reader, &ask.check_in, me);
            CHECK(otagate_last_store_code() == 0, "the store code of an earlier call");
        }
        if (turn % 64 == 0) {
            ask.check_in.serial = otagate_text_of("lamp-3");
            check_explanation(reader, NULL, &ask.check_in, turn % 128 == 0 ? OTAGATE_FORMAT_TEXT : OTAGATE_FORMAT_JSON);
        }
        if (turn % 128 == 0) {
            mine = trade(STORES, mine, &seed);
            reader = trade_reader(HOST_READER, reader, mine, &seed);
        }
    }
    /* The reader stays behind on a shelf: it outlives the store handle, and this thread. */
    otagate_store_free(mine);
    otagate_reader_free(exchange(HOST_READER, reader, &seed));
    return NULL;
}

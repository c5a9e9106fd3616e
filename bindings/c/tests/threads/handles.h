/* Handles, which go from thread to thread. A part of threads.c. */

enum kind { LAMPS, BULBS_FLEET, STORES, LEDGERS, LAMP_READER, HOST_READER, HOST_AFTER, BULB_AFTER, KINDS };
static void *shelves[KINDS][SHELVES];

static void free_handle(enum kind kind, void *handle) {
    switch (kind) {
    case LAMPS:
    case BULBS_FLEET: otagate_fleet_free(handle); break;
    case STORES: otagate_store_free(handle); break;
    case LEDGERS: otagate_ledger_free(handle); break;
    case HOST_AFTER:
    case BULB_AFTER: otagate_after_free(handle); break;
    default: otagate_reader_free(handle);
    }
}

/* Another handle on the same; of a fleet or a store also a reader, made by way of a handle that is gone before it is used. */
static void *another(enum kind kind, const void *handle) {
    void *made = NULL;
    otagate_fleet *fleet = NULL;
    otagate_store *host = NULL;
    add(&clones, 1);
    switch (kind) {
    case LAMPS:
    case BULBS_FLEET: OK(otagate_fleet_clone(handle, (otagate_fleet **)&made)); break;
    case STORES: OK(otagate_store_clone(handle, (otagate_store **)&made)); break;
    case LEDGERS: OK(otagate_ledger_clone(handle, (otagate_ledger **)&made)); break;
    case LAMP_READER:
        OK(otagate_fleet_clone(handle, &fleet));
        OK(otagate_reader_new(fleet, (otagate_reader **)&made));
        otagate_fleet_free(fleet);
        break;
    default:
        OK(otagate_store_clone(handle, &host));
        OK(otagate_reader_new_of_store(host, (otagate_reader **)&made));
        otagate_store_free(host);
    }
    return made;
}

/* Leaves a handle on a shelf, and takes what lay there, whoever made it. Only what comes after an answer may lie on none. */
static void *exchange(enum kind kind, void *handle, uint32_t *seed) {
    return __atomic_exchange_n(&shelves[kind][draw(seed, SHELVES)], handle, __ATOMIC_ACQ_REL);
}

/* Frees a handle, and comes away with another thread's; a new one of it stays in its place. */
static void *trade(enum kind kind, void *handle, uint32_t *seed) {
    void *fresh = another(kind, handle);
    free_handle(kind, handle);
    return exchange(kind, fresh, seed);
}

/* Readers go round as they are; now and then one is freed by whom it came to, and a new one goes on. */
static otagate_reader *trade_reader(enum kind kind, otagate_reader *reader, const void *handle, uint32_t *seed) {
    otagate_reader *found = exchange(kind, reader, seed);
    if (draw(seed, 2) == 0) {
        return found;
    }
    otagate_reader_free(found);
    return another(kind, handle);
}

/* What comes after the answer goes round too: mostly it is another's that is done here, whose reader has decided others since. */
static void do_after(enum kind kind, otagate_reader *reader, int64_t now, uint32_t *seed) {
    otagate_after *after = NULL, *again = NULL;
    OK(otagate_reader_after(reader, &after));
    OK(otagate_reader_after(reader, &again));
    CHECK(again == NULL, "what is left to do is given out twice");
    after = exchange(kind, after, seed);
    OK(otagate_after_answer(after, now));
    OK(otagate_after_answer(after, now));
    otagate_after_free(after);
}

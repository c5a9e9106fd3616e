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

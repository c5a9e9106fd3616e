/*
 * otagate for C++: otagate.h with destructors, exceptions and owned texts. C++11 or later; header only, linked like C.
 *
 *     otagate::fleet fleet(json);
 *     otagate::reader reader(fleet);                          // one per thread
 *     otagate::check_in ask;
 *     ask.key = "secret"; ask.serial = "A4:CF:12:34:56:78"; ask.version = "1.9.0";
 *     otagate::decision told = reader.decide(ask, now_millis);
 *     if (told.served) send(told.served->locator);
 *
 * What holds here, besides the rules of otagate.h:
 *
 * - Lifetimes. A decision owns everything that it says, its offer and effect included: keep it, copy it, move it to another thread. It
 *   copies a few short texts for that; who counts nanoseconds calls the C functions with `reader.get()`. Only `text_view` points into
 *   what is another's: as a parameter, for the length of the call.
 * - Handles (fleet, ledger, store, reader, after) can be moved, not copied; `clone()`, where there is one, is another handle on the same thing. One that was moved
 *   from is good for nothing but to be assigned to or destroyed.
 * - Errors are exceptions: `otagate::error`, with the code and the words. A verdict is a result: 401 throws nothing. Whatever is
 *   thrown, serve nothing.
 * - A store of the host's own is a class. What it throws does not pass through the library: it is kept aside, the decision fails, and
 *   the caller of `decide` gets it, the very exception, on its thread.
 * - Threads. Fleets, ledgers and stores may be used by all at once, a reader by one at a time.
 */

#ifndef OTAGATE_HPP
#define OTAGATE_HPP

#include "otagate.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>
#if __cplusplus >= 201703L
#include <string_view>
#endif

namespace otagate {

/// Bytes of somebody else, such as a text for the length of a call. Converts from and to `std::string`, and in C++17 `std::string_view`.
class text_view {
public:
    text_view() noexcept : text_(otagate_text_of(nullptr)) {}
    text_view(const char *text) noexcept : text_(otagate_text_of(text)) {}
    text_view(const char *data, std::size_t size) noexcept : text_(otagate_text_of(nullptr)) {
        text_.data = data;
        text_.len = data == nullptr ? 0 : size;
    }
    text_view(const std::string &text) noexcept : text_view(text.data(), text.size()) {}
    text_view(otagate_text text) noexcept : text_(text) {}

    const char *data() const noexcept { return text_.data; }
    std::size_t size() const noexcept { return text_.len; }
    bool empty() const noexcept { return text_.len == 0; }
    std::string str() const { return empty() ? std::string() : std::string(text_.data, text_.len); }
    operator std::string() const { return str(); }
    otagate_text c() const noexcept { return text_; }
#if __cplusplus >= 201703L
    text_view(std::string_view text) noexcept : text_view(text.data(), text.size()) {}
    operator std::string_view() const noexcept { return {text_.data, text_.len}; }
#endif

private:
    otagate_text text_;
};

/// What the library refused, and why: its code, `OTAGATE_ERROR_...`, and its words, several problems on several lines.
class error : public std::runtime_error {
public:
    error(std::int32_t code, const std::string &words) : std::runtime_error(words), code_(code) {}
    std::int32_t code() const noexcept { return code_; }
    const char *name() const noexcept { return otagate_code_name(code_); }

private:
    std::int32_t code_;
};

namespace detail {

struct free_handle {
    void operator()(otagate_fleet *fleet) const noexcept { otagate_fleet_free(fleet); }
    void operator()(otagate_ledger *ledger) const noexcept { otagate_ledger_free(ledger); }
    void operator()(otagate_store *store) const noexcept { otagate_store_free(store); }
    void operator()(otagate_reader *reader) const noexcept { otagate_reader_free(reader); }
    void operator()(otagate_after *after) const noexcept { otagate_after_free(after); }
    void operator()(otagate_string *string) const noexcept { otagate_string_free(string); }
};

template <typename T>
using handle = std::unique_ptr<T, free_handle>;

/// A handle that the library made is taken over as it is.
struct adopted {};

/// What a host's store threw on this thread, until the call of the library that it failed is back.
inline std::exception_ptr &thrown() noexcept {
    static thread_local std::exception_ptr kept;
    return kept;
}

inline std::string last_error() {
    std::string words(otagate_last_error(nullptr, 0), '\0');
    // With room for the NUL, which a string has behind its end.
    if (!words.empty()) otagate_last_error(&words[0], words.size() + 1);
    return words;
}

inline void check(std::int32_t code) {
    if (code != OTAGATE_OK) throw error(code, last_error());
}

/// Calls a function that may call back into a host's store.
template <typename Call>
void check_store(Call call) {
    thrown() = nullptr;
    const std::int32_t code = call();
    if (code == OTAGATE_OK) return;
    std::exception_ptr own;
    std::swap(own, thrown());
    if (own && (code == OTAGATE_ERROR_STORE || code == OTAGATE_ERROR_GARBAGE)) std::rethrow_exception(own);
    check(code);
}

inline std::string hex(const std::uint8_t *bytes, std::size_t size) {
    std::string text;
    for (std::size_t at = 0; at < size; at++) {
        text += "0123456789abcdef"[bytes[at] >> 4];
        text += "0123456789abcdef"[bytes[at] & 15];
    }
    return text;
}

/// The text that a function makes, which takes a place for it.
template <typename Call>
std::string string_of(Call call) {
    otagate_string *made = nullptr;
    const std::int32_t code = call(&made);
    const handle<otagate_string> owner(made);
    check(code);
    return std::string(otagate_string_data(made), otagate_string_len(made));
}

} // namespace detail

/// One question by one device. Fields may be any bytes. A thread that keeps its check-in and assigns to the fields allocates nothing.
struct check_in {
    std::string key, serial, version, hardware;
    std::string digest_hex; ///< of the image that runs, or the config or resource that it holds; see `digest_kind`
    std::string resource;   ///< its name, for OTAGATE_WANT_RESOURCE
    std::int32_t want = OTAGATE_WANT_FIRMWARE;
    std::int32_t digest_kind = OTAGATE_DIGEST_NONE;

    /// The same as C has it; points at these texts.
    otagate_check_in c() const noexcept {
        otagate_check_in made = otagate_check_in_init();
        made.key = text_view(key).c();
        made.serial = text_view(serial).c();
        made.version = text_view(version).c();
        made.hardware = text_view(hardware).c();
        made.digest_hex = text_view(digest_hex).c();
        made.resource = text_view(resource).c();
        made.want = want;
        made.digest_kind = digest_kind;
        return made;
    }
};

/// Digests of one file.
struct digests : otagate_digests {
    explicit digests(const otagate_digests &held) noexcept : otagate_digests(held) {}
    /// `kind` is OTAGATE_DIGEST_...
    bool has(std::uint32_t kind) const noexcept { return (kinds & kind) != 0; }
    /// In lower-case hex, as a header has it; empty where it is not known.
    std::string hex(std::uint32_t kind) const {
        const std::uint8_t *bytes = kind == OTAGATE_DIGEST_BLAKE3 ? blake3 : kind == OTAGATE_DIGEST_SHA256 ? sha256 : md5;
        const std::size_t size = kind == OTAGATE_DIGEST_MD5 ? sizeof md5 : sizeof blake3;
        return detail::hex(bytes, has(kind) ? size : 0);
    }
};

/// One resource of a list.
struct resource {
    std::string name, locator;
    std::uint64_t size_bytes;
    otagate::digests digests;
};

/// What is served; see otagate_offer.
struct offer {
    std::int32_t kind; ///< OTAGATE_OFFER_...
    bool leased;       ///< it continues an offer that was made before
    std::string firmware, from, locator, document, name, rollout;
    std::uint64_t size_bytes;
    std::int64_t rollout_started_at_millis; ///< with `rollout` and `attempt`: where a report of it belongs
    std::uint32_t attempt;
    otagate::digests digests;
    std::vector<resource> resources; ///< of OTAGATE_OFFER_RESOURCES
};

/// What the host must do besides answering; see otagate_effect.
struct effect {
    std::int32_t kind; ///< OTAGATE_EFFECT_...
    bool settled;
    std::string product, serial, rollout;
    std::int64_t slots_max, downloads_max;
};

/// The one answer to a check-in. It owns what it says.
struct decision {
    std::int32_t status = OTAGATE_STATUS_UNAUTHORIZED; ///< OTAGATE_STATUS_..., which are HTTP statuses
    std::int32_t reason = OTAGATE_REASON_NONE;         ///< OTAGATE_REASON_...; for logs, never for the device
    std::uint64_t revision = 0;
    std::int64_t retry_after_secs = -1; ///< -1: not known
    std::string meant;                  ///< never a withheld target; empty where question 6 was not reached
    std::shared_ptr<const offer> served; ///< null unless the status is OTAGATE_STATUS_SERVE; after a batch too
    std::shared_ptr<const otagate::effect> effect; ///< null where there is nothing to do; after a batch too

    const char *reason_name() const noexcept { return otagate_reason_name(reason); }
};

/// A device, for `fleet::add_devices`. A `std::string` has no NULL, so an empty version or hardware is one that is not known.
struct device {
    std::string serial, group, version, hardware;
    std::int64_t entered_at_millis = 0;
    std::int32_t state = OTAGATE_DEVICE_NEW;
};

/// Whom a decision is about.
struct who {
    std::string product; ///< empty: nobody has the key
    std::string serial;  ///< the canonical one; empty: the product has no such device
    std::string group;
    std::int32_t state = -1; ///< OTAGATE_DEVICE_...; -1 where there is no device
};

/// Which bytes of a file are asked for.
struct range {
    std::int32_t kind; ///< OTAGATE_RANGE_...
    std::uint64_t first, last; ///< of OTAGATE_RANGE_PART, both included
};

/// Reads a `Range` header, of a file of that size; empty: there is none.
inline range parse_range(text_view header, std::uint64_t size_bytes) {
    range made = {OTAGATE_RANGE_UNSATISFIABLE, 0, 0};
    detail::check(otagate_parse_range(header.data(), header.size(), size_bytes, &made.kind, &made.first, &made.last));
    return made;
}

/// The BLAKE3 of an API key in hex, as a product's `keys` have it.
inline std::string key_hash(text_view key) {
    std::uint8_t hash[32];
    detail::check(otagate_key_hash(key.data(), key.size(), hash));
    return detail::hex(hash, sizeof hash);
}

/// What became of an offer (R9), of the device's latest attempt.
struct report {
    std::string product, serial;
    std::string group;   ///< empty: that which the device is in now
    std::string rollout; ///< as the offer said; empty: that of the group
    std::int64_t rollout_started_at_millis = OTAGATE_NEVER; ///< as the offer said: it is noted in that run, whatever the group's is by now
    std::uint32_t attempt = 0; ///< as the offer said; 0: the latest
    std::int32_t outcome = OTAGATE_OUTCOME_DOWNLOADED;
};

/// The ledger of one process, in memory: claims, outcomes and leases.
class ledger {
public:
    /// With leases for as many devices as download at a time.
    explicit ledger(std::uint32_t leases_max) {
        otagate_ledger *made = nullptr;
        detail::check(otagate_ledger_new(leases_max, &made));
        handle_.reset(made);
    }
    static ledger from_json(text_view rows, std::uint32_t leases_max) {
        otagate_ledger *made = nullptr;
        detail::check(otagate_ledger_from_json(rows.data(), rows.size(), leases_max, &made));
        return ledger(detail::adopted(), made);
    }
    ledger clone() const {
        otagate_ledger *made = nullptr;
        detail::check(otagate_ledger_clone(get(), &made));
        return ledger(detail::adopted(), made);
    }
    /// Everything but the leases, to be kept over a restart.
    std::string to_json() const {
        return detail::string_of([this](otagate_string **rows) { return otagate_ledger_to_json(get(), rows); });
    }
    /// Forgets a rollout that is over.
    void forget(text_view product, text_view group, text_view rollout, std::int64_t started_at_millis) const {
        detail::check(otagate_ledger_forget(get(), product.data(), product.size(), group.data(), group.size(), rollout.data(),
                                            rollout.size(), started_at_millis));
    }
    otagate_ledger *get() const noexcept { return handle_.get(); }

private:
    ledger(detail::adopted, otagate_ledger *made) noexcept : handle_(made) {}
    detail::handle<otagate_ledger> handle_;
};

/// A fleet in memory. Every function may be called from any thread, several at once; the next decision of each reader sees a change.
class fleet {
public:
    /// Of its JSON; empty is a fleet without products.
    explicit fleet(text_view spec) {
        otagate_fleet *made = nullptr;
        detail::check(otagate_fleet_new(spec.data(), spec.size(), &made));
        handle_.reset(made);
    }
    /// Of its file; `notes`, if not null, gets what otagate_fleet_load says there, in that OTAGATE_FORMAT_...
    static fleet load(text_view path, std::int64_t now_millis, std::string *notes = nullptr, int format = OTAGATE_FORMAT_TEXT) {
        fleet loaded(detail::adopted(), nullptr);
        std::string said = detail::string_of([&](otagate_string **into) {
            otagate_fleet *made = nullptr;
            const std::int32_t code = otagate_fleet_load(path.data(), path.size(), now_millis, format, &made, into);
            loaded.handle_.reset(made);
            return code;
        });
        if (notes != nullptr) *notes = std::move(said);
        return loaded;
    }
    fleet clone() const {
        otagate_fleet *made = nullptr;
        detail::check(otagate_fleet_clone(get(), &made));
        return fleet(detail::adopted(), made);
    }
    /// Reads its file anew, over what is held; gives the notes.
    std::string reload(text_view path, std::int64_t now_millis, int format = OTAGATE_FORMAT_TEXT) const {
        return detail::string_of([&](otagate_string **into) {
            return otagate_fleet_reload(get(), path.data(), path.size(), now_millis, format, into);
        });
    }
    /// Applies changes, a JSON array or a single one, whole or not at all; gives the revision.
    std::uint64_t apply(text_view changes) const {
        std::uint64_t revision = 0;
        detail::check(otagate_fleet_apply(get(), changes.data(), changes.size(), &revision));
        return revision;
    }
    /// Adds devices that are not there yet, all or none; gives the revision.
    std::uint64_t add_devices(text_view product, const std::vector<otagate::device> &devices) const {
        std::vector<otagate_device> rows;
        rows.reserve(devices.size());
        for (const otagate::device &each : devices) {
            otagate_device row = otagate_device_init();
            row.serial = text_view(each.serial).c();
            row.group = text_view(each.group).c();
            if (!each.version.empty()) row.version = text_view(each.version).c();
            if (!each.hardware.empty()) row.hardware = text_view(each.hardware).c();
            row.entered_at_millis = each.entered_at_millis;
            row.state = each.state;
            rows.push_back(row);
        }
        std::uint64_t revision = 0;
        detail::check(otagate_fleet_add_devices(get(), product.data(), product.size(), rows.data(), rows.size(), &revision));
        return revision;
    }
    /// One device as JSON, as it stands in `put-device`.
    std::string device(text_view product, text_view serial) const {
        return detail::string_of([&](otagate_string **into) {
            return otagate_fleet_device(get(), product.data(), product.size(), serial.data(), serial.size(), into);
        });
    }
    /// Drops old revisions that no reader holds any more; gives how many are still held.
    std::size_t reclaim() const {
        std::size_t held = 0;
        detail::check(otagate_fleet_reclaim(get(), &held));
        return held;
    }
    /// Replaces the whole by one of a higher revision, or with `force` of any.
    void replace(text_view spec, bool force = false) const {
        detail::check(otagate_fleet_replace(get(), spec.data(), spec.size(), force ? 1 : 0));
    }
    std::uint64_t revision() const {
        std::uint64_t revision = 0;
        detail::check(otagate_fleet_revision(get(), &revision));
        return revision;
    }
    std::string to_json() const {
        return detail::string_of([this](otagate_string **spec) { return otagate_fleet_to_json(get(), spec); });
    }
    std::string lint(std::int64_t now_millis) const {
        return detail::string_of([&](otagate_string **lints) { return otagate_fleet_lint(get(), now_millis, lints); });
    }
    /// How often each reason was given, by its number; of one product, or of all.
    std::vector<std::uint64_t> verdicts(text_view product = text_view()) const {
        std::vector<std::uint64_t> counts(OTAGATE_REASONS_MAX);
        detail::check(otagate_fleet_verdicts(get(), product.data(), product.size(), counts.data(), counts.size()));
        return counts;
    }
    otagate_census census(text_view product, text_view group, std::size_t wave) const {
        otagate_census counted = otagate_census_init();
        detail::check(otagate_fleet_census(get(), product.data(), product.size(), group.data(), group.size(), wave, &counted));
        return counted;
    }
    /// Moves rollouts on that are due; gives what was, in that format. To be called on a timer.
    std::string advance(const ledger &held, std::int64_t now_millis, int format = OTAGATE_FORMAT_TEXT) const {
        return detail::string_of([&](otagate_string **moved) {
            return otagate_fleet_advance(get(), held.get(), now_millis, format, moved);
        });
    }
    /// Takes down what became of an offer; gives OTAGATE_NOTED_...
    std::int32_t report(const ledger &held, const otagate::report &about, std::int64_t now_millis) const {
        otagate_report row = otagate_report_init();
        row.product = text_view(about.product).c();
        row.group = text_view(about.group).c();
        row.serial = text_view(about.serial).c();
        row.rollout = text_view(about.rollout).c();
        row.rollout_started_at_millis = about.rollout_started_at_millis;
        row.attempt = about.attempt;
        row.outcome = about.outcome;
        std::int32_t noted = 0;
        detail::check(otagate_fleet_report(get(), held.get(), &row, now_millis, &noted));
        return noted;
    }
    /// The account of the rollout of a group, as JSON.
    std::string statistics(const ledger &held, text_view product, text_view group) const {
        return detail::string_of([&](otagate_string **into) {
            return otagate_ledger_statistics(held.get(), get(), product.data(), product.size(), group.data(), group.size(), into);
        });
    }
    otagate_fleet *get() const noexcept { return handle_.get(); }

private:
    fleet(detail::adopted, otagate_fleet *made) noexcept : handle_(made) {}
    detail::handle<otagate_fleet> handle_;
};

/// Where a look-up puts what it found; only inside the function that it was given to. To put in nothing is to find nothing.
class found {
public:
    explicit found(otagate_found *into) noexcept : into_(into) {}
    /// A product or a group in that edition: false, if its document is to be put in, since the library has it in another.
    bool known(text_view name, std::uint64_t edition) const {
        const std::int32_t code = otagate_found_known(into_, name.data(), name.size(), edition);
        if (code != OTAGATE_WANTED) detail::check(code);
        return code != OTAGATE_WANTED;
    }
    void document(text_view name, std::uint64_t edition, text_view document) const {
        detail::check(otagate_found_document(into_, name.data(), name.size(), edition, document.data(), document.size()));
    }
    void device(const otagate_device &row) const { detail::check(otagate_found_device(into_, &row)); }
    void standing(const otagate_standing &row) const { detail::check(otagate_found_standing(into_, &row)); }

private:
    otagate_found *into_;
};

/// One state of a host's store, such as a read transaction, which ends with it. It is used by one thread, the one that opened it. Its
/// functions may throw: then nothing is served. Texts they are given live through the call.
class view {
public:
    view() = default;
    view(const view &) = delete;
    view &operator=(const view &) = delete;
    virtual ~view() = default; ///< must not throw

    /// Which state it is; only grows.
    virtual std::uint64_t revision() = 0;
    /// The product that has the key of this BLAKE3, 32 bytes: `known`, and where that says no, `document`.
    virtual void product_of_key(const std::uint8_t *key_hash, const found &into) = 0;
    /// The device: `device`. On an unknown key it is asked for a product that is none: do the same work.
    virtual void device(text_view product, text_view serial, const found &into) = 0;
    /// The group: as a product. Not called in a store of `groups_in::products`.
    virtual void group(text_view product, text_view group, const found &into) = 0;
    /// What the host's own ledger holds: `standing`.
    virtual void standing(text_view product, text_view group, text_view serial, const found &into) {
        (void)product, (void)group, (void)serial, (void)into;
    }
};

/// A store of the host's own. Its functions are called from every thread that decides, several at once, and may throw.
class host_store {
public:
    host_store() = default;
    host_store(const host_store &) = delete;
    host_store &operator=(const host_store &) = delete;
    virtual ~host_store() = default; ///< called once, when the last handle and reader are gone; must not throw

    virtual std::unique_ptr<view> open_view() = 0;
    /// Registers a device as `new` in the product's default group, outside of any view; the limit is kept in one step. Gives
    /// OTAGATE_REGISTERED_...
    virtual std::int32_t register_device(text_view product, text_view serial, std::int64_t at_millis) {
        (void)product, (void)serial, (void)at_millis;
        return OTAGATE_REGISTERED_REFUSED;
    }
};

namespace detail {

/// What the library is told where a host's store threw; who called it gets what was thrown.
constexpr std::int32_t threw = -1;

/// No exception leaves this: it would pass through frames that are not C++.
template <typename Call>
std::int32_t guarded(Call call) noexcept {
    try {
        call();
        return 0;
    } catch (...) {
        thrown() = std::current_exception();
        return threw;
    }
}

} // namespace detail

/* With C linkage, as the callbacks' types have it. */
extern "C" {

inline void otagate_hpp_destroy(void *user_data) { delete static_cast<host_store *>(user_data); }

inline std::int32_t otagate_hpp_open_view(void *user_data, void **opened, std::uint64_t *revision) {
    return detail::guarded([=] {
        std::unique_ptr<view> made = static_cast<host_store *>(user_data)->open_view();
        if (!made) throw std::logic_error("open_view() gave no view");
        *revision = made->revision();
        *opened = made.release();
    });
}

inline void otagate_hpp_close_view(void *, void *opened) { delete static_cast<view *>(opened); }

inline std::int32_t otagate_hpp_product_of_key(void *, void *opened, const std::uint8_t *key_hash, otagate_found *into) {
    return detail::guarded([=] { static_cast<view *>(opened)->product_of_key(key_hash, found(into)); });
}

inline std::int32_t otagate_hpp_device(void *, void *opened, const char *product, std::size_t product_len, const char *serial,
                                       std::size_t serial_len, otagate_found *into) {
    return detail::guarded([=] {
        static_cast<view *>(opened)->device(text_view(product, product_len), text_view(serial, serial_len), found(into));
    });
}

inline std::int32_t otagate_hpp_group(void *, void *opened, const char *product, std::size_t product_len, const char *group,
                                      std::size_t group_len, otagate_found *into) {
    return detail::guarded([=] {
        static_cast<view *>(opened)->group(text_view(product, product_len), text_view(group, group_len), found(into));
    });
}

inline std::int32_t otagate_hpp_standing(void *, void *opened, const char *product, std::size_t product_len, const char *group,
                                         std::size_t group_len, const char *serial, std::size_t serial_len, otagate_found *into) {
    return detail::guarded([=] {
        static_cast<view *>(opened)->standing(text_view(product, product_len), text_view(group, group_len),
                                              text_view(serial, serial_len), found(into));
    });
}

inline std::int32_t otagate_hpp_register_device(void *user_data, const char *product, std::size_t product_len, const char *serial,
                                                std::size_t serial_len, std::int64_t at_millis, std::int32_t *registered) {
    return detail::guarded([=] {
        *registered = static_cast<host_store *>(user_data)->register_device(text_view(product, product_len),
                                                                            text_view(serial, serial_len), at_millis);
    });
}

} // extern "C"

/// Where a store has its groups: behind `view::group`, or in the documents of products.
enum class groups_in { view, products };

/// A handle on a store of the host's own.
class store {
public:
    explicit store(std::unique_ptr<host_store> host, groups_in groups = groups_in::view) {
        if (!host) throw error(OTAGATE_ERROR_NULL, "a store needs a host");
        otagate_store_callbacks table = otagate_store_callbacks_init();
        table.user_data = host.get();
        table.destroy = otagate_hpp_destroy;
        table.open_view = otagate_hpp_open_view;
        table.close_view = otagate_hpp_close_view;
        table.product_of_key = otagate_hpp_product_of_key;
        table.device = otagate_hpp_device;
        table.group = groups == groups_in::view ? otagate_hpp_group : nullptr;
        table.standing = otagate_hpp_standing;
        table.register_device = otagate_hpp_register_device;
        otagate_store *made = nullptr;
        detail::check(otagate_store_new(&table, &made));
        host.release(); // the library's now: `destroy` deletes it
        handle_.reset(made);
    }
    store clone() const {
        otagate_store *made = nullptr;
        detail::check(otagate_store_clone(get(), &made));
        return store(detail::adopted(), made);
    }
    otagate_store *get() const noexcept { return handle_.get(); }

private:
    store(detail::adopted, otagate_store *made) noexcept : handle_(made) {}
    detail::handle<otagate_store> handle_;
};

/// What is left to do about one decision, for when its answer is sent. It stands by itself: its reader may decide others, or be gone
/// before it. Every function may be called from any thread, several at once; where nothing is left, each does nothing.
class after {
public:
    after() noexcept = default; ///< nothing is left
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// The answer is sent: registers the device, notes that it has arrived and what it reported. What failed is done by the next call.
    void answer(std::int64_t now_millis) const {
        detail::check_store([&] { return otagate_after_answer(get(), now_millis); });
    }
    /// The last byte of what is served is sent: its lease ends `grace_secs` from now. Gives OTAGATE_NOTED_...
    std::int32_t last_byte(std::uint32_t grace_secs, std::int64_t now_millis) const {
        std::int32_t noted = OTAGATE_NOTED_FOREIGN;
        detail::check(otagate_after_last_byte(get(), grace_secs, now_millis, &noted));
        return noted;
    }
    otagate_after *get() const noexcept { return handle_.get(); }

private:
    friend class reader;
    detail::handle<otagate_after> handle_;
};

/// One thread's place at the gate. It keeps its fleet or store alive.
class reader {
public:
    explicit reader(const fleet &of) {
        otagate_reader *made = nullptr;
        detail::check(otagate_reader_new(of.get(), &made));
        handle_.reset(made);
    }
    explicit reader(const store &of) {
        otagate_reader *made = nullptr;
        detail::check(otagate_reader_new_of_store(of.get(), &made));
        handle_.reset(made);
    }

    /// Decides; a host with a ledger of its own carries out a claim, and where that is refused gives what `refuse` says.
    decision decide(const check_in &ask, std::int64_t now_millis) {
        otagate_decision told = otagate_decision_init();
        const otagate_check_in row = ask.c();
        detail::check_store([&] { return otagate_reader_decide(get(), &row, now_millis, &told); });
        return owned(told, true);
    }
    /// Decides with a ledger: claims and leases what it offers. What comes after the answer, and the last byte, is in `take_after`.
    decision attend(const ledger &held, const check_in &ask, std::uint32_t lease_secs, std::int64_t now_millis) {
        otagate_decision told = otagate_decision_init();
        const otagate_check_in row = ask.c();
        detail::check_store([&] { return otagate_reader_attend(get(), held.get(), &row, lease_secs, now_millis, &told); });
        return owned(told, true);
    }
    /// Decides many, of a fleet all from one revision; without offers and effects, which are asked for one by one.
    std::vector<decision> decide_many(const std::vector<check_in> &asks, std::int64_t now_millis) {
        std::vector<otagate_check_in> rows;
        rows.reserve(asks.size());
        for (const check_in &ask : asks) rows.push_back(ask.c());
        std::vector<otagate_decision> told(asks.size(), otagate_decision_init());
        detail::check_store(
            [&] { return otagate_reader_decide_many(get(), rows.data(), now_millis, told.data(), told.size()); });
        std::vector<decision> all;
        all.reserve(told.size());
        for (const otagate_decision &each : told) all.push_back(owned(each, false));
        return all;
    }
    /// What to answer instead of the last decision, where the host's own ledger refuses its claim: OTAGATE_REFUSED_...
    decision refuse(std::int32_t refused) {
        otagate_decision told = otagate_decision_init();
        detail::check(otagate_reader_refuse(get(), refused, &told));
        return owned(told, false);
    }
    /// Who is it, and may it ask? Questions 1 to 4 alone. Null where it may; else the 401 to give.
    std::unique_ptr<decision> identify(const check_in &ask, std::int64_t now_millis) {
        otagate_decision told = otagate_decision_init();
        const otagate_check_in row = ask.c();
        std::int32_t may_ask = 0;
        detail::check_store([&] { return otagate_reader_identify(get(), &row, now_millis, &may_ask, &told); });
        return may_ask == 1 ? nullptr : std::unique_ptr<decision>(new decision(owned(told, true)));
    }
    /// Takes down what a device tells of what it was offered, OTAGATE_OUTCOME_..., if it may ask; gives OTAGATE_NOTED_...
    std::int32_t report(const ledger &held, const check_in &ask, std::int32_t outcome, std::int64_t now_millis) {
        const otagate_check_in row = ask.c();
        std::int32_t noted = OTAGATE_NOTED_FOREIGN;
        detail::check_store([&] { return otagate_reader_report(get(), held.get(), &row, outcome, now_millis, &noted); });
        return noted;
    }
    /// Whom the last `attend` or `identify` was about.
    otagate::who who() {
        otagate_who held = otagate_who_init();
        detail::check(otagate_reader_who(get(), &held));
        otagate::who made;
        made.product = text_view(held.product).str();
        made.serial = text_view(held.serial).str();
        made.group = text_view(held.group).str();
        made.state = held.state;
        return made;
    }
    /// Takes away what the last decision leaves to do; a second call finds nothing left.
    after take_after() {
        otagate_after *left = nullptr;
        detail::check(otagate_reader_after(get(), &left));
        after made;
        made.handle_.reset(left);
        return made;
    }

    /// Every question that was asked, by the same code that decides; OTAGATE_FORMAT_... `held` may be null.
    std::string explain(const check_in &ask, std::int64_t now_millis, int format, const ledger *held = nullptr) {
        const otagate_check_in row = ask.c();
        otagate_string *made = nullptr;
        detail::check_store([&] {
            return otagate_reader_explain(get(), held == nullptr ? nullptr : held->get(), &row, now_millis, format, &made);
        });
        const detail::handle<otagate_string> owner(made);
        return std::string(otagate_string_data(made), otagate_string_len(made));
    }
    otagate_reader *get() const noexcept { return handle_.get(); }

private:
    /// Copies what points into the reader, at once: nothing that does is ever handed out.
    decision owned(const otagate_decision &told, bool whole) {
        decision made;
        made.status = told.status;
        made.reason = told.reason;
        made.revision = told.revision;
        made.retry_after_secs = told.retry_after_secs;
        made.meant = text_view(told.meant).str();
        if (whole && told.offer != OTAGATE_OFFER_NONE) made.served = offered();
        if (whole && told.effect != OTAGATE_EFFECT_NONE) made.effect = wanted();
        return made;
    }
    std::shared_ptr<const offer> offered() {
        otagate_offer held = otagate_offer_init();
        detail::check(otagate_reader_offer(get(), &held));
        std::vector<resource> resources;
        for (std::size_t at = 0; at < held.resources_len; at++) {
            otagate_resource each = otagate_resource_init();
            detail::check(otagate_reader_resource(get(), at, &each));
            resources.push_back({text_view(each.name), text_view(each.locator), each.size_bytes, digests(each.digests)});
        }
        return std::make_shared<const offer>(offer{held.kind, held.leased != 0, text_view(held.firmware), text_view(held.from),
                                                   text_view(held.locator), text_view(held.document), text_view(held.name),
                                                   text_view(held.rollout), held.size_bytes, held.rollout_started_at_millis,
                                                   held.attempt, digests(held.digests),
                                                   std::move(resources)});
    }
    std::shared_ptr<const effect> wanted() {
        otagate_effect held = otagate_effect_init();
        detail::check(otagate_reader_effect(get(), &held));
        return std::make_shared<const effect>(effect{held.kind, held.settled != 0, text_view(held.product), text_view(held.serial),
                                                     text_view(held.rollout), held.slots_max, held.downloads_max});
    }
    detail::handle<otagate_reader> handle_;
};

} // namespace otagate

#endif // OTAGATE_HPP

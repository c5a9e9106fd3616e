/*
 * From C++: a fleet, a check-in, a decision; and a store of the host's own, which throws. C++11 or later.
 *
 *     c++ -std=c++11 decide.cpp $(pkg-config --cflags --libs otagate) -o decide && ./decide
 */
#include <otagate.hpp>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

const std::int64_t NOW = 1795428000000; // 2026-11-23T10:00:00Z; a server asks its clock

const std::string KEY = otagate::key_hash("secret"); // all that a fleet or a store holds of it

const std::string PRODUCT =
    R"("product": {"id": "lamp", "serial_scheme": "mac", "versions": {"scheme": "semver"}, "keys": [{"hash": ")" + KEY + R"("}]},
       "firmware": [{"version": "2.0.0", "artifacts": [{"size_bytes": 1048576, "locator": "lamp-2.0.0.bin",
         "digests": {"blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}}]}])";

const std::string GROUP = R"({"id": "stable", "firmware": "2.0.0"})";

otagate::check_in check_in(const std::string &serial, const std::string &version) {
    otagate::check_in ask;
    ask.key = "secret";
    ask.serial = serial;
    ask.version = version;
    return ask;
}

void tell(const std::string &serial, const std::string &version, const otagate::decision &told) {
    std::cout << serial << " " << version << ": " << told.status << " " << told.reason_name();
    if (told.served) {
        std::cout << " " << told.served->locator << ", " << told.served->size_bytes << " bytes";
    }
    std::cout << "\n";
}

void decide(otagate::reader &reader, const std::string &serial, const std::string &version) {
    tell(serial, version, reader.decide(check_in(serial, version), NOW));
}

// What a host's own client library would throw; otagate knows nothing of it.
class connection_lost : public std::runtime_error {
public:
    explicit connection_lost(const std::string &to) : std::runtime_error("the connection to " + to + " is lost") {}
};

// Rows of a database that may be out of reach. Here they never change, so that every thread may look at them at once.
struct rows {
    std::map<std::pair<std::string, std::string>, std::int32_t> states{{{"lamp", "a4cf12345678"}, OTAGATE_DEVICE_VERIFIED}};
    std::atomic<bool> reachable{true};
};

// One state of the rows. It would begin a read transaction, and end it in its destructor.
class rows_view : public otagate::view {
public:
    explicit rows_view(std::shared_ptr<rows> held) : rows_(std::move(held)) {}

    std::uint64_t revision() override { return 1; }

    void product_of_key(const std::uint8_t *key_hash, const otagate::found &into) override {
        otagate_digests asked = {};
        asked.kinds = OTAGATE_DIGEST_BLAKE3;
        std::copy(key_hash, key_hash + 32, asked.blake3);
        if (otagate::digests(asked).hex(OTAGATE_DIGEST_BLAKE3) != KEY) {
            return; // to find nothing is no error
        }
        if (!into.known("lamp", 1)) {
            into.document("lamp", 1, "{" + PRODUCT + "}");
        }
    }

    void device(otagate::text_view product, otagate::text_view serial, const otagate::found &into) override {
        if (!rows_->reachable) {
            throw connection_lost("the table of devices");
        }
        const auto row = rows_->states.find({product, serial});
        if (row != rows_->states.end()) {
            otagate_device device = otagate_device_init();
            device.serial = serial.c();
            device.group = otagate_text_of("stable");
            device.state = row->second;
            into.device(device);
        }
    }

    void group(otagate::text_view, otagate::text_view name, const otagate::found &into) override {
        if (name.str() == "stable" && !into.known("stable", 1)) {
            into.document("stable", 1, GROUP);
        }
    }

private:
    std::shared_ptr<rows> rows_;
};

class rows_store : public otagate::host_store {
public:
    explicit rows_store(std::shared_ptr<rows> held) : rows_(std::move(held)) {}
    std::unique_ptr<otagate::view> open_view() override { return std::unique_ptr<otagate::view>(new rows_view(rows_)); }

private:
    std::shared_ptr<rows> rows_;
};

void by_a_fleet() {
    const std::string spec = R"({"revision": 1, "products": [{)" + PRODUCT + R"(, "groups": [)" + GROUP + R"(],
        "devices": [{"serial": "a4cf12345678", "state": "verified", "group": "stable"}]}]})";
    const otagate::fleet fleet(spec);
    otagate::reader reader(fleet); // one per thread
    decide(reader, "A4:CF:12:34:56:78", "1.9.0");
    decide(reader, "A4:CF:12:34:56:78", "2.0.0");
    decide(reader, "00:00:5E:00:53:01", "1.9.0");
    try {
        fleet.apply(R"({"change": "assign-firmware", "product": "lamp", "group": "beta", "firmware": "2.0.0"})");
    } catch (const otagate::error &refused) {
        std::cout << refused.name() << ": " << refused.what() << "\n";
    }
    // A decision owns what it says: it may outlive its reader, and go to another thread.
    otagate::decision kept = reader.decide(check_in("A4:CF:12:34:56:78", "1.9.0"), NOW);
    reader = otagate::reader(fleet);
    tell("kept", "1.9.0", kept);
}

void by_a_store() {
    const auto held = std::make_shared<rows>();
    const otagate::store store(std::unique_ptr<otagate::host_store>(new rows_store(held)));
    otagate::reader reader(store);
    decide(reader, "A4:CF:12:34:56:78", "1.9.0");
    held->reachable = false;
    try {
        decide(reader, "A4:CF:12:34:56:78", "1.9.0");
    } catch (const connection_lost &lost) {
        std::cout << "503: " << lost.what() << "\n"; // what was thrown in there, and nothing was served
    }
    held->reachable = true;
    decide(reader, "A4:CF:12:34:56:78", "2.0.0");
}

} // namespace

int main() {
    try {
        by_a_fleet();
        by_a_store();
    } catch (const std::exception &failed) {
        std::cerr << failed.what() << "\n";
        return 1;
    }
}

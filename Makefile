# make demo        the main job, shown: a gateway asked by real HTTP for every verdict
# make serve       the same gateway, left running on 127.0.0.1:8080
# make test        everything: formatting, lints, docs, tests, in Rust, C and Python
# make python      the wheel and the source distribution, into target/python/dist, tested in fresh environments
# make install     the C library, header, pkg-config and CMake files; DESTDIR=, PREFIX=/usr/local,
#                  LIBDIR=lib, INCLUDEDIR=include; make uninstall takes them away
# make bench       figures into target/bench/summary.json; ONLY=decide runs one part
# make header      writes include/otagate.h anew, from bindings/c
# make bench-peers other engines asked the same, beside ours; a workspace of its own
# make miri fuzz   need nightly; they say what is missing
# make sanitize    the C face under load, in ThreadSanitizer and AddressSanitizer; needs nightly, says what is missing

CARGO ?= cargo
PYTHON ?= python3
BENCHES = decide load index rollout preview simulate stores c python
FUZZ_SECS ?= 60
FUZZ_TARGETS = check_in otadrive_request fleet_file version

.PHONY: demo serve test lint bench bench-peers miri fuzz clean

.DEFAULT_GOAL := demo
include bindings/c/library.mk

demo: examples
	target/release/examples/demo

serve: examples
	target/release/examples/demo --serve

.PHONY: examples
examples:
	$(CARGO) build --release --locked --all-features --example gateway --example demo

test: lint
	$(CARGO) test --locked --all-features --no-fail-fast
	$(CARGO) test --locked --no-fail-fast --lib
	$(CARGO) test --locked -p otagate-c --no-fail-fast
	$(PYTHON) bindings/python/check.py

.PHONY: python
python:
	$(PYTHON) bindings/python/check.py

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-features --all-targets -- -D warnings
	$(CARGO) clippy --locked -- -D warnings
	$(CARGO) clippy --locked -p otagate-c --all-features --all-targets -- -D warnings
	$(CARGO) clippy --locked -p otagate-python -- -D warnings
	$(CARGO) clippy --locked -p otagate-python --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --all-features --no-deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked -p otagate-c --lib --no-deps

bench:
	for part in $(or $(ONLY),$(BENCHES)); do \
		case $$part in c) $(MAKE) c && $(CARGO) bench --locked -p otagate-c --bench c;; stores) $(MAKE) examples && $(CARGO) bench --locked --all-features --bench stores;; python) $(PYTHON) bindings/python/check.py --bench;; *) $(CARGO) bench --locked --all-features --bench $$part;; esac || exit 1; \
	done

bench-peers:
	cd benches/peers && $(CARGO) run --release --locked

miri:
	@$(CARGO) +nightly miri --version >/dev/null 2>&1 || { echo "make miri needs nightly Rust with miri: rustup toolchain install nightly --component miri rust-src"; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=1 $(CARGO) +nightly miri test --locked --lib

fuzz:
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { echo "make fuzz needs nightly Rust and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz"; exit 1; }
	for target in $(FUZZ_TARGETS); do $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECS) || exit 1; done

clean:
	$(CARGO) clean

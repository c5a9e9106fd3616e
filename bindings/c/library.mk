# The C library: `make install` puts it where a C program looks for it. Included by the Makefile at the root.

PREFIX ?= /usr/local
LIBDIR ?= lib
INCLUDEDIR ?= include
C_TARGET_DIR = target
C_VERSION := $(shell sed -n 's/^version = "\(.*\)".*/\1/p' bindings/c/Cargo.toml | head -1)
# While the version is 0.x, every minor version is an ABI of its own: the soname, as in bindings/c/build.rs.
C_ABI := $(shell echo $(C_VERSION) | sed 's/^\(0\.[0-9]*\)\..*/\1/; t; s/\..*//')
# What a static program needs besides: what the Rust standard library calls.
C_PRIVATE_LIBS = -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

.PHONY: c header install uninstall

# Both libraries, built and named; what the tests and examples link with.
c:
	$(CARGO) build --release --locked -p otagate-c --target-dir $(C_TARGET_DIR)
	bindings/c/name-exports $(C_TARGET_DIR)/release/libotagate_c.a $(C_TARGET_DIR)/c/libotagate.a
	objcopy --strip-debug $(C_TARGET_DIR)/release/libotagate_c.so $(C_TARGET_DIR)/c/libotagate.so.$(C_VERSION)
	ln -sf libotagate.so.$(C_VERSION) $(C_TARGET_DIR)/c/libotagate.so.$(C_ABI)
	ln -sf libotagate.so.$(C_ABI) $(C_TARGET_DIR)/c/libotagate.so

header:
	OTAGATE_WRITE_HEADER=1 $(CARGO) test --locked -p otagate-c --test header the_committed_header

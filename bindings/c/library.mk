# The C library: `make install` puts it where a C program looks for it. Included by the Makefile at the root.

PREFIX ?= /usr/local
LIBDIR ?= lib
INCLUDEDIR ?= include
C_TARGET_DIR = target
C_VERSION := $(shell sed -n 's/^version = "\(.*\)".*/\1/p' bindings/c/Cargo.toml | head -1)
# While the version is 0.x, every minor version is an ABI of its own: the soname, as in bindings/c/build.rs.
C_ABI := $(shell echo $(C_VERSION) | sed 's/^\(0\.[0-9]*\)\..*/\1/; t; s/\..*//')
# What a static program needs besides: what rustc names for the Rust standard library, without -lgcc_s. The compiler adds that itself where it fits;
# `cc -static` would look for a libgcc_s.a, which does not exist.
C_PRIVATE_LIBS = -lutil -lrt -lpthread -lm -ldl -lc

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

# Where `make install` puts things. LIBDIR (`lib/x86_64-linux-gnu`) and INCLUDEDIR are below PREFIX unless they are absolute. DESTDIR, a packager's
# stage, comes before all of it and stands in no file.
override PREFIX := $(patsubst %/,%,$(abspath $(PREFIX)))
c_place = $(abspath $(if $(filter /%,$1),$1,$(PREFIX)/$1))
C_LIB = $(call c_place,$(LIBDIR))
C_INCLUDE = $(call c_place,$(INCLUDEDIR))
C_HEADERS = $(wildcard include/*.h include/*.hpp)
C_INSTALLED = $(addprefix $(C_INCLUDE)/,$(notdir $(C_HEADERS))) $(addprefix $(C_LIB)/,libotagate.a libotagate.so libotagate.so.$(C_ABI) \
	libotagate.so.$(C_VERSION) pkgconfig/otagate.pc cmake/otagate/otagate-config.cmake cmake/otagate/otagate-config-version.cmake)
# In otagate.pc, what is below the prefix is named by it, so that who overrides the prefix moves it all.
c_below = $(patsubst $(PREFIX)/%,$${prefix}/%,$1)
C_FILL = -e 's|@VERSION@|$(C_VERSION)|g; s|@ABI@|$(C_ABI)|g; s|@PRIVATE_LIBS@|$(C_PRIVATE_LIBS)|g' \
	-e 's|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(call c_below,$(C_LIB))|g; s|@INCLUDEDIR@|$(call c_below,$(C_INCLUDE))|g' \
	-e "s|@INCLUDE_FROM_LIB@|$$(realpath -ms --relative-to='$(C_LIB)' '$(C_INCLUDE)')|g" \
	-e "s|@POINTER@|$$(($$(od -An -tu1 -j4 -N1 $(C_SHARED)) * 4))|g" # the fifth byte of an ELF file: 1 or 2 times 32 bits
c_fill = sed $(C_FILL) bindings/c/$1.in >'$(DESTDIR)$(C_LIB)/$2' && chmod 644 '$(DESTDIR)$(C_LIB)/$2'

# Nothing is built where nothing changed, so that who installs, often root, needs no Rust.
C_SHARED = $(C_TARGET_DIR)/c/libotagate.so.$(C_VERSION)
$(C_SHARED): Cargo.toml Cargo.lock $(shell find src bindings/c/src -name '*.rs') $(addprefix bindings/c/,Cargo.toml build.rs library.mk name-exports)
	$(MAKE) c

install: $(C_SHARED)
	install -d '$(DESTDIR)$(C_INCLUDE)' '$(DESTDIR)$(C_LIB)/pkgconfig' '$(DESTDIR)$(C_LIB)/cmake/otagate'
	install -m 644 $(C_HEADERS) '$(DESTDIR)$(C_INCLUDE)'
	install -m 644 $(C_TARGET_DIR)/c/libotagate.a '$(DESTDIR)$(C_LIB)'
	install -m 755 $(C_SHARED) '$(DESTDIR)$(C_LIB)'
	ln -sf libotagate.so.$(C_VERSION) '$(DESTDIR)$(C_LIB)/libotagate.so.$(C_ABI)'
	ln -sf libotagate.so.$(C_ABI) '$(DESTDIR)$(C_LIB)/libotagate.so'
	$(call c_fill,otagate.pc,pkgconfig/otagate.pc)
	$(call c_fill,cmake/otagate-config.cmake,cmake/otagate/otagate-config.cmake)
	$(call c_fill,cmake/otagate-config-version.cmake,cmake/otagate/otagate-config-version.cmake)

uninstall:
	rm -f $(foreach file,$(C_INSTALLED),'$(DESTDIR)$(file)')
	[ ! -d '$(DESTDIR)$(C_LIB)/cmake/otagate' ] || rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(C_LIB)/cmake/otagate'

# The threads of the C tests under ThreadSanitizer and AddressSanitizer, the Rust side too: some minutes, and nightly Rust. It says what is missing.
.PHONY: sanitize
sanitize:
	CARGO='$(CARGO)' bindings/c/sanitize

# run    a container of the bundle that ships here, and how long it took to start (root; SUDO=1: by sudo)
# test   unit tests, then the end-to-end tests on this host and in a VM (root; NO_VM=1: only this host)
# lint   formatting, clippy, and the rules of the tree
# bench  orlop beside runc and crun (RUNC= and CRUN= name others), and the least that is possible
# package  every crate's package, and the binary built from the packages alone
# fuzz   the fuzz targets, each for FUZZ_SECONDS (30); needs a C++ compiler
# install, uninstall  the binary, its manual pages and the shells' completions (PREFIX, DESTDIR)
# deb    a Debian package of the same (needs cargo-deb: cargo install cargo-deb)
# installed  checks both in a scratch folder
# doc, clean
CARGO ?= cargo
PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# The binary is built by itself: the dependencies of other crates' tests would bring std into it, and with it a
# second panic handler.
# Workspaces of their own, so that their features are not unified with the binary's.
APART := integration-tests benches
# The probe and the floor program are single files for rustc, not packages.
BARE := fixtures/probe/main.rs benches/floor/main.rs

.PHONY: all run test unit integration lint bench dist install uninstall deb installed package doc fuzz clean

all:
	$(CARGO) build --release -p orlop-cli

run: all
	fixtures/demo $(TARGET)

test:
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory integration

unit:
	$(CARGO) test --workspace --exclude orlop-cli
	$(CARGO) test -p orlop --features oci-spec,std
	$(CARGO) test -p orlop-cli
	$(CARGO) test --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches

integration: all
	integration-tests/setup
	integration-tests/run

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	rustfmt --edition 2024 --check $(wildcard $(BARE))
	$(CARGO) clippy --workspace --exclude orlop-cli --all-targets -- -D warnings
	$(CARGO) clippy -p orlop-cli --all-targets -- -D warnings
	for dir in $(patsubst %/Cargo.toml,%,$(wildcard $(APART:=/Cargo.toml))); do \
		$(CARGO) fmt --manifest-path $$dir/Cargo.toml --check && \
		$(CARGO) clippy --manifest-path $$dir/Cargo.toml --target-dir $(TARGET)/lint \
			--all-targets -- -D warnings || exit 1; done
	integration-tests/tidy

bench: all
	benches/run $(TARGET)

# What is installed, as a folder: cargo-deb takes it from here, too.
dist: all
	.ci/dist $(TARGET)/release/orlop $(TARGET)/release/dist

install: dist
	cd $(TARGET)/release/dist && find . -type f -exec sh -c 'for file; do \
		install -D -m "$$(stat -c %a "$$file")" "$$file" "$(DESTDIR)$(PREFIX)/$$file" || exit 1; done' sh {} +

uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -f bin/orlop share/man/man8/orlop.8 share/man/man8/orlop-*.8 \
		share/bash-completion/completions/orlop share/zsh/site-functions/_orlop \
		share/fish/vendor_completions.d/orlop.fish

deb: dist
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo 'deb: needs cargo-deb: cargo install cargo-deb'; exit 1; }
	CARGO_TARGET_DIR=$(TARGET) $(CARGO) deb -p orlop-cli --no-build --no-strip -o $(TARGET)/debian/

installed:
	.ci/installed $(TARGET)

package:
	.ci/package $(TARGET)

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --features orlop/std,orlop/oci-spec

fuzz:
	fuzz/run

clean:
	$(CARGO) clean

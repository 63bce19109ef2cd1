# RRTS: `make demo` runs the main job, `make test` runs the tests, `make help` lists the rest.

GO      ?= go
BUILD   := build
GOFLAGS_STATIC := -trimpath -ldflags "-s -w -buildid="
# Debian packages that the privileged tests and the race detector use; installed by `make test` as root.
TEST_PACKAGES := iproute2 systemd gcc libc6-dev tshark systemd-container mmdebstrap python3 python3-cryptography \
	unixodbc-dev libsqliteodbc
# Beside them, the databases that the tests of data sources start: make test-odbc.
DATABASE_PACKAGES := odbc-postgresql odbc-mariadb postgresql mariadb-server

export CGO_ENABLED ?= 0
# Root may build in somebody else's checkout, where git would refuse to say what is built.
export GOFLAGS += -buildvcs=false
# Where Go's own instructions put it; sudo does not look there.
export PATH := $(PATH):/usr/local/go/bin

.DEFAULT_GOAL := build
.PHONY: build demo demo-ethernet test test-race fuzz test-long test-powercut test-rot bench bench-net bench-wire bench-failover bench-growth figures bench-restart bench-odbc test-odbc test-mail test-payment example-shop deb deb-previous deb-repro apt-repo lab lab-programs lab-upgrade lab-watchdog test-deb test-clean generate lint clean help need-go need-ip need-test need-databases

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

need-go:
	@packaging/need-go "$(GO)"

build: need-go ## build rrtsd, rrts and rrtsgen into build/, and rrts-odbc where unixodbc-dev is
	@mkdir -p $(BUILD)
	@chown --reference=. $(BUILD) 2>/dev/null || true
	$(GO) build $(GOFLAGS_STATIC) -o $(BUILD)/ ./rrts/cmd/...
	@packaging/with-odbc $(GO) build $(GOFLAGS_STATIC) -o $(BUILD)/ ./rrts/cmd/rrts-odbc

demo: build ## three SFUs on this machine move 20,000 payments, lose a machine and a network, and lose nothing
	$(BUILD)/rrts demo

demo-ethernet: need-ip build ## the same over raw Ethernet frames in network namespaces (as root)
	$(BUILD)/rrts demo --ethernet

need-ip: need-go
	@packaging/need-packages "network namespaces" iproute2

need-test: need-go
	@packaging/need-test $(TEST_PACKAGES)

test: need-test build ## every test; as root the privileged ones too; TESTS=./net/... for some
	packaging/run-tests $(TESTS)

test-race: need-go ## the tests under the race detector, where it fits (needs gcc)
	CGO_ENABLED=1 $(GO) test -race -short ./net/... ./rrts/engine/... ./rrts/client/... ./comps/gateway/... ./comps/login/... ./comps/txn/...

fuzz: need-go ## every fuzz target for FUZZTIME each (default 5s)
	packaging/run-fuzz $(or $(FUZZTIME),5s)

test-long: need-test build ## hours of simulation: SEEDS seeds (default 20,000), from FIRST on
	RRTS_SIM_SEEDS=$(or $(SEEDS),20000) RRTS_SIM_FIRST=$(or $(FIRST),1) $(GO) test ./rrts/sim/cluster -run TestSeeds -timeout 0 -v

test-powercut: need-go ## RUNS power cuts (default 1000) and a quarter as many kills of all processes; FIRST=SEED goes on from there
	GO="$(GO)" packaging/run-powercut $(or $(RUNS),1000) $(FIRST)

test-rot: need-go ## a flipped bit in every kind of file of each SFU, in the middle and at the tail, and what came of it
	RRTS_ROT=all $(GO) test -count=1 ./rrts/cmd/rrts -run TestRot -timeout 30m -v

need-databases: need-go
	@packaging/need-test $(TEST_PACKAGES) $(DATABASE_PACKAGES)

test-odbc: need-databases build ## EFFECTS SQL effects (default 10000) on each of three databases, while what does them is killed
	RRTS_DATABASES=all packaging/with-odbc $(GO) test -count=1 ./comps/datasource/...
	RRTS_DATABASES=all RRTS_ODBC_EFFECTS=$(or $(EFFECTS),10000) packaging/with-odbc $(GO) test -count=1 ./comps/datasource -run 'TestDatabases/.*/kills' -timeout 60m -v
	RRTS_DATABASES=all RRTS_ODBC_EFFECTS=$(or $(EFFECTS),10000) $(GO) test -count=1 ./rrts/cmd/rrts -run TestDataSources -timeout 120m -v

# What mail is tried against beside a scripted server.
MAIL_PACKAGES := postfix sasl2-bin libsasl2-modules

test-mail: need-go ## MAILS mails (default 2000) through a real Postfix, while it, SFUs and the leader are killed (as root)
	@packaging/need-packages "mail through Postfix" $(MAIL_PACKAGES)
	RRTS_POSTFIX=1 $(GO) test -count=1 ./comps/smtp -run TestPostfix -v
	RRTS_POSTFIX=1 RRTS_MAILS=$(or $(MAILS),2000) $(GO) test -count=1 ./rrts/cmd/rrts -run TestMails -timeout 60m -v

bench-odbc: need-databases ## SQL effects per second beside the same statements in a plain loop over ODBC
	RRTS_DATABASES=all RRTS_ODBC_BENCH=5s packaging/with-odbc $(GO) test -count=1 ./comps/datasource -run TestThroughput -timeout 30m -v

test-payment: need-go ## PAYMENTS payments (default 10000) while what makes them is killed: as many charges as were captured
	RRTS_PAYMENTS=$(or $(PAYMENTS),10000) $(GO) test -count=1 ./rrts/cmd/rrts -run TestPayments -timeout 60m -v

example-shop: need-go ## a shop's checkout on three SFUs: money held, an order in a database, a charge, a receipt; and the books compared
	@packaging/need-packages "the shop's database" gcc libc6-dev unixodbc-dev libsqliteodbc
	@$(MAKE) --no-print-directory build
	$(GO) run ./packaging/examples/shop --programs $(BUILD)

bench: build ## transactions per second on three SFUs: one client, 256 clients, batches
	packaging/run-bench $(BUILD)/rrts

bench-net: build ## the interconnect beside TCP, TLS and a bare packet socket, in network namespaces (as root)
	$(BUILD)/rrts bench net --all

bench-wire: need-go ## bytes on the wire for each payment, beside plain protobuf, gzip and zstd
	$(GO) test -count=1 -v -run BytesOnTheWire ./rrts/message/pack

bench-failover: build ## twenty kills of the leader, a stop of each SFU: how long clients wait
	$(BUILD)/rrts bench failover

bench-growth: build ## what a transfer costs and how much memory the SFUs take as the ledger grows; ACCOUNTS, TRANSFERS
	$(BUILD)/rrts bench growth --accounts $(or $(ACCOUNTS),10000) --transfers $(or $(TRANSFERS),1000000)

figures: build ## measures and draws packaging/doc/figures; PEERS=FILE adds other systems' lines
	GO="$(GO)" packaging/run-figures $(BUILD)/rrts

bench-restart: build ## how soon SFUs with a million transactions are back
	$(BUILD)/rrts bench restart

deb: need-go ## Debian packages into build/; ARCH="amd64 arm64" for both
	GO="$(GO)" packaging/build-deb $(ARCH)

deb-repro: need-go ## the packages built twice, differently, and compared byte for byte; ARCH="amd64 arm64" for both
	GO="$(GO)" packaging/deb-repro $(ARCH)

deb-previous: need-go ## Debian packages of the release before into build/previous/, for upgrades; REVISION=COMMIT
	GO="$(GO)" packaging/build-previous $(REVISION)

apt-repo: ## a signed apt repository of the packages in build/apt; KEY=FINGERPRINT signs with a key of yours
	packaging/apt-repo $(KEY)

# Real machines: what boots them, and what makes their root file systems.
LAB_PACKAGES := systemd-container mmdebstrap iproute2 util-linux

lab: deb apt-repo lab-programs ## real systemd machines, packages from apt, payments while machines and networks fail (as root); SCENARIO=three
	@packaging/need-packages "the lab's machines" $(LAB_PACKAGES)
	$(BUILD)/labctl run $(LABFLAGS) $(SCENARIO)

# A machine with hardware of its own: what emulates it, and what makes its disks.
WATCHDOG_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs

lab-watchdog: deb ## a machine with a hardware watchdog in QEMU, which resets it (as root; a quarter of an hour); STEP="prepare unkillable"
	@packaging/need-packages "the machine with a watchdog" $(WATCHDOG_PACKAGES)
	$(GO) build $(GOFLAGS_STATIC) -o $(BUILD)/lab-watchdog ./packaging/lab/watchdog
	$(BUILD)/lab-watchdog $(LABFLAGS) $(STEP)

lab-programs: need-go
	@mkdir -p $(BUILD)
	$(GO) build $(GOFLAGS_STATIC) -o $(BUILD)/labctl ./packaging/lab
	$(GO) build $(GOFLAGS_STATIC) -o $(BUILD)/payer ./packaging/lab/payer

lab-upgrade: deb deb-previous ## the lab's scenario upgrade: from the release before to this one and back, under payments (as root)
	@$(MAKE) --no-print-directory lab SCENARIO=upgrade

test-deb: deb apt-repo ## the packages on fresh Debian 12 and 13 systems: install, upgrade, remove, purge (as root)
	packaging/test-deb $(SUITE)

test-clean: ## a newcomer's first steps on a bare Debian with Go, git and make (as root)
	packaging/test-clean $(SUITE)

generate: need-go ## make again what is generated: the messages' Go code, the catalog and the page of alarms
	$(GO) run ./rrts/cmd/rrtsgen generate
	$(GO) test ./packaging/catalog -run TestMade -update
	gofmt -l rrts/schema

lint: need-go ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@latest ./...

clean: ## remove what was built
	rm -rf $(BUILD)

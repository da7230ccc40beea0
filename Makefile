# Every target is explained by the comment behind it; `make` alone prints them.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
TOOL    := go tool -modfile=.ci/go.mod
# What is shipped is built with the standard library that go.mod names, whatever Go is installed.
TOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)
FUZZTIME ?= 10s
DURATION ?= 10m
EVENTS   ?= 200000
SEED     ?= 0
SCALE    ?= 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/idpsync
	GOTOOLCHAIN=$(TOOLCHAIN) CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/idpsync ./cmd/idpsync

.PHONY: dev
dev: ## Run the demo: a tenant, an issuer that signs real tokens, sample traffic, a live view
	go run ./cmd/idpsync dev

.PHONY: bench
bench: ## Measure the drain of waiting logins beside the floor, and their latency beside an issuer that hangs (EVENTS, ROUNDS, FLOOR=folder of the floor program, PROFILE)
	.ci/bench

.PHONY: test
test: ## Run every test, on SQLite and on a throw-away PostgreSQL
	.ci/postgres run --no-fsync go test -timeout 20m ./...

.PHONY: race
race: ## Run every test under the race detector
	.ci/postgres run --no-fsync go test -race -timeout 20m ./...

.PHONY: chaos
chaos: ## Kill, stop and cut off 3 workers, 3 broker nodes and the database for DURATION (10m) under EVENTS (200000), by SEED; CHAOS adds flags
	env -u IDPSYNC_TEST_POSTGRES .ci/postgres run go run ./worker/chaostest --duration $(DURATION) --events $(EVENTS) --seed $(SEED) $(CHAOS)

.PHONY: scenes
scenes: ## Measure what the trouble of one tenant, link or database costs the logins of another; SCALE (1), SCENES adds flags
	env -u IDPSYNC_TEST_POSTGRES .ci/postgres run go run ./worker/chaostest scenes --scale $(SCALE) $(SCENES)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	.ci/fuzz $(FUZZTIME)

.PHONY: vet
vet: ## Check formatting, modules and go vet
	.ci/vet

.PHONY: lint
lint: vet ## Run vet, then the linters of .ci/golangci.yml
	$(TOOL) golangci-lint run --config .ci/golangci.yml

.PHONY: vulns
vulns: ## Look for known vulnerabilities in what the binary calls; needs the module proxy
	GOTOOLCHAIN=$(TOOLCHAIN) go run -C .ci ./vulns

.PHONY: mutate
mutate: ## Take each rule of security away and see that a test notices; rules=WORD for some
	GOTOOLCHAIN=$(TOOLCHAIN) go run -C .ci ./mutate $(rules)

.PHONY: generate
generate: ## Write all generated files anew
	go generate ./...

.PHONY: verify
verify: generate ## Fail when generated files or go.mod are not as committed
	go mod tidy -diff
	git diff --exit-code

.PHONY: ci
ci: ## Run everything that a change has to pass
	.ci/run

.PHONY: full
full: ci chaos scenes ## Run everything that a change has to pass, then ten minutes of chaos, then the scenes

.PHONY: clean
clean: ## Remove what was built; data stays
	rm -rf bin

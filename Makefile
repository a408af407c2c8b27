# Targets with a "##" comment are what `make help` prints.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:
export PATH := $(PATH):/usr/sbin:/sbin

# BPF objects are compared bit by bit with what exactly this compiler makes.
CLANG_VERSION := 19.1.7
OCB_VERSION := v0.162.0
STATICCHECK_VERSION := v0.7.0

# The kernel's own style, with lines as long as this repository's.
bpf_style := {BasedOnStyle: LLVM, IndentWidth: 8, ContinuationIndentWidth: 8, UseTab: Always, ColumnLimit: 120, \
	BreakBeforeBraces: Linux, AllowShortFunctionsOnASingleLine: None, SortIncludes: Never, \
	SpacesInLineCommentPrefix: {Minimum: 0}}

GOTESTFLAGS ?=

collector := bin/otelcol-ebpfnet
cache := bin/.cache
sources := $(shell find bpf internal receiver -name '*.go' ! -name '*_test.go' -o -name '*.o')
as_root := $(if $(filter 0,$(shell id -u)),,sudo)
install := internal/tools/install-missing.sh

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

## Building

.PHONY: build
build: $(collector) ## Build the collector, bin/otelcol-ebpfnet

# The generated main package is made anew only when the list of components or a dependency changed; the rest
# is the Go build cache's work. -e: the builder tidies the tests of all components too, some of which need
# modules that cannot be had.
dist/main.go: builder-config.yaml go.mod go.sum
	GOFLAGS='-buildvcs=false -e' go run go.opentelemetry.io/collector/cmd/builder@$(OCB_VERSION) \
		--config=builder-config.yaml --skip-compilation

$(collector): dist/main.go $(sources)
	cd dist && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags='-s -w' -o ../$@ .

.PHONY: generate
generate: clang ## Make all generated files: BPF objects, kernel records, metadata
	PATH="$(CURDIR)/$(cache)/clang:$$PATH" go generate ./bpf
	go generate ./receiver

# On releases without clang-19 the newest from 14 on stands in for it. Its objects work, but differ from the
# committed ones.
.PHONY: clang
clang: deps-generate
	@mkdir -p $(cache)/clang
	@rm -f $(cache)/clang/*
	@command -v clang-19 llvm-strip-19 >/dev/null || for version in 18 17 16 15 14; do \
		if command -v clang-$$version llvm-strip-$$version >/dev/null; then \
			echo "clang-19 is not here: using clang-$$version; do not commit its objects" >&2; \
			for tool in clang llvm-strip; do \
				ln -s "$$(command -v $$tool-$$version)" $(cache)/clang/$$tool-19; \
			done; \
			break; \
		fi; \
	done

## Checking

# One package at a time: those that trace the kernel must not starve beside others. Then the oldest kernel and the
# newest, with the end-to-end tests that say most; both at a time where there are two processors.
.PHONY: test
test: deps-test vet check-objects ## All tests on this machine's own kernel; the most telling ones on the oldest and the newest
	go test -p 1 $(GOTESTFLAGS) ./...
	@$(MAKE) --no-print-directory test-kernels KERNELS='5.10 newest' ARCHES=amd64 LABRUN=core \
		JOBS="$$(nproc | awk '{ print 1 + ($$1 > 1) }')"

.PHONY: vet
vet:
	go vet ./...
	@# The receiver must compile where it can only say that it is unsupported, or replay.
	for system in darwin windows; do GOOS=$$system go vet ./receiver ./internal/... || exit 1; done

# What runs in a virtual machine is what runs here: the compiled tests of the packages that touch the kernel. Those of
# the probes load and attach every hook; what the kernel says to that is held against docs/kernels.md.
#   KERNELS, ARM64_KERNELS   which of lab/vm's kernels, on amd64 and on arm64
#   ARCHES                   amd64, arm64 or both
#   LABRUN, ARM64_RUN        which end-to-end tests, as -test.run has it; core: those that say most; empty: none
#   PROBERUN                 which tests of the probes; none: none
#   JOBS                     how many kernels at a time; each takes one processor and 1.5 GB
#   DEBIAN_MIRROR            where kernels come from, if apt here knows no Debian mirror
#   UPDATE                   not empty: write docs/kernels.md instead of comparing
KERNELS ?= 5.10 6.1 6.12 6.18 newest
ARM64_KERNELS ?= 6.1 6.12
ARCHES ?= amd64 arm64
LABRUN ?= .
ARM64_RUN ?= core
PROBERUN ?= .
JOBS ?= 1
lab_core := TestConnectionsAgree|TestPacketsThatAFirewallDrops|TestResetsAgree|TestEachRequestIs|$\
	TestALateReaderShows|TestAQueueingDiscipline|TestASpanTells|TestALostPacketCarries

lab_variables = KERNELS='$(KERNELS)' ARM64_KERNELS='$(ARM64_KERNELS)' ARCHES='$(ARCHES)' \
	LABRUN='$(LABRUN:core=$(lab_core))' ARM64_RUN='$(ARM64_RUN:core=$(lab_core))' \
	PROBERUN='$(PROBERUN:none=)' JOBS='$(JOBS)' DEBIAN_MIRROR='$(DEBIAN_MIRROR)' UPDATE='$(UPDATE)'

.PHONY: test-kernels kernel-tables
test-kernels: deps-test deps-lab ## Kernel tests in virtual machines: KERNELS="5.10 6.1 6.12 6.18 newest" ARCHES="amd64 arm64"
	@$(lab_variables) lab/test-kernels.sh $(cache)/lab

kernel-tables: UPDATE = 1
kernel-tables: LABRUN =
kernel-tables: ARM64_RUN =
kernel-tables: PROBERUN = TestEachHook
kernel-tables: test-kernels ## Write docs/kernels.md anew from what the kernels say

# etcd, kube-apiserver and kubectl, from the module proxy: five minutes the first time, then kept for each version.
controlplane := test/k8s/controlplane
kubernetes_version := $(shell awk '$$1 == "k8s.io/kubernetes" { print $$2 }' $(controlplane)/go.mod)
kubernetes := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ebpfnetreceiver/kubernetes-$(kubernetes_version)
kubernetes_flags := -s -w -X k8s.io/component-base/version.gitVersion=$(kubernetes_version) \
	-X k8s.io/component-base/version.gitMajor=$(subst v,,$(word 1,$(subst ., ,$(kubernetes_version)))) \
	-X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(kubernetes_version)))

.PHONY: test-k8s
test-k8s: deps-test-k8s build $(kubernetes)/kubectl ## Names of pods, against a real Kubernetes API
	EBPFNET_KUBERNETES='$(kubernetes)' go test -count=1 $(GOTESTFLAGS) ./test/k8s

# kubectl is what go build writes last.
$(kubernetes)/kubectl:
	cd $(controlplane)/../seccomp && go build -trimpath -o '$(kubernetes)/' .
	cd $(controlplane) && CGO_ENABLED=0 go build -trimpath -ldflags='$(kubernetes_flags)' -o '$(kubernetes)/' tool

.PHONY: bench-memory
bench-memory: deps-run build ## What the collector takes at 10 000 connections and 10 000 requests/s
	EBPFNET_COLLECTOR='$(CURDIR)/$(collector)' go test -count=1 -v $(GOTESTFLAGS) ./test -run TestMemoryOfABusyNode

# A copy is compiled, so that a check changes nothing. Another clang makes other code from the same source:
# then there is nothing to compare.
.PHONY: check-objects
check-objects: deps-generate
	@found=$$(clang-19 --version 2>/dev/null | sed -n 's/.*clang version \([0-9.]*\).*/\1/p'); \
	if [ "$$found" != $(CLANG_VERSION) ]; then \
		echo "BPF objects: not compared with their source, that takes clang $(CLANG_VERSION); here is $${found:-none}"; \
		exit 0; \
	fi; \
	copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	cp -R go.mod go.sum bpf internal "$$copy" && (cd "$$copy" && go generate ./bpf) && \
	for file in bpf/*_bpfel.o bpf/*_bpfel.go internal/wire/types_generated.go; do \
		cmp "$$file" "$$copy/$$file" || { \
			echo "$$file is not what its source makes: run make generate"; \
			exit 1; \
		}; \
	done && echo "BPF objects: all are what their source compiles to"

.PHONY: lint
lint: deps-generate vet ## gofmt, go vet, staticcheck, clang-format
	@unformatted=$$(gofmt -l bpf examples internal lab receiver test); \
	[ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) ./...
	clang-format-19 --style='$(bpf_style)' --dry-run -Werror bpf/*.c bpf/*.h

# Two network namespaces of its own, nginx and wrk in them, and the collector; what is compared takes turns.
#   COST   flags of internal/tools/cost, such as "-programs -modes default" or "-keepalive=false -rounds 5"
.PHONY: bench-cost
bench-cost: deps-run build ## What the collector costs per request, against none and against empty programs; COST=flags
	go build -o $(cache)/cost ./internal/tools/cost
	$(as_root) $(cache)/cost $(COST)

## Running

.PHONY: run
run: deps-run build ## Two network namespaces with real traffic, watched; DURATION=20s ends it
	@DURATION='$(DURATION)' go run ./examples/demo

.PHONY: run-host
run-host: build ## Watch the whole host and print what is seen
	$(as_root) env HOST_NAME="$$(hostname)" $(collector) --config examples/host/collector.yaml

## Housekeeping

.PHONY: deps deps-run deps-test deps-test-k8s deps-lab deps-generate
deps: deps-test deps-test-k8s deps-lab deps-generate ## Install the Debian packages that are missing
deps-run:
	@$(install) nginx:nginx curl:curl wrk:wrk ip:iproute2 nft:nftables
deps-test: deps-run
	@$(install) h2load:nghttp2-client dig:bind9-dnsutils dnsmasq:dnsmasq-base ipvsadm:ipvsadm conntrack:conntrack
deps-test-k8s: deps-run
	@$(install) setpriv:util-linux runc:runc
deps-lab:
	@$(install) xz:xz-utils /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
deps-generate:
	@$(install) clang-19:clang-19 llvm-strip-19:llvm-19 clang-format-19:clang-format-19 \
		/usr/include/bpf/bpf_helpers.h:libbpf-dev

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist

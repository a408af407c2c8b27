// Package bpf is the kernel half: one C source per capability, compiled to objects that are committed and
// embedded here, so that only whoever changes C needs a compiler. Package probe loads them.
package bpf

//go:generate -command bpf2go go tool bpf2go -no-global-types -target amd64,arm64 -tags linux -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Werror -Wno-unused-function -mcpu=v3"
//go:generate bpf2go Adopt adopt.bpf.c
//go:generate bpf2go Connections connections.bpf.c
//go:generate bpf2go Datagrams datagrams.bpf.c
//go:generate bpf2go Drops drops.bpf.c
//go:generate bpf2go Namespaces namespaces.bpf.c
//go:generate bpf2go Netfilter netfilter.bpf.c
//go:generate bpf2go Payload payload.bpf.c
//go:generate bpf2go Resets resets.bpf.c
//go:generate bpf2go Retransmits retransmits.bpf.c
//go:generate bpf2go Shared shared.bpf.c
//go:generate bpf2go Snapshot snapshot.bpf.c
//go:generate bpf2go Softirq softirq.bpf.c
//go:generate bpf2go Stages stages.bpf.c
//go:generate bpf2go Times times.bpf.c
//go:generate bpf2go Virtio virtio.bpf.c
//go:generate bpf2go Waits waits.bpf.c

// The Go types of the records, from the BTF of an object that holds nothing else.
//go:generate clang-19 -target bpfel -O2 -g -c wire.bpf.c -o wire.tmp.o
//go:generate go run ../internal/tools/genwire -object wire.tmp.o -output ../internal/wire/types_generated.go
//go:generate rm wire.tmp.o

// Package probe is the live source: it chooses a hook for each capability, loads and attaches the kernel
// programs, drains their records and walks the sockets at each collection.
//
// A capability is one thing that the kernel half can do: one .bpf.c in package bpf, and one file here that
// lists its hooks in order of preference. The first hook that the running kernel accepts is used; why the
// others were refused stays visible (wire.ProbeStatus). A capability that no hook can serve is left out and
// the rest goes on.
//
// This is the only package that imports cilium/ebpf, generated code in package bpf aside.
package probe

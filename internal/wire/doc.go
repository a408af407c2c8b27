// Package wire holds what crosses the kernel's border as Go values: the records of bpf/wire.h (generated
// from their BTF) and the two interfaces behind which the live kernel and a recording look the same.
//
// It is the lowest room: everything may import it, it imports nothing of this module.
package wire

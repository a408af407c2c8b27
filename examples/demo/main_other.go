//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "demo: it needs Linux: network namespaces and eBPF")
	os.Exit(1)
}

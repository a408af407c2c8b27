//go:build linux && (amd64 || arm64)

package kerneltest

// childRole names the environment variable that makes the test binary play another part.
const childRole = "EBPFNET_TEST_CHILD"

func runChild(string) int { return 2 }

//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"fmt"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/probe"
	"github.com/ebpfnet/ebpfnetreceiver/internal/symbol"
)

// childRole names the environment variable that makes the test binary play another part.
const childRole = "EBPFNET_TEST_CHILD"

func runChild(role string) int {
	var err error
	switch role {
	case "connect":
		err = connectAndWaitForEnd(os.Args[1])
	case "serve":
		err = serveUntilKilled(os.Args[1], os.Args[2])
	case "open":
		err = openAndClose(os.Args[1])
	case "memory-server":
		err = serveManyOwners(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	case "memory-client":
		err = askManyOwners(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case "collect":
		err = collect(os.Args[1])
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// openAndClose is the role of a collector that starts: the probes are loaded, and told on standard output. Without a
// namespace it is for the whole host.
func openAndClose(namespace string) error {
	// What service managers and container engines give; the test itself may have raised its own.
	limit := &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, limit); err != nil {
		return err
	}
	config := engine.Config{Probe: probe.Config{
		Connections: true,
		Drops:       probe.Events{Enabled: true, Stack: true, PerSecond: 1},
		Resets:      probe.Events{Enabled: true},
		Retransmits: probe.Events{Enabled: true},
		Payload:     probe.Payload{Enabled: true},
		Stages:      true,
		Counters:    probe.Counters{Enabled: true},
	}}
	if namespace != "" {
		config.Probe.Scope.NetworkNamespaces = []string{namespace}
	}
	logger, err := zap.Config{
		Level: zap.NewAtomicLevel(), Encoding: "console", OutputPaths: []string{"stdout"},
		EncoderConfig: zap.NewDevelopmentEncoderConfig(),
	}.Build()
	if err != nil {
		return err
	}
	e, err := engine.New(config, (&observer{}).sink(), logger)
	if err != nil {
		return err
	}
	symbols := symbol.NewKallsyms()
	symbols.Symbol(1) // asks for the table
	if err := symbols.Err(); err != nil {
		fmt.Println("kernel symbols:", err)
	} else {
		fmt.Println("kernel symbols: readable")
	}
	return e.Close()
}

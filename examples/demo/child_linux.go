package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that the demo started: the leader of a process group of its own, so that Ctrl-C in the
// terminal reaches only the demo, which then ends the others in the right order.
type child struct {
	name    string
	process *os.Process
	done    chan struct{} // closed when it has ended and all of its group with it
	err     error         // valid after done
}

// starts is served by one thread that lives as long as the demo. A child's network namespace is that of the
// thread that starts it, and PR_SET_PDEATHSIG, which ends the children should the demo be killed, goes by
// the thread too.
var starts = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
}

// start runs a program in a network namespace; an empty one is the demo's own.
func start(namespace string, output io.Writer, program string, arguments ...string) (*child, error) {
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = output, output
	command.Env = append(os.Environ(), "LC_ALL=C", "http_proxy=", "no_proxy=*")
	command.WaitDelay = time.Second
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	starts <- func() { started <- within(namespace, command.Start) }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	c := &child{name: program, process: command.Process, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		// What is left of its group ends with it. Until Wait has reaped the leader the id is certainly its own.
		pid := c.process.Pid
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Kill(-pid, unix.SIGKILL)
		c.err = command.Wait()
	}()
	return c, nil
}

// stop asks, waits, and then insists.
func (c *child) stop(signal syscall.Signal, patience time.Duration) {
	_ = c.process.Signal(signal) // os.Process knows when it has been reaped, and then signals nobody
	select {
	case <-c.done:
	case <-time.After(patience):
		_ = c.process.Kill()
		<-c.done
	}
}

// within runs f on this thread in a network namespace and comes back.
func within(namespace string, f func() error) error {
	if namespace == "" {
		return f()
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	other, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", namespace, err)
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("cannot leave network namespace %s: %v", namespace, back))
	}
	return err
}

// output runs a short program to its end and gives what it printed.
func output(namespace, program string, arguments ...string) (string, error) {
	var printed strings.Builder
	c, err := start(namespace, &printed, program, arguments...)
	if err != nil {
		return "", err
	}
	<-c.done
	if c.err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), c.err, strings.TrimSpace(printed.String()))
	}
	return printed.String(), nil
}

// packages are the Debian packages of the programs.
var packages = map[string]string{
	"nginx": "nginx", "curl": "curl", "wrk": "wrk", "ip": "iproute2", "ss": "iproute2", "nstat": "iproute2", "nft": "nftables",
}

// find says which programs are not there, and how to get them. Those of the administrator are not in everyone's
// PATH.
func find(programs ...string) error {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	var missing, install []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
			if !slices.Contains(install, packages[program]) {
				install = append(install, packages[program])
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("not found: %s; sudo apt-get install %s", strings.Join(missing, ", "), strings.Join(install, " "))
}

// Command init is process 1 of the lab's virtual machines: it makes the kernel's file systems, modules
// and loopback ready, runs the test processes as root, reports how they ended and powers off.
//
// It is a static Go program rather than a shell script because it must work on every kernel and
// architecture of the lab, and because an error in it has to be told apart from a failing test.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/lab/internal/guest"
)

func main() {
	err := run()
	if err != nil {
		logf("%v", err)
	}
	syscall.Sync()
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		logf("power off: %v", err)
	}
	select {}
}

// logf writes to the kernel console, which is the standard error of process 1.
func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\n"+guest.LogPrefix+format+"\n", args...)
}

func run() error {
	prepare()
	var config guest.Config
	data, err := os.ReadFile(guest.ConfigPath)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("%s: %w", guest.ConfigPath, err)
	}
	time.AfterFunc(config.Timeout, func() {
		logf("still running after %v: powering off", config.Timeout)
		_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	})
	for _, path := range config.Modules {
		if err := loadModule(path); err != nil {
			logf("module %s: %v", filepath.Base(path), err)
		}
	}
	if err := loopbackUp(); err != nil {
		logf("loopback: %v", err)
	}
	if err := rename("eth0", "nic0"); err != nil {
		logf("rename eth0: %v", err)
	}
	setSysctls()

	port, err := openPort(10 * time.Second)
	if err != nil {
		return err
	}
	report := func(r guest.Record) {
		line, _ := json.Marshal(r)
		fmt.Fprintf(port, "%s%s%s\n", guest.RecordStart, config.Token, line)
	}
	report(guest.Record{Ready: true, Release: release()})
	code, err := runTests(config, port)
	last := guest.Record{Exit: &code}
	if err != nil {
		last.Error = err.Error()
	}
	var files []*os.File
	for _, path := range config.Collect {
		size := int64(-1)
		if f, err := os.Open(path); err == nil {
			if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
				size = info.Size()
				files = append(files, f)
			}
		}
		last.Sizes = append(last.Sizes, size)
	}
	report(last)
	for _, size := range last.Sizes {
		if size >= 0 {
			// Exactly the announced number of bytes, though a process left behind may still write.
			if _, err := io.CopyN(port, files[0], size); err != nil {
				return fmt.Errorf("send %s: %w", files[0].Name(), err)
			}
			files = files[1:]
		}
	}
	// The driver queues what is written and returns at once: to power off before the host has read it
	// all would lose the end. The host answers with a byte when it has.
	_, _ = port.Read(make([]byte, 1))
	return nil
}

// openPort opens the virtio-serial port to the host. It carries bytes as they are, which a console
// would not: no line discipline, no kernel messages in between.
func openPort(wait time.Duration) (io.ReadWriter, error) {
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		if names, _ := filepath.Glob("/sys/class/virtio-ports/vport*"); len(names) > 0 {
			f, err := os.OpenFile("/dev/"+filepath.Base(names[0]), os.O_RDWR, 0)
			if err != nil {
				return nil, fmt.Errorf("open virtio port: %w", err)
			}
			// Only these two are left visible, so that io.Copy does not splice into the port.
			return struct{ io.ReadWriter }{f}, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("no virtio-serial port: is virtio_console among the modules?")
		}
	}
}

// runTests runs the test processes, all of them, and returns the first exit status that is not 0. After each
// comes the line that go test ends a package with.
func runTests(config guest.Config, out io.Writer) (code int, err error) {
	if len(config.Tests) == 0 {
		return 127, errors.New("no test was named: was lab/vm built from another checkout than this init?")
	}
	for _, argv := range config.Tests {
		start := time.Now()
		status, failure := runTest(argv, config.Env, out)
		verdict := "ok  "
		if status != 0 || failure != nil {
			verdict = "FAIL"
		}
		fmt.Fprintf(out, "%s\t%s\t%.3fs\n", verdict, filepath.Base(argv[0]), time.Since(start).Seconds())
		if code == 0 {
			code = status
		}
		if failure != nil {
			return code, failure
		}
	}
	return code, nil
}

// runTest runs one test process and returns its exit status.
func runTest(argv, env []string, out io.Writer) (int, error) {
	// The test writes to a pipe, not to the port: a port can be opened only once, and servers reopen
	// /dev/stdout and /dev/stderr.
	r, w, err := os.Pipe()
	if err != nil {
		return 127, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, "/", w, w
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	_ = w.Close()
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(out, r)
		close(copied)
	}()
	// Process 1 inherits every orphan and must reap them all: a test may wait for a daemon's process
	// id to disappear.
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 127, fmt.Errorf("wait: %w", err)
		}
		if pid == cmd.Process.Pid && (status.Exited() || status.Signaled()) {
			break
		}
	}
	// Daemons that the test left behind hold the pipe open: do not wait for its end.
	_ = r.SetReadDeadline(time.Now().Add(time.Second))
	<-copied
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

//go:build linux && (amd64 || arm64)

package k8stest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What runs in the pods is this binary in another role.

func play(role string, args []string) error {
	switch role {
	case "serve":
		return serve(args[0], args[1])
	case "errands":
		return runErrands(args)
	}
	return fmt.Errorf("no role %q", role)
}

// serve answers every request with its own name until it is killed. It closes file 3 when it listens.
func serve(at, name string) error {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	if err := os.NewFile(3, "ready").Close(); err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, name)
	}))
}

// runErrands does "<times> get <url>" and "<times> refused <address>", each on a connection of its own, and prints
// who answered, one per line.
func runErrands(args []string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	for ; len(args) >= 3; args = args[3:] {
		times, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		for range times {
			if err := runErrand(client, args[1], args[2]); err != nil {
				return err
			}
		}
	}
	return nil
}

func runErrand(client *http.Client, kind, target string) error {
	if kind == "refused" {
		conn, err := net.Dial("tcp", target)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("connect to %s: %v, want it refused", target, err)
		}
		return nil
	}
	response, err := client.Get(target)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	name, err := io.ReadAll(response.Body)
	fmt.Println(strings.TrimSpace(string(name)))
	return err
}

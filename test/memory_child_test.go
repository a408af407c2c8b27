//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const memoryPort = 20_000 // of the first owner

// memoryPod is the cgroup of a container as a kubelet names it.
func memoryPod(base string, i int) string {
	return fmt.Sprintf("%s/kubepods-pod%08x_0000_4000_8000_%012x.slice/cri-containerd-%064x.scope", base, i, i, i+1)
}

// serveManyOwners is the role of as many containers' servers: a connection is of the cgroup of its listening socket,
// and that of the one in which the process was when it made it.
func serveManyOwners(base, first, owners, address string) error {
	from, _ := strconv.Atoi(first)
	count, _ := strconv.Atoi(owners)
	move := func(cgroup string) error {
		return os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
	}
	for i := from; i < from+count; i++ {
		if err := move(memoryPod(base, i)); err != nil {
			return err
		}
		listener, err := net.Listen("tcp4", net.JoinHostPort(address, strconv.Itoa(memoryPort+i)))
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go answerAll(conn)
			}
		}()
	}
	if err := move(base); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func answerAll(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 512) // a request is one segment
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n")
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// askManyOwners is the role of their clients: one short connection to each from each peer, then the connections that
// stay. It tells the number of answers each time it is asked.
func askManyOwners(first, owners, address, ofPeers, ofConnections string) error {
	from, _ := strconv.Atoi(first)
	count, _ := strconv.Atoi(owners)
	peersEach, _ := strconv.Atoi(ofPeers)
	each, _ := strconv.Atoi(ofConnections)
	dial := func(peer, owner int) (net.Conn, error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 77, 0, byte(100+peer%peersEach))}}
		return dialer.Dial("tcp4", net.JoinHostPort(address, strconv.Itoa(memoryPort+owner)))
	}
	var answered atomic.Int64
	ask := func(conn net.Conn, owner int, buffer []byte) error {
		_, err := fmt.Fprintf(conn, "GET /owner HTTP/1.1\r\nHost: service-%d.example\r\nUser-Agent: load/1\r\n\r\n", owner)
		if err == nil {
			_, err = conn.Read(buffer)
		}
		answered.Add(1)
		return err
	}
	asked := bufio.NewReader(os.Stdin)
	if _, err := asked.ReadString('\n'); err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	var peers sync.WaitGroup
	for peer := range peersEach {
		peers.Go(func() {
			buffer := make([]byte, 512)
			for owner := from; owner < from+count; owner++ {
				conn, err := dial(peer, owner)
				if err == nil {
					err = ask(conn, owner, buffer)
					conn.Close()
				}
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	peers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	const interval = time.Second * memoryConnections / memoryPerSecond
	begin := time.Now()
	for i := range count * each {
		owner := from + i/each
		conn, err := dial(i, owner)
		if err != nil {
			return err
		}
		go func() {
			buffer := make([]byte, 512)
			for at := begin.Add(time.Duration(i) * interval / time.Duration(count*each)); ; at = at.Add(interval) {
				time.Sleep(time.Until(at))
				if err := ask(conn, owner, buffer); err != nil {
					return
				}
			}
		}()
	}
	for {
		fmt.Println(answered.Load())
		if _, err := asked.ReadString('\n'); err != nil {
			return nil
		}
	}
}

// Package report is what a kernel says about the probes: which hooks it takes, and what its verifier spends on
// each program. The survey of internal/probe writes it in each virtual machine; internal/tools/kerneltables makes
// the tables of docs/kernels.md from it.
package report

import (
	"encoding/json"
	"errors"
	"os"
)

// Environment names the variable that tells the survey where to write its report.
const Environment = "KERNEL_REPORT"

// Where programs keep the state of connections.
const (
	InSocket  = "socket"  // socket storage, from 5.11
	ByAddress = "address" // a hash keyed by the socket's address
)

// Kernel is the report of one kernel.
type Kernel struct {
	Line         string       `json:"line"` // 5.10, newest, …: as the lab knows it
	Arch         string       `json:"arch"`
	Release      string       `json:"release"`
	Capabilities []Capability `json:"capabilities"`
	Hooks        []Hook       `json:"hooks"`
	Programs     []Program    `json:"programs"`
}

// Name tells kernels apart.
func (k Kernel) Name() string { return k.Line + " " + k.Arch }

// Capability is what serves a capability when everything is on.
type Capability struct {
	Name    string    `json:"name"`
	Hook    string    `json:"hook"` // empty: none
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is why a hook is not used.
type Refusal struct {
	Hook   string `json:"hook"`
	Reason string `json:"reason"`
}

// Hook is one hook tried on its own.
type Hook struct {
	Capability string `json:"capability"`
	Name       string `json:"name"`
	State      string `json:"state"`            // InSocket or ByAddress
	Reason     string `json:"reason,omitempty"` // why the kernel refuses it; empty: it works
}

// Program is what the verifier spent on a program with everything on and the longest scope.
type Program struct {
	Capability   string `json:"capability"`
	Hook         string `json:"hook"`
	State        string `json:"state"`
	Name         string `json:"name"`
	Instructions int    `json:"instructions"` // walked by the verifier; its limit is 1 000 000
	States       int    `json:"states"`       // held at most at one time
	Stack        int    `json:"stack"`        // bytes, of all frames; the limit is 512
}

// Read reads one report, or a list of them.
func Read(path string) ([]Kernel, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var one Kernel
	if err := json.Unmarshal(data, &one); err == nil {
		return []Kernel{one}, nil
	}
	var list []Kernel
	return list, json.Unmarshal(data, &list)
}

// Write writes a report or a list of them.
func Write(path string, content any) error {
	data, err := json.MarshalIndent(content, "", "\t")
	return errors.Join(err, os.WriteFile(path, append(data, '\n'), 0o644))
}

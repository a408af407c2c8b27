// Package guest is what the lab's two halves agree on: lab/vm, which builds and boots the virtual
// machine, and lab/init, which is process 1 inside it.
package guest

import "time"

const (
	// ConfigPath is where vm leaves the Config in the initramfs.
	ConfigPath = "/lab.json"
	// RecordStart precedes the token at the start of a Record. It is ASCII's record separator, so that
	// a search for it costs nothing on ordinary test output.
	RecordStart = "\x1e"
	// LogPrefix starts each line that init writes to the kernel console for a person to read.
	LogPrefix = "lab-init: "
)

// Config tells init what to do.
type Config struct {
	// Modules are paths of uncompressed kernel modules, each after those that it depends on.
	Modules []string
	// Tests are the arguments of the test processes, which run one after the other, and Env is their
	// environment; their working directory is /.
	Tests [][]string
	Env   []string
	// Timeout ends the machine from inside, should nobody be left outside to do it.
	Timeout time.Duration
	// Token tells a Record from anything that a test could print.
	Token string
	// Collect are the paths of files whose contents follow the exit record.
	Collect []string
}

// Record is what init says between the lines of test output: RecordStart, the token, JSON, newline.
type Record struct {
	// Ready is set in the record that precedes the test's first byte.
	Ready   bool   `json:",omitempty"`
	Release string `json:",omitempty"`
	// Exit is set in the last record: of the first test that failed. Like a shell's, it is 128 plus the
	// signal for a killed process.
	Exit *int `json:",omitempty"`
	// Error says why the test could not be started.
	Error string `json:",omitempty"`
	// Sizes has one entry for each of Config.Collect, -1 where there is no such file. That many bytes
	// of each file follow the record, without separators.
	Sizes []int64 `json:",omitempty"`
}

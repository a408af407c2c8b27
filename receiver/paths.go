package receiver

import (
	"fmt"
	"os"
	"path"
)

// checkPaths looks for the files that the configuration names, at the start, because only then is it certain
// that this is the machine that they are on, and because only here their keys are known.
func (c *Config) checkPaths() error {
	if replay := c.Replay.path(); replay != "" {
		file, err := os.Open(replay)
		if err != nil {
			return fmt.Errorf("replay::path: %w; use the path of a recording that this process may read", err)
		}
		return file.Close()
	}
	for i, namespace := range c.Scope.NetworkNamespaces {
		if !path.IsAbs(namespace) {
			continue
		}
		if _, err := os.Stat(namespace); err != nil {
			return fmt.Errorf("%s: %w; use a namespace that exists before the Collector starts (ip netns list), "+
				`"self", or an inode number`, index("scope::network_namespaces", i), err)
		}
	}
	return nil
}

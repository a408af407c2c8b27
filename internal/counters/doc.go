// Package counters reads what the kernel counts for each network namespace: from the procfs of a process that
// lives there, which needs no privilege beyond seeing it, and from netlink for what procfs has not.
//
// Some of what procfs shows in every namespace is the whole host's: what the processors received
// (softnet_stat), the memory of all sockets, how many of TCP are allocated and orphaned, and the limit of
// conntrack. These are read once, for the host's namespace, and never told as a pod's.
package counters

package l7

import "time"

// Options bounds what a Tracker keeps. Zero values stand for the defaults.
type Options struct {
	// Headers are the names of header fields to capture, lower case, at most 200. Default: none.
	Headers []string
	// MaxConnections is how many connections are followed at once, 65536 by default. Records of others
	// are counted and dropped. Those that turned out to be none of ours do not count.
	MaxConnections int
	// MaxBytes bounds what is held: captured bytes that wait for bytes before them, unfinished heads, HPACK
	// tables, the text of calls in flight. Default 32 MiB.
	MaxBytes int
	// MaxBytesPerConnection bounds the same of one connection; a quarter of it is for bytes that wait in one
	// direction. Default 1 MiB.
	MaxBytesPerConnection int
	// MaxPending is how many pipelined requests of one connection may wait for their answers, 128 by
	// default. The connection is given up when there are more.
	MaxPending int
	// MaxStreams is how many HTTP/2 streams of one connection are followed at once, 1024 by default. Calls on
	// others are not told.
	MaxStreams int
	// ReorderWindow is how long a record waits for one before it, by the kernel's clock. Default 10 ms.
	ReorderWindow time.Duration
	// IdleTimeout is after how long without a record a connection is forgotten, as its end may have been
	// lost. Default 15 minutes.
	IdleTimeout time.Duration
}

func (o Options) withDefaults() Options {
	set := func(value *int, standard int) {
		if *value <= 0 {
			*value = standard
		}
	}
	set(&o.MaxConnections, 1<<16)
	set(&o.MaxBytesPerConnection, 1<<20)
	set(&o.MaxBytes, 32<<20)
	set(&o.MaxPending, 128)
	set(&o.MaxStreams, 1024)
	if o.ReorderWindow <= 0 {
		o.ReorderWindow = 10 * time.Millisecond
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 15 * time.Minute
	}
	return o
}

// Origin is what is known about the beginning of a connection.
type Origin struct {
	// MidStream says that the connection is older than the receiver: its first record may begin anywhere.
	MidStream bool
	// Sequences says that Receive and Transmit are the sequence numbers of the first byte in each
	// direction, so that a loss of the first records can be told.
	Sequences         bool
	Receive, Transmit uint32
	// Counted says that Received and Sent are the bytes that the kernel had counted before, for MidStream:
	// see Totals.
	Counted        bool
	Received, Sent uint64
}

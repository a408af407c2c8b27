package l7

import (
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http1"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/stream"
)

// state is where a direction is within its messages.
type state uint8

const (
	lost       state = iota // looking for a head at the start of a record
	tentative               // a record began like a head, and was too short to tell
	boundary                // before a message
	head                    // in its head
	length                  // in content of known length
	chunked                 // in chunked content
	trailer                 // in the trailer section after that
	untilClose              // in content as long as the connection
	finished                // after the last message of the connection
)

// direction is one direction of an HTTP/1 connection.
type direction struct {
	stream  stream.Stream
	state   state
	blocked bool        // waits for the other direction
	waited  bool        // has waited for it in vain
	began   bool        // has had a message
	holed   bool        // records were lost since framing was
	head    *http1.Head // of the message that is under way; nil between messages, where most connections are
	chunks  http1.Chunks
	strict  bool   // see http1.Recognize
	probe   []byte // what was seen in tentative
	left    int64  // of content of known length
	body    int64  // content so far
	lastNs  uint64 // last record that was parsed
	moved   uint64 // bytes that records told of, and known holes
	total   uint64 // bytes that there were, at the end of the connection; 0: not known
	current *exchange

	startNs       uint64 // of the message: record with its first byte
	startSequence uint32
	startTGID     uint32
}

func (d *direction) release(pool *buffer.Pool) {
	d.stream.Reset(pool)
	pool.Put(d.probe)
	d.probe = nil
}

// interim says that the head that is being read is that of an answer before the final one.
func (d *direction) interim() bool {
	return d.head.Started() && d.head.Status >= 100 && d.head.Status < 200 && d.head.Status != 101
}

// behind says that the direction waits for a missing record.
func (d *direction) behind() bool { return !d.blocked && d.stream.Held() > 0 }

// endOfLost is when a response ended of which the framing was lost, once it is known that it had ended by
// nextNs.
func (d *direction) endOfLost(nextNs uint64) uint64 {
	if d.holed || d.lastNs > nextNs {
		return 0 // its last byte may have been in the hole, or there were others after it
	}
	return d.lastNs
}

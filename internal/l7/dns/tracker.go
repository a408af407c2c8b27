package dns

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// Options of a Tracker. The zero value is usable.
type Options struct {
	Timeout    time.Duration // an answer that takes longer is none; 0: 5 s, as resolv.conf(5) has it
	MaxPending int           // questions that wait for an answer at most; 0: 8192
}

// Lookup is a question and what became of it.
type Lookup struct {
	Owner     wire.OwnerRef
	Comm      string
	Server    netip.AddrPort // that was asked
	Transport uint8          // IPPROTO_*
	Name      string         // see Message.Name; only of those that failed
	Type      uint16
	RCode     uint8
	TimedOut  bool   // there was no answer: RCode means nothing
	Questions int    // how often it was asked, on the same socket with the same id
	StartNs   uint64 // CLOCK_MONOTONIC: the first question was sent
	EndNs     uint64 // the answer was received; of one that timed out the end of the wait
}

// Failed: there is no answer, or one that says why there is none. A name that does not exist is an answer.
func (l *Lookup) Failed() bool { return l.TimedOut || l.RCode != 0 && l.RCode != rcodeNXDomain }

const rcodeNXDomain = 3

// Stats are the books: Questions = Answered + TimedOut + Unknown + Pending.
type Stats struct {
	Questions uint64 // different ones: those that were asked again count once
	Answered  uint64
	TimedOut  uint64
	Unknown   uint64 // their answer may have come unseen: a record was lost, or could not be read
	Evicted   uint64 // of those Unknown that were given up because there were too many
	Pending   uint64
	Stray     uint64 // answers to questions that were not seen, or had timed out
	Malformed uint64 // messages that are no question or answer of this kind
}

// key finds the questions of a socket with an id: nearly always one.
type key struct {
	socket uint64
	id     uint16
	kind   uint16
}

type question struct {
	key        key
	message    Message
	lookup     Lookup
	older      *question // list by StartNs
	newer      *question
	next       *question // of the same key; of the free list
	unreadable bool      // something came to the socket that could not be read
}

// Tracker pairs. Time is that of the records. It is not safe for concurrent use.
type Tracker struct {
	options Options
	done    func(*Lookup)
	pending map[key]*question
	oldest  *question
	newest  *question
	free    *question
	count   int
	parsed  Message
	comms   map[[16]uint8]string
	stats   Stats
	streams map[uint64]*streams
	early   [16]early // answers to questions that were not seen yet
	earlyAt int
}

// early is an answer that another thread received before the call that asked had returned, which is when the
// question is told of.
type early struct {
	socket  uint64
	timeNs  uint64
	message Message
}

const earlyWindow = uint64(100 * time.Millisecond)

// NewTracker makes a tracker that calls done for each lookup that has ended; the Lookup is valid during the call.
func NewTracker(options Options, done func(*Lookup)) *Tracker {
	options.Timeout = cmp.Or(options.Timeout, 5*time.Second)
	options.MaxPending = cmp.Or(options.MaxPending, 8192)
	return &Tracker{
		options: options, done: done,
		pending: map[key]*question{}, comms: map[[16]uint8]string{}, streams: map[uint64]*streams{},
	}
}

// Stats are the books so far.
func (t *Tracker) Stats() Stats {
	stats := t.stats
	stats.Pending = uint64(t.count)
	return stats
}

// Datagram takes a record and the bytes that were captured of the datagram.
func (t *Tracker) Datagram(r *wire.DatagramRecord, data []byte) {
	if r.Flags&wire.PayloadNotCaptured != 0 {
		t.stats.Malformed++
		t.doubt(r.Socket)
		return
	}
	if !t.parsed.Parse(data) {
		t.stats.Malformed++
		return
	}
	if r.Direction == wire.DirectionTransmit {
		if t.parsed.Response {
			t.stats.Malformed++
			return
		}
		t.asked(r.Socket, Lookup{
			Owner: r.Owner, Comm: t.text(r.Comm), Server: r.Pair.RemoteAddr(), Transport: r.Pair.Protocol,
			StartNs: r.Header.TimeNs,
		})
		return
	}
	t.answered(r.Socket, r.Header.TimeNs)
}

// asked takes a question, in t.parsed.
func (t *Tracker) asked(socket uint64, lookup Lookup) {
	k := key{socket, t.parsed.ID, t.parsed.Type}
	for q := t.pending[k]; q != nil; q = q.next {
		if q.message.sameQuestion(&t.parsed) {
			if q.lookup.Questions++; q.lookup.Server != lookup.Server {
				q.lookup.Server = lookup.Server
			}
			return
		}
	}
	if t.count >= t.options.MaxPending {
		t.stats.Evicted++
		t.stats.Unknown++
		t.remove(t.oldest)
	}
	q := t.free
	if q == nil {
		q = &question{}
	} else {
		t.free = q.next
	}
	*q = question{key: k, message: t.parsed, lookup: lookup, older: t.newest, next: t.pending[k]}
	q.lookup.Type, q.lookup.Questions = t.parsed.Type, 1
	t.pending[k] = q
	if t.newest != nil {
		t.newest.newer = q
	} else {
		t.oldest = q
	}
	t.newest = q
	t.count++
	t.stats.Questions++
	for i := range t.early {
		e := &t.early[i]
		if e.socket == socket && e.timeNs+earlyWindow > lookup.StartNs && e.message.ID == q.message.ID && e.message.sameQuestion(&q.message) {
			q.lookup.RCode, q.lookup.EndNs = e.message.RCode, lookup.StartNs
			e.socket = 0
			t.stats.Answered++
			t.stats.Stray--
			t.end(q)
			return
		}
	}
}

// answered takes an answer, in t.parsed.
func (t *Tracker) answered(socket uint64, timeNs uint64) {
	if !t.parsed.Response {
		t.stats.Malformed++
		return
	}
	for q := t.pending[key{socket, t.parsed.ID, t.parsed.Type}]; q != nil; q = q.next {
		if !q.message.sameQuestion(&t.parsed) {
			continue
		}
		if timeNs > q.lookup.StartNs+uint64(t.options.Timeout) {
			t.stats.Stray++ // that there was none in time will be told
			return
		}
		q.lookup.RCode, q.lookup.EndNs = t.parsed.RCode, max(timeNs, q.lookup.StartNs)
		t.stats.Answered++
		t.end(q)
		return
	}
	t.stats.Stray++
	t.early[t.earlyAt%len(t.early)] = early{socket, timeNs, t.parsed}
	t.earlyAt++
}

func (t *Tracker) end(q *question) {
	if q.lookup.RCode != 0 || q.lookup.TimedOut {
		q.lookup.Name = q.message.Name()
	}
	t.done(&q.lookup)
	t.remove(q)
}

// doubt: something came to, or went from, a socket and could not be read. What it has pending may be answered.
func (t *Tracker) doubt(socket uint64) {
	for q := t.oldest; q != nil; q = q.newer {
		if q.key.socket == socket {
			q.unreadable = true
		}
	}
}

// Expire ends what has waited for too long at timeNs. lost says that records were lost since it was called last:
// the answers to what was pending then may have been among them, and nothing is said of those that have none.
func (t *Tracker) Expire(timeNs uint64, lost bool) {
	if lost {
		for q := t.oldest; q != nil; q = q.newer {
			q.unreadable = true
		}
	}
	for q := t.oldest; q != nil && q.lookup.StartNs+uint64(t.options.Timeout) < timeNs; q = t.oldest {
		if q.unreadable {
			t.stats.Unknown++
			t.remove(q)
			continue
		}
		q.lookup.TimedOut, q.lookup.EndNs = true, q.lookup.StartNs+uint64(t.options.Timeout)
		t.stats.TimedOut++
		t.end(q)
	}
}

func (t *Tracker) remove(q *question) {
	if first := t.pending[q.key]; first != q {
		for first.next != q {
			first = first.next
		}
		first.next = q.next
	} else if q.next != nil {
		t.pending[q.key] = q.next
	} else {
		delete(t.pending, q.key)
	}
	if q.older != nil {
		q.older.newer = q.newer
	} else {
		t.oldest = q.newer
	}
	if q.newer != nil {
		q.newer.older = q.older
	} else {
		t.newest = q.older
	}
	t.count--
	*q = question{next: t.free}
	t.free = q
}

// text interns process names, of which there are few.
func (t *Tracker) text(comm [16]uint8) string {
	name, ok := t.comms[comm]
	if !ok {
		if len(t.comms) >= 4096 {
			clear(t.comms)
		}
		name = wire.Text(comm)
		t.comms[comm] = name
	}
	return name
}

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
	"github.com/ebpfnet/ebpfnetreceiver/internal/otlp"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

const in, out = wire.DirectionReceive, wire.DirectionTransmit

// movement is a record of connection 1 with a few bytes captured.
func movement(direction uint8, timeNs uint64, sequence, length uint32) *wire.PayloadRecord {
	return &wire.PayloadRecord{
		Header: wire.RecordHeader{TimeNs: timeNs}, ConnID: 1, Direction: direction,
		Sequence: sequence, Length: length, Captured: length, SRTTUs: 250, Retransmits: 3,
	}
}

func arrived(r *wire.PayloadRecord, nic, queued uint64, length uint32) *wire.PayloadRecord {
	r.ArrivedNs, r.QueuedNs, r.ArrivedEnd = nic, queued, r.Sequence+length
	return r
}

func departed(r *wire.PayloadRecord, timeNs uint64, sequence uint32) *wire.PayloadRecord {
	r.DepartedNs, r.DepartedEnd = timeNs, sequence
	return r
}

// served is a call whose request, of 100 bytes from 4294967200 on, was read at 2000 and answered from 5000 to 6000.
func servedCall() *l7.Call {
	return &l7.Call{
		ConnID: 1, Server: true, RequestSequence: 4294967200, SequenceKnown: true,
		ResponseSequence: 700, ResponseSequenceKnown: true, StartNs: 2000, ResponseStartNs: 5000, EndNs: 6000,
	}
}

func splitOf(call *l7.Call, records ...*wire.PayloadRecord) otlp.Parts {
	t := newTimes()
	for _, r := range records {
		t.note(r)
	}
	return t.split(call)
}

func TestTheTimeOfAServedCallIsSplit(t *testing.T) {
	call := servedCall()
	parts := splitOf(call,
		arrived(movement(in, 2000, 4294967200, 100), 900, 1000, 100),
		movement(out, 5000, 700, 1000),
		departed(movement(out, 6000, 1700, 50), 6400, 1750),
	)
	assert.Equal(t, otlp.Parts{
		NICToTCP: 100, TCPToApp: 1000, Application: 3000, AppToDevice: 400, Peer: -1,
		RTT: 250 * time.Microsecond, Retransmits: -1,
	}, parts)
	assert.EqualValues(t, 900, call.StartNs, "it began when its request came")
	assert.EqualValues(t, 6400, call.EndNs, "and ended when its answer was out")
}

func TestWhatTheRestOfARequestTakesIsNotTheApplications(t *testing.T) {
	for end, application := range map[uint64]time.Duration{0: 3000, 2000: 3000, 4500: 500, 5000: 0, 5500: 3000} {
		call := servedCall()
		call.RequestEndNs = end
		assert.Equal(t, application, splitOf(call, movement(in, 2000, 4294967200, 100), movement(out, 5000, 700, 1000)).Application, end)
	}
	lost := servedCall()
	lost.Capture = l7.Gap
	assert.EqualValues(t, -1, splitOf(lost, movement(in, 2000, 4294967200, 100), movement(out, 5000, 700, 1000)).Application)
}

func TestWhatAServerSentAgainIsAtLeastThat(t *testing.T) {
	last := movement(out, 6000, 1700, 50)
	last.Retransmits = 5
	assert.EqualValues(t, 2, splitOf(servedCall(), movement(in, 2000, 4294967200, 100), last).Retransmits)
}

func TestTheTimeOfACallThatWasMadeIsSplit(t *testing.T) {
	call := &l7.Call{
		ConnID: 1, RequestSequence: 10, SequenceKnown: true,
		ResponseSequence: 700, ResponseSequenceKnown: true, StartNs: 1000, RequestEndNs: 1000, ResponseStartNs: 7000, EndNs: 9000,
	}
	late := movement(in, 9000, 800, 50)
	late.Retransmits, late.Captured = 5, 0
	parts := splitOf(call,
		departed(movement(out, 1000, 10, 90), 1300, 100),
		arrived(movement(in, 7000, 700, 100), 0, 6000, 100),
		late,
	)
	assert.Equal(t, otlp.Parts{
		NICToTCP: -1, TCPToApp: 1000, Application: -1, AppToDevice: 300, Peer: 4700,
		RTT: 250 * time.Microsecond, Retransmits: 2,
	}, parts)
	assert.EqualValues(t, 1000, call.StartNs)
	assert.EqualValues(t, 9000, call.EndNs)

	call.RequestEndNs = 1500
	parts = splitOf(call, departed(movement(out, 1000, 10, 90), 1300, 100), movement(out, 1500, 100, 10),
		arrived(movement(in, 7000, 700, 100), 0, 6000, 100))
	assert.EqualValues(t, []time.Duration{-1, -1}, []time.Duration{parts.AppToDevice, parts.Peer}, "in two calls")

	call.RequestEndNs = 1000
	parts = splitOf(call, departed(movement(out, 1000, 10, 90), 6500, 100),
		arrived(movement(in, 7000, 700, 100), 0, 6000, 100))
	assert.EqualValues(t, []time.Duration{-1, -1}, []time.Duration{parts.AppToDevice, parts.Peer}, "the answer came first")
}

func TestWhatIsNotCertainOfACallsTimeIsNotTold(t *testing.T) {
	request := func() *wire.PayloadRecord { return movement(in, 2000, 4294967200, 100) }
	answer := func() *wire.PayloadRecord { return movement(out, 6000, 1700, 50) }
	for name, records := range map[string][]*wire.PayloadRecord{
		"nothing was noted":                         {request(), answer()},
		"bytes after those of the packet":           {arrived(movement(in, 2000, 4294967100, 200), 900, 1000, 100)},
		"a packet that came after it was read":      {arrived(request(), 900, 2001, 100)},
		"the same number, another time":             {arrived(movement(in, 1900, 4294967200, 100), 900, 1000, 100)},
		"other bytes":                               {arrived(movement(in, 2000, 100, 100), 900, 1000, 100)},
		"not all of it has departed":                {departed(answer(), 6400, 1749)},
		"later bytes have departed":                 {departed(answer(), 6400, 1751)},
		"it departed before the send is said to be": {departed(answer(), 5999, 1750)},
	} {
		t.Run(name, func(t *testing.T) {
			call := servedCall()
			parts := splitOf(call, records...)
			assert.EqualValues(t, []time.Duration{-1, -1, -1, -1},
				[]time.Duration{parts.NICToTCP, parts.TCPToApp, parts.AppToDevice, parts.Peer})
			assert.EqualValues(t, 2000, call.StartNs)
			assert.EqualValues(t, 6000, call.EndNs)
		})
	}
	unseen := servedCall()
	unseen.SequenceKnown = false
	assert.Equal(t, otlp.NoParts(), splitOf(unseen, arrived(request(), 900, 1000, 100)))
	assert.Equal(t, otlp.NoParts(), splitOf(servedCall()))
}

func TestTheMomentsOfManyCallsAtATimeAreKept(t *testing.T) {
	times := newTimes()
	stream := func(n uint32) *l7.Call {
		return &l7.Call{
			ConnID: 1, Server: true, StreamID: 2*n + 1, RequestSequence: 100 * n, SequenceKnown: true,
			StartNs: uint64(1000 + n), ResponseStartNs: 1e6, EndNs: 1e6,
		}
	}
	ask := func(from, to uint32) {
		for n := from; n < to; n++ {
			times.note(arrived(movement(in, uint64(1000+n), 100*n, 100), 0, 900, 100))
		}
	}
	known := func(from, to uint32) (known int) {
		for n := from; n < to; n++ {
			if times.split(stream(n)).TCPToApp >= 0 {
				known++
			}
		}
		return known
	}
	ask(0, 20)
	require.Equal(t, momentsKept, known(0, 20))
	ask(20, 50)
	require.Equal(t, 30, known(20, 50), "once a call of HTTP/2 was seen, more are kept")
	require.Equal(t, momentsKept, known(0, 20), "and what was kept before stays")
	ask(50, 200)
	require.Equal(t, momentsKeptHTTP2, known(0, 200))
}

func TestNothingIsRememberedOfConnectionsThatAreGone(t *testing.T) {
	times := newTimes()
	for id := range uint64(3) {
		r := movement(in, 1, 1, 1)
		r.ConnID = id
		times.note(r)
	}
	times.forget(2)
	times.sweep(func(id uint64) bool { return id == 1 })
	require.Len(t, times.byConn, 1)
	require.Contains(t, times.byConn, uint64(1))
	times.note(movement(out, 1, 1, 1))
	require.Len(t, times.byConn, 1)
}

func TestAConnectionKnowsNothingOfTheOneBeforeIt(t *testing.T) {
	times := newTimes()
	times.note(arrived(movement(in, 2000, 4294967200, 100), 900, 1000, 100))
	*times.ended(servedCall()) = span{startNs: 2000, endNs: 6000, ids: ids{Link: otlp.Link{SpanID: [8]byte{1}}}}
	before := times.byConn[1]
	times.forget(1)
	other := movement(out, 5000, 7, 1)
	other.ConnID = 2
	times.note(other)
	require.Same(t, before, times.byConn[2])
	call := servedCall()
	call.ConnID = 2
	require.Equal(t, otlp.NoParts(), times.split(call))
	_, ok := times.during(2, call.StartNs)
	require.False(t, ok)
	require.Nil(t, times.spanAt(2, true, call.RequestSequence))
}

func TestShortConnectionsAllocateNothingForTheirTimes(t *testing.T) {
	times := newTimes()
	one := func() {
		times.note(arrived(movement(in, 2000, 4294967200, 100), 900, 1000, 100))
		times.forget(1)
	}
	one()
	require.Zero(t, testing.AllocsPerRun(100, one))
}

func BenchmarkNoteAndSplit(b *testing.B) {
	times := newTimes()
	request := arrived(movement(in, 2000, 4294967200, 100), 900, 1000, 100)
	answer := departed(movement(out, 6000, 700, 50), 6400, 750)
	call := servedCall()
	b.ReportAllocs()
	for b.Loop() {
		times.note(request)
		times.note(answer)
		call.StartNs, call.EndNs = 2000, 6000
		times.split(call)
	}
}

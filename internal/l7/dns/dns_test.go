package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// message is made by another implementation.
func message(t testing.TB, response bool, id uint16, name string, kind dnsmessage.Type, rcode dnsmessage.RCode, addresses ...netip.Addr) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: response, RCode: rcode, RecursionDesired: true})
	b.EnableCompression()
	question := dnsmessage.MustNewName(name)
	require.NoError(t, b.StartQuestions())
	require.NoError(t, b.Question(dnsmessage.Question{Name: question, Type: kind, Class: dnsmessage.ClassINET}))
	require.NoError(t, b.StartAnswers())
	for _, address := range addresses {
		header := dnsmessage.ResourceHeader{Name: question, Class: dnsmessage.ClassINET, TTL: 60}
		if address.Is4() {
			require.NoError(t, b.AResource(header, dnsmessage.AResource{A: address.As4()}))
		} else {
			require.NoError(t, b.AAAAResource(header, dnsmessage.AAAAResource{AAAA: address.As16()}))
		}
	}
	out, err := b.Finish()
	require.NoError(t, err)
	return out
}

func query(t testing.TB, id uint16, name string) []byte {
	return message(t, false, id, name, dnsmessage.TypeA, 0)
}

func answer(t testing.TB, id uint16, name string, rcode dnsmessage.RCode) []byte {
	return message(t, true, id, name, dnsmessage.TypeA, rcode)
}

func TestMessagesOfAnotherImplementationAreRead(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	var m Message
	data := message(t, true, 7, "Www.Example-1._tcp.COM.", dnsmessage.TypeAAAA, dnsmessage.RCodeNameError, addresses...)
	require.True(t, m.Parse(data))
	assert.Equal(t, "www.example-1._tcp.com", m.Name())
	assert.EqualValues(t, 7, m.ID)
	assert.True(t, m.Response)
	assert.Equal(t, "NXDOMAIN", RCodeName(m.RCode))
	assert.Equal(t, "AAAA", TypeName(m.Type))
	var found []netip.Addr
	m.Addresses(data, func(address netip.Addr, ttl uint32) {
		assert.EqualValues(t, 60, ttl)
		found = append(found, address)
	})
	assert.Equal(t, addresses, found)
	require.True(t, m.Parse(query(t, 1, ".")))
	assert.Equal(t, ".", m.Name())
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	good := query(t, 1, "a.example.")
	with := func(change func([]byte)) []byte {
		data := slices.Clone(good)
		change(data)
		return data
	}
	for name, data := range map[string][]byte{
		"empty":                {},
		"header alone":         good[:12],
		"cut in the name":      good[:15],
		"cut in the type":      good[:len(good)-3],
		"two questions":        with(func(b []byte) { b[5] = 2 }),
		"no question":          with(func(b []byte) { b[5] = 0 }),
		"an update":            with(func(b []byte) { b[2] |= 5 << 3 }),
		"a query that answers": with(func(b []byte) { b[7] = 1 }),
		"a compressed name":    with(func(b []byte) { b[12] = 0xc0 }),
		"class CHAOS":          with(func(b []byte) { b[len(b)-1] = 3 }),
		"a long name":          append(append(good[:12:12], []byte(strings.Repeat("\x3f"+strings.Repeat("a", 63), 4))...), 0, 0, 1, 0, 1),
	} {
		assert.False(t, new(Message).Parse(data), name)
	}
}

// conversation drives a tracker through time.
type conversation struct {
	*testing.T
	*Tracker
	time   uint64
	ended  []Lookup
	socket uint64
}

func newConversation(t *testing.T, options Options) *conversation {
	c := &conversation{T: t, time: uint64(time.Hour), socket: 1}
	c.Tracker = NewTracker(options, func(l *Lookup) { c.ended = append(c.ended, *l) })
	return c
}

func (c *conversation) datagram(direction uint8, data []byte) {
	r := &wire.DatagramRecord{Socket: c.socket, Length: uint32(len(data)), Captured: uint32(len(data)), Direction: direction}
	r.Header = wire.RecordHeader{TimeNs: c.time, Kind: wire.RecordDatagram}
	r.Pair = wire.AddressPair{Remote: netip.MustParseAddr("::ffff:10.0.0.53").As16(), RemotePort: 53, Protocol: 17}
	copy(r.Comm[:], "curl")
	c.Datagram(r, data)
}

func (c *conversation) sends(data []byte)    { c.datagram(wire.DirectionTransmit, data) }
func (c *conversation) gets(data []byte)     { c.datagram(wire.DirectionReceive, data) }
func (c *conversation) pass(d time.Duration) { c.time += uint64(d) }

func (c *conversation) balanced() {
	c.Helper()
	s := c.Stats()
	assert.Equal(c, s.Questions, s.Answered+s.TimedOut+s.Unknown+s.Pending, "%+v", s)
}

func TestAnAnswerEndsItsQuestionAlone(t *testing.T) {
	c := newConversation(t, Options{})
	c.sends(query(t, 1, "a.example."))
	c.sends(message(t, false, 1, "a.example.", dnsmessage.TypeAAAA, 0))
	c.sends(query(t, 2, "a.example."))
	c.pass(20 * time.Millisecond)
	c.gets(answer(t, 1, "b.example.", 0)) // another question
	c.gets(answer(t, 3, "a.example.", 0)) // another id
	c.socket = 2
	c.gets(answer(t, 1, "a.example.", 0)) // another socket
	assert.Empty(t, c.ended)
	c.socket = 1
	c.gets(answer(t, 1, "A.Example.", dnsmessage.RCodeServerFailure))
	require.Len(t, c.ended, 1)
	l := c.ended[0]
	assert.Equal(t, uint64(20*time.Millisecond), l.EndNs-l.StartNs)
	assert.True(t, l.Failed())
	assert.Equal(t, "a.example", l.Name)
	assert.Equal(t, "curl", l.Comm)
	assert.Equal(t, netip.MustParseAddrPort("10.0.0.53:53"), l.Server)
	assert.EqualValues(t, typeA, l.Type)
	assert.EqualValues(t, 2, c.Stats().Pending)
	assert.EqualValues(t, 3, c.Stats().Stray)
	c.gets(answer(t, 2, "a.example.", 0))
	assert.Len(t, c.ended, 2)
	c.balanced()
}

func TestAQuestionThatIsRepeatedIsOneLookup(t *testing.T) {
	c := newConversation(t, Options{})
	c.sends(query(t, 1, "a.example."))
	c.pass(time.Second)
	c.sends(query(t, 1, "a.example."))
	c.pass(time.Millisecond)
	c.gets(answer(t, 1, "a.example.", 0))
	c.gets(answer(t, 1, "a.example.", 0))
	require.Len(t, c.ended, 1)
	assert.Equal(t, 2, c.ended[0].Questions)
	assert.Equal(t, uint64(1001*time.Millisecond), c.ended[0].EndNs-c.ended[0].StartNs)
	c.balanced()
}

func TestAQuestionWithoutAnAnswerTimesOut(t *testing.T) {
	c := newConversation(t, Options{Timeout: 2 * time.Second})
	c.sends(query(t, 1, "a.example."))
	c.Expire(c.time+uint64(2*time.Second), false)
	assert.Empty(t, c.ended, "not yet")
	c.pass(2100 * time.Millisecond)
	c.gets(answer(t, 1, "a.example.", 0))
	assert.Empty(t, c.ended, "too late")
	c.Expire(c.time, false)
	require.Len(t, c.ended, 1)
	assert.True(t, c.ended[0].TimedOut)
	assert.True(t, c.ended[0].Failed())
	assert.Equal(t, uint64(2*time.Second), c.ended[0].EndNs-c.ended[0].StartNs)
	assert.Equal(t, "a.example", c.ended[0].Name)
	c.balanced()
}

func TestNothingIsSaidOfWhatMayHaveBeenAnsweredUnseen(t *testing.T) {
	for name, unseen := range map[string]func(c *conversation){
		"a record was lost": func(c *conversation) { c.Expire(c.time, true) },
		"an answer could not be read": func(c *conversation) {
			c.Datagram(&wire.DatagramRecord{Socket: 1, Direction: wire.DirectionReceive, Flags: wire.PayloadNotCaptured}, nil)
		},
	} {
		c := newConversation(t, Options{})
		c.sends(query(t, 1, "a.example."))
		unseen(c)
		c.pass(time.Minute)
		c.Expire(c.time, false)
		assert.Empty(t, c.ended, name)
		assert.EqualValues(t, 1, c.Stats().Unknown, name)
		c.balanced()
	}
}

func TestAnAnswerMayBeToldOfBeforeItsQuestion(t *testing.T) {
	c := newConversation(t, Options{})
	c.gets(answer(t, 1, "a.example.", dnsmessage.RCodeNameError))
	c.pass(time.Microsecond)
	c.sends(query(t, 1, "a.example."))
	require.Len(t, c.ended, 1)
	assert.False(t, c.ended[0].Failed(), "that there is no such name is an answer")
	assert.Zero(t, c.Stats().Stray)
	c.pass(time.Second)
	c.sends(query(t, 1, "a.example."))
	assert.Len(t, c.ended, 1, "it answered one question")
	c.balanced()
}

func TestTooManyQuestionsPushOutTheOldest(t *testing.T) {
	c := newConversation(t, Options{MaxPending: 3})
	for id := range uint16(5) {
		c.sends(query(t, id, "a.example."))
	}
	for id := range uint16(5) {
		c.gets(answer(t, id, "a.example.", 0))
	}
	assert.Len(t, c.ended, 3)
	assert.EqualValues(t, 2, c.Stats().Unknown)
	assert.EqualValues(t, 2, c.Stats().Evicted)
	c.balanced()
}

// framed is messages as TCP carries them.
func framed(messages ...[]byte) (stream []byte) {
	for _, m := range messages {
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(m))), m...)
	}
	return stream
}

func (c *conversation) opens(id uint64) {
	c.Open(&Connection{ID: id, Server: netip.MustParseAddrPort("10.0.0.53:53"), FirstSent: 100, FirstReceived: 1<<32 - 5})
}

// moves hands over data in pieces of so many bytes.
func (c *conversation) moves(id uint64, direction uint8, sequence uint32, data []byte, piece int) {
	for part := range slices.Chunk(data, piece) {
		r := &wire.PayloadRecord{ConnID: id, Sequence: sequence, Length: uint32(len(part)), Captured: uint32(len(part)), Direction: direction}
		r.Header.TimeNs = c.time
		c.Payload(r, part)
		sequence += uint32(len(part))
		c.pass(time.Microsecond)
	}
}

func TestLookupsOverTCPArePairedHoweverTheBytesCome(t *testing.T) {
	large := make([]netip.Addr, 100)
	for i := range large {
		large[i] = netip.MustParseAddr("2001:db8::1")
	}
	for _, piece := range []int{1, 2, 3, 7, 100, 10000} {
		c := newConversation(t, Options{})
		c.opens(1)
		c.moves(1, wire.DirectionTransmit, 100, framed(query(t, 1, "a.example."), query(t, 2, "b.example.")), piece)
		c.moves(1, wire.DirectionReceive, 1<<32-5, framed(
			message(t, true, 2, "b.example.", dnsmessage.TypeA, 0, large...), answer(t, 1, "a.example.", dnsmessage.RCodeRefused)), piece)
		require.Len(t, c.ended, 2, piece)
		assert.EqualValues(t, protocolTCP, c.ended[0].Transport)
		assert.Equal(t, "a.example", c.ended[1].Name)
		assert.Equal(t, "REFUSED", RCodeName(c.ended[1].RCode))
		c.balanced()
	}
}

func TestAGapInAStreamEndsWhatIsSaidOfIt(t *testing.T) {
	c := newConversation(t, Options{})
	c.opens(1)
	asked := framed(query(t, 1, "a.example."))
	c.moves(1, wire.DirectionTransmit, 100, asked, 1000)
	answers := framed(answer(t, 1, "a.example.", 0))
	c.moves(1, wire.DirectionReceive, 1<<32-5+3, answers[3:], 1000)
	c.moves(1, wire.DirectionReceive, 1<<32-5, answers, 1000)
	c.pass(time.Minute)
	c.Expire(c.time, false)
	assert.Empty(t, c.ended)
	assert.EqualValues(t, 1, c.Stats().Unknown)
	c.balanced()
}

func TestALongAnswerNeedNotBeCapturedWhole(t *testing.T) {
	c := newConversation(t, Options{})
	c.opens(1)
	c.moves(1, wire.DirectionTransmit, 100, framed(query(t, 1, "a.example."), query(t, 2, "a.example.")), 1000)
	many := make([]netip.Addr, 300)
	for i := range many {
		many[i] = netip.MustParseAddr("192.0.2.1")
	}
	first := framed(message(t, true, 1, "a.example.", dnsmessage.TypeA, 0, many...))
	r := &wire.PayloadRecord{ConnID: 1, Sequence: 1<<32 - 5, Length: uint32(len(first) - 10), Captured: 2048, Direction: wire.DirectionReceive}
	r.Header.TimeNs = c.time
	c.Payload(r, first[:2048])
	c.moves(1, wire.DirectionReceive, 1<<32-5+uint32(len(first)-10), append(first[len(first)-10:], framed(answer(t, 2, "a.example.", 0))...), 1000)
	assert.Len(t, c.ended, 2)
	c.balanced()
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	c := newConversation(t, Options{})
	asked, answered := query(t, 1, "a.example."), answer(t, 1, "a.example.", 0)
	c.done = func(*Lookup) {}
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		r := wire.DatagramRecord{Socket: 1, Direction: wire.DirectionTransmit}
		c.Datagram(&r, asked)
		r.Direction = wire.DirectionReceive
		c.Datagram(&r, answered)
	}))
}

// FuzzMessage: whatever is parsed is what another implementation reads too, and nothing reaches beyond the data.
func FuzzMessage(f *testing.F) {
	f.Add(query(f, 1, "a.example."))
	f.Add(message(f, true, 1, "a.example.", dnsmessage.TypeA, 0, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Message
		if !m.Parse(data) {
			return
		}
		m.Addresses(data, func(netip.Addr, uint32) {})
		var p dnsmessage.Parser
		header, err := p.Start(data)
		require.NoError(t, err)
		assert.Equal(t, header.ID, m.ID)
		assert.Equal(t, header.Response, m.Response)
		assert.EqualValues(t, header.RCode, m.RCode)
		question, err := p.Question()
		if err != nil { // it refuses names with dots in labels
			return
		}
		assert.EqualValues(t, question.Type, m.Type)
		if name := strings.ToLower(strings.TrimSuffix(question.Name.String(), ".")); name != "" && !strings.Contains(m.Name(), "\\") {
			assert.Equal(t, name, m.Name())
		}
	})
}

// FuzzStream: bytes of a connection in any pieces break nothing.
func FuzzStream(f *testing.F) {
	f.Add(framed(query(f, 1, "a.example."), answer(f, 1, "a.example.", 0)), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		c := newConversation(t, Options{MaxPending: 4})
		c.opens(1)
		c.moves(1, wire.DirectionTransmit, 100, data, int(piece)+1)
		c.moves(1, wire.DirectionReceive, 1<<32-5, data, int(piece)+1)
		c.Expire(c.time+uint64(time.Minute), false)
		c.balanced()
	})
}

func BenchmarkLookup(b *testing.B) {
	tracker := NewTracker(Options{}, func(*Lookup) {})
	asked, answered := query(b, 1, "api.payments.svc.cluster.local."), answer(b, 1, "api.payments.svc.cluster.local.", 0)
	r := wire.DatagramRecord{Socket: 1}
	b.ReportAllocs()
	for b.Loop() {
		r.Direction = wire.DirectionTransmit
		tracker.Datagram(&r, asked)
		r.Direction = wire.DirectionReceive
		tracker.Datagram(&r, answered)
	}
}

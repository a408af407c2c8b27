package l7

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/http2"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// FuzzTracker takes its input as a list of records and other events on a few connections: whatever comes,
// nothing panics, what is held stays within bounds, and the books balance.
func FuzzTracker(f *testing.F) {
	for _, list := range [][]conversation{sequential, pipelined, interleaved} {
		for _, c := range list {
			f.Add(script(records(c.turns)))
			f.Add(script(bytewise(records(c.turns))[:min(100, len(bytewise(records(c.turns))))]))
		}
	}
	for _, c := range corpusOrNil(f) {
		side := ">"
		if c.response {
			side = "<"
		}
		f.Add(script(records([]turn{turn(side + c.input)})))
	}
	requests, answers := corpusHeads(f)
	for i := range min(len(requests), len(answers)) {
		f.Add(script(records([]turn{turn(">" + http2.Preface + string(requests[i])), turn("<" + string(answers[i]))})))
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		options := Options{Headers: []string{"x-id"}, MaxConnections: 3, MaxBytes: 64 << 10, MaxBytesPerConnection: 4 << 10, MaxPending: 4}
		tracker := NewTracker(options, func(c *Call) {
			require.True(t, c.Method != "" || c.StreamID != 0)
			require.True(t, c.Status == 0 || c.Status >= 100 && c.Status <= 599)
			require.True(t, c.EndNs == 0 || c.Error != "" || c.Status != 0 || c.Capture != Complete)
		})
		now := uint64(1)
		for len(events) >= 12 {
			op, id := events[0], uint64(events[1]%4)
			sequence, length := binary.LittleEndian.Uint32(events[2:]), uint32(binary.LittleEndian.Uint16(events[6:]))
			captured := uint32(binary.LittleEndian.Uint16(events[8:]))
			now += uint64(binary.LittleEndian.Uint16(events[10:])) * 100
			events = events[12:]
			switch op % 8 {
			case 5:
				tracker.Mark(id, Origin{MidStream: length&1 != 0, Sequences: length&2 != 0, Receive: sequence, Transmit: sequence})
			case 6:
				tracker.Flush(now)
			case 7:
				tracker.Totals(id, uint64(length), uint64(captured))
				if sequence%2 == 0 {
					tracker.Close(id, now, "")
				} else {
					tracker.CloseUnread(id, now, "")
				}
			default:
				captured = min(captured, length, uint32(len(events)))
				rec := &wire.PayloadRecord{ConnID: id, Sequence: sequence, Length: length, Captured: captured, Direction: op%2 + 1}
				rec.Header.TimeNs = now
				tracker.Payload(rec, events[:captured])
				events = events[captured:]
			}
			held := 0
			for _, c := range tracker.active {
				require.LessOrEqual(t, c.held, options.MaxBytesPerConnection)
				held += c.held
			}
			require.Equal(t, held, tracker.Stats().HeldBytes)
			require.LessOrEqual(t, held, options.MaxBytes)
		}
		tracker.Flush(now + 1e12)
		for id := range uint64(4) {
			tracker.Close(id, now+1e12, "")
		}
		balanced(t, tracker)
	})
}

// corpusHeads are the stories of the HPACK corpus as streams of HEADERS frames, of requests and of answers; none
// where it is not beside the repository.
func corpusHeads(t testing.TB) (requests, answers [][]byte) {
	files, _ := filepath.Glob("../../../shared/corpora/hpack/*/story_*.json")
	for _, file := range files {
		var story struct {
			Cases []struct {
				Wire    string
				Headers []map[string]string
			}
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &story))
		out := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0} // SETTINGS
		for i, c := range story.Cases[:min(6, len(story.Cases))] {
			block, err := hex.DecodeString(c.Wire)
			require.NoError(t, err)
			out = append(out, 0, byte(len(block)>>8), byte(len(block)), 1, 5, 0, 0, 0, byte(2*i+1)) // END_STREAM, END_HEADERS
			out = append(out, block...)
		}
		if _, request := story.Cases[0].Headers[0][":method"]; request {
			requests = append(requests, out)
		} else {
			answers = append(answers, out)
		}
	}
	return requests, answers
}

// script writes records as FuzzTracker reads them.
func script(all []record) (out []byte) {
	for _, r := range all {
		side, origin := byte(0), uint32(requestOrigin)
		if r.server {
			side, origin = 1, responseOrigin
		}
		out = append(out, side, 1)
		out = binary.LittleEndian.AppendUint32(out, origin+uint32(r.offset))
		out = binary.LittleEndian.AppendUint16(out, uint16(len(r.data)))
		out = binary.LittleEndian.AppendUint16(out, uint16(r.captured))
		out = binary.LittleEndian.AppendUint16(out, 10)
		out = append(out, r.data[:r.captured]...)
	}
	return out
}

// FuzzHTTP2 lets the input be what a client and a server send once they speak HTTP/2. Bytes that were not
// seen may make things unknown, never other than they are when all is seen.
func FuzzHTTP2(f *testing.F) {
	for _, end := range converse(f, 7, 2).ends {
		var sides [2][]byte
		for _, r := range end.records {
			if r.server {
				sides[1] = append(sides[1], r.data...)
			} else {
				sides[0] = append(sides[0], r.data...)
			}
		}
		for _, at := range []uint16{9, 100, 1000} {
			f.Add(sides[0], sides[1], at, uint16(5))
		}
	}
	requests, answers := corpusHeads(f)
	for i := range min(len(requests), len(answers)) {
		f.Add(requests[i], answers[i], uint16(50), uint16(20))
	}
	f.Fuzz(func(t *testing.T, client, server []byte, at, hole uint16) {
		if len(client)+len(server) > 1<<16 || len(server) == 0 {
			return
		}
		all := records([]turn{turn(">" + http2.Preface + string(client)), turn("<" + string(server))})
		for _, end := range ends(all) {
			whole, stats := end.see(t, all)
			if stats.GivenUp != [Reasons]uint64{} {
				continue // what is malformed is left at the next record, so that the cuts do matter
			}
			known := map[uint32]Call{}
			for _, call := range whole {
				known[call.StreamID] = call
			}
			for i := range all {
				if n := int(at) % len(all[i].data); n > 0 {
					got, _ := end.see(t, split(all, i, n))
					require.Equal(t, briefs(whole), briefs(got))
				}
			}
			for i := range all {
				if n := int(at) % len(all[i].data); n > 0 {
					cut := split(all, i, n)
					cut[i+1].captured = max(0, len(cut[i+1].data)-int(hole))
					got, _ := end.see(t, cut)
					for _, call := range got {
						if want, ok := known[call.StreamID]; ok && call.Status != 0 && want.Status != 0 {
							require.Equal(t, want.Status, call.Status)
						}
					}
				}
			}
		}
	})
}

// FuzzConversation lets the input be what a client and a server say, in turns: however it is cut into
// records, the same calls come out.
func FuzzConversation(f *testing.F) {
	for _, c := range sequential {
		var request, response string
		for _, turn := range c.turns {
			if turn[0] == '>' {
				request += string(turn[1:])
			} else {
				response += string(turn[1:])
			}
		}
		f.Add(request, response, uint16(7))
	}
	f.Add(" 000", "0 A HTTP/1.0\r\n", uint16(25)) // the server speaks first, and the client not HTTP
	f.Fuzz(func(t *testing.T, request, response string, at uint16) {
		if strings.Contains(request, "CONNECT") || strings.Contains(strings.ToLower(request), "upgrade") {
			return // what follows those is held until the answer, if it is not in too many records
		}
		if request == "" || response == "" || len(request)+len(response) > 4000 {
			return
		}
		whole := records([]turn{turn(">" + request), turn("<" + response)})
		for _, end := range ends(whole) {
			want, stats := end.see(t, whole)
			if stats.GivenUp != [Reasons]uint64{} || len(want) == 0 {
				continue // what is malformed is left at the next record, so that the cuts do matter
			}
			check := func(all []record) {
				got, cut := end.see(t, all)
				if cut.Opaque == stats.Opaque { // else there were too many records that begin like nothing that is known
					require.Equal(t, briefs(want), briefs(got))
				}
			}
			for i := range whole {
				if n := int(at) % len(whole[i].data); n > 0 {
					check(split(whole, i, n))
				}
			}
			check(bytewise(whole))
		}
	})
}

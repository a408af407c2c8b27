package http2

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2/hpack"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

// FuzzHPACK lets the input be the blocks of a connection, each behind its length. Read from the start they say
// what x/net/http2/hpack makes of them; read from some block on, a part of it, and how much is missing.
func FuzzHPACK(f *testing.F) {
	for _, s := range storiesOrNil(f) {
		var input []byte
		for _, c := range s.cases[:min(len(s.cases), 8)] {
			if c.size != 0 { // as the sender announces it, which is how much of it is used
				break
			}
			input = append(binary.BigEndian.AppendUint16(input, uint16(len(c.wire))), c.wire...)
		}
		if len(input) > 0 && len(input) < 4000 {
			f.Add(input, uint8(2))
		}
	}
	f.Add([]byte("\x00\x04\x3f\xe1\x1f\x82\x00\x0c\x40\x01a\x01b\x60\x01c\x01d\x00\x03\xbe\xbf\x20"), uint8(1))
	f.Fuzz(func(t *testing.T, input []byte, joinAt uint8) {
		if len(input) > 1<<14 {
			return
		}
		var all, part everything
		var whole, joined Table
		var block, partBlock Block
		names, partNames, pool := NewNames(all.id), NewNames(part.id), buffer.New(1<<20)
		whole.Begin()
		joined.Forget()
		reference := hpack.NewDecoder(defaultSize, nil)
		for i := 0; len(input) >= 2; i++ {
			n := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
			wire := input[2 : 2+n]
			input = input[2+n:]
			want, err := reference.DecodeFull(wire)
			if !whole.Decode(wire, names, pool, &block) {
				require.True(t, err != nil || !wellFormed(wire), "block %d is refused", i)
				break
			}
			if err != nil && strings.Contains(err.Error(), "size update MUST occur at the beginning") {
				break // so does a second one, which RFC 7541 section 4.2 allows
			}
			require.NoError(t, err, "block %d is accepted", i)
			require.Zero(t, block.Unknown)
			require.Len(t, block.Fields, len(want))
			got := all.fields(&block)
			for k, field := range want {
				require.Equal(t, [2]string{field.Name, field.Value}, got[k])
			}
			if i < int(joinAt) {
				continue
			}
			require.True(t, joined.Decode(wire, partNames, pool, &partBlock), "block %d by who joined", i)
			require.Equal(t, len(got), len(partBlock.Fields)+partBlock.Unknown)
			for _, field := range part.fields(&partBlock) {
				at := slices.Index(got, field)
				require.GreaterOrEqual(t, at, 0, "%q was not there, or not in this place", field)
				got = got[at+1:]
			}
		}
		whole.Release(pool)
		joined.Release(pool)
		require.Zero(t, pool.Held())
	})
}

// FuzzFrames lets the input be what a record begins with: nothing panics, a frame that is recognised is one that
// may be accepted, and what is recognised does not turn into something else when more of it is there.
func FuzzFrames(f *testing.F) {
	files, _ := filepath.Glob(corpora + "/http2-frames/*/*.json")
	for _, file := range files {
		var c struct{ Wire string }
		readJSON(f, file, &c)
		f.Add(unhex(f, c.Wire), uint8(5))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint8) {
		open := func(stream uint32) bool { return stream%4 == 1 }
		for _, ask := range []func(uint32) bool{nil, open} {
			guess := Recognize(data, ask)
			if part := Recognize(data[:min(int(at), len(data))], ask); part != Maybe && guess != Other {
				require.Equal(t, guess, part)
			}
			if guess == Other || len(data) < HeaderSize {
				continue
			}
			h := ParseHeader(data)
			require.NoError(t, h.Check(DefaultMaxFrame))
			if payload := data[HeaderSize:]; len(payload) >= int(h.Length) {
				require.NoError(t, h.CheckPayload(payload[:h.Length]))
				n, err := h.Content(payload[:h.Prefix()])
				require.NoError(t, err)
				require.LessOrEqual(t, n+h.Prefix(), int(h.Length))
			}
		}
	})
}

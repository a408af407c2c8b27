package http2

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2/hpack"
)

// sameHuffman says that both decoders make the same of it.
func sameHuffman(t testing.TB, src []byte) {
	t.Helper()
	var want bytes.Buffer
	_, err := hpack.HuffmanDecode(&want, src)
	got, ok := appendHuffman([]byte("before"), src)
	require.Equal(t, err == nil, ok, "%x", src)
	if ok {
		require.Equal(t, "before"+want.String(), string(got), "%x", src)
	}
}

func TestHuffmanOfEverySymbolAfterEveryOther(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			for _, text := range []string{string([]byte{byte(a), byte(b)}), string([]byte{'a', byte(a), '/', byte(b), '0', byte(a)})} {
				src := hpack.AppendHuffmanString(nil, text)
				got, ok := appendHuffman(nil, src)
				require.True(t, ok)
				require.Equal(t, text, string(got))
			}
		}
	}
}

func TestHuffmanOfAnythingIsReadAsAnotherDecoderReadsIt(t *testing.T) {
	sameHuffman(t, nil)
	for a := range 1 << 16 {
		sameHuffman(t, []byte{byte(a >> 8), byte(a)})
	}
	random := rand.New(rand.NewPCG(4, 5))
	for range 200000 {
		src := make([]byte, random.IntN(12))
		for i := range src {
			src[i] = byte(random.Uint32() | random.Uint32()&0xff*uint32(random.IntN(2))) // many ones: long codes
		}
		sameHuffman(t, src)
		sameHuffman(t, append(src, 0xff, 0xff, 0xff, 0xff)[:len(src)+random.IntN(5)])
	}
}

func FuzzHuffman(f *testing.F) {
	f.Add([]byte{0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, src []byte) { sameHuffman(t, src) })
}

func BenchmarkHuffman(b *testing.B) {
	src := hpack.AppendHuffmanString(nil, "/api/v1/items/4711?fields=name,price&limit=20")
	b.Run("here", func(b *testing.B) {
		var out []byte
		b.ReportAllocs()
		for b.Loop() {
			out, _ = appendHuffman(out[:0], src)
		}
	})
	b.Run("x/net", func(b *testing.B) {
		var out bytes.Buffer
		b.ReportAllocs()
		for b.Loop() {
			out.Reset()
			_, _ = hpack.HuffmanDecode(&out, src)
		}
	})
}

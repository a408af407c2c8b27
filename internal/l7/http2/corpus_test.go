package http2

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7/buffer"
)

const corpora = "../../../../shared/corpora"

type story struct {
	name  string
	cases []storyCase
}

type storyCase struct {
	wire   []byte
	fields [][2]string
	size   uint32 // that the receiver allows from here on; 0: as before
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	return raw
}

func stories(t testing.TB) []story {
	t.Helper()
	all := storiesOrNil(t)
	if all == nil {
		t.Skip("the corpora are not in " + corpora)
	}
	return all
}

func storiesOrNil(t testing.TB) (all []story) {
	t.Helper()
	files, _ := filepath.Glob(corpora + "/hpack/*/story_*.json")
	for _, file := range files {
		var text struct {
			Cases []struct {
				Wire    string
				Size    uint32 `json:"header_table_size"`
				Headers []map[string]string
			}
		}
		readJSON(t, file, &text)
		s := story{name: filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)}
		for _, c := range text.Cases {
			one := storyCase{wire: unhex(t, c.Wire), size: c.Size}
			for _, header := range c.Headers {
				for name, value := range header {
					one.fields = append(one.fields, [2]string{name, value})
				}
			}
			s.cases = append(s.cases, one)
		}
		all = append(all, s)
	}
	return all
}

// everything wants all fields and tells their names.
type everything struct {
	names  []string
	number map[string]ID
}

func (e *everything) id(name []byte) ID {
	id, ok := e.number[string(name)]
	if !ok {
		e.names = append(e.names, string(name))
		id = ID(len(e.names))
		if e.number == nil {
			e.number = map[string]ID{}
		}
		e.number[string(name)] = id
	}
	return id
}

func (e *everything) fields(b *Block) (all [][2]string) {
	for _, field := range b.Fields {
		all = append(all, [2]string{e.names[field.ID-1], string(field.Value)})
	}
	return all
}

func TestCorpusFromTheStartOfAConnection(t *testing.T) {
	blocks := 0
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			var all everything
			var table Table
			var block Block
			names, pool := NewNames(all.id), buffer.New(1<<20)
			table.Begin()
			for i, c := range s.cases {
				if c.size != 0 {
					table.Allow(c.size)
				}
				require.Truef(t, table.Decode(c.wire, names, pool, &block), "block %d", i)
				require.Zero(t, block.Unknown)
				require.Equalf(t, c.fields, all.fields(&block), "block %d", i)
				require.True(t, wellFormed(c.wire))
				blocks++
			}
			table.Release(pool)
			require.Zero(t, pool.Held())
		})
	}
	t.Logf("%d blocks, all exact", blocks)
	require.Greater(t, blocks, 10000)
}

var wanted = []string{":method", ":path", ":status", ":authority", "content-type"}

func wantedID(name []byte) ID { return ID(slices.Index(wanted, string(name)) + 1) }

// followed is how well the wanted fields of blocks are told, by one who knows nothing before the first.
type followed struct{ right, unknown, wrong int }

func (f *followed) follow(t *testing.T, table *Table, cases []storyCase) {
	var block Block
	names, pool := NewNames(wantedID), buffer.New(1<<20)
	for _, c := range cases {
		require.True(t, table.Decode(c.wire, names, pool, &block))
		var got [][2]string
		for _, field := range block.Fields {
			got = append(got, [2]string{wanted[field.ID-1], string(field.Value)})
		}
		want, missing := 0, 0
		for _, field := range c.fields {
			if slices.Contains(wanted, field[0]) {
				want++
				if i := slices.Index(got, field); i >= 0 {
					got = slices.Delete(got, i, i+1)
				} else {
					missing++
				}
			}
		}
		f.right += want - missing
		f.unknown += missing
		f.wrong += len(got)
		require.LessOrEqual(t, missing, block.Unknown)
	}
}

// What a block refers to that was inserted before is unknown for good. So the later one joins a story of the
// corpus, the fewer blocks are left to insert things anew, and the smaller the part that is told. It is all that
// can be told: unknown is exactly what would read otherwise had the blocks before inserted something else, while
// the blocks that were seen stay the same, byte for byte.
func TestCorpusJoinedInTheMiddle(t *testing.T) {
	all := stories(t)
	join := func(quarter int) (sum followed) {
		onHistory := 0
		for _, s := range all {
			var table Table
			table.Forget()
			at := len(s.cases) * quarter / 4
			sum.follow(t, &table, s.cases[at:])
			onHistory += dependOnHistory(t, s.cases[:at], s.cases[at:])
		}
		t.Logf("joined at %d/4: %+v, %.2f %% right; %.2f %% can be known", quarter, sum, 100*sum.told(),
			100*(1-float64(onHistory)/float64(sum.right+sum.unknown)))
		require.Zero(t, sum.wrong)
		require.Equal(t, onHistory, sum.unknown)
		return sum
	}
	first, second, third := join(1), join(2), join(3)
	require.Greater(t, first.told(), 0.97)
	sum := followed{right: first.right + second.right + third.right, unknown: first.unknown + second.unknown + third.unknown}
	t.Logf("all together: %.2f %% right", 100*sum.told())
}

// dependOnHistory is how many wanted fields of after, blocks that follow those of before, come out otherwise if
// the values that before inserted are others of the same length.
func dependOnHistory(t *testing.T, before, after []storyCase) (n int) {
	var table Table
	var block Block
	names, pool := NewNames(wantedID), buffer.New(1<<20)
	decode := func(c storyCase) {
		if c.size != 0 {
			table.Allow(c.size)
		}
		require.True(t, table.Decode(c.wire, names, pool, &block))
	}
	table.Begin()
	for _, c := range before {
		decode(c)
	}
	for i := range table.text {
		table.text[i] ^= 0x80
	}
	for _, c := range after {
		decode(c)
		var want [][2]string
		for _, field := range c.fields {
			if slices.Contains(wanted, field[0]) {
				want = append(want, field)
			}
		}
		require.Len(t, block.Fields, len(want))
		for i, field := range block.Fields {
			if string(field.Value) != want[i][1] {
				n++
			}
		}
	}
	return n
}

func (f followed) told() float64 { return float64(f.right) / float64(f.right+f.unknown) }

func TestCorpusAfterALostBlock(t *testing.T) {
	var sum followed
	for _, s := range stories(t) {
		for lost := range min(len(s.cases), 12) {
			var table Table
			table.Begin()
			for _, c := range s.cases {
				table.Allow(c.size)
			}
			sum.follow(t, &table, s.cases[:lost])
			table.Forget()
			sum.follow(t, &table, s.cases[lost+1:])
		}
	}
	t.Logf("%+v", sum)
	require.Zero(t, sum.wrong)
}

func TestCorpusFrames(t *testing.T) {
	files, _ := filepath.Glob(corpora + "/http2-frames/*/*.json")
	if len(files) == 0 {
		t.Skip("the corpora are not in " + corpora)
	}
	good, bad := 0, 0
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			var c struct {
				Error []uint32
				Wire  string
			}
			readJSON(t, file, &c)
			wire := unhex(t, c.Wire)
			h := ParseHeader(wire)
			err := h.Check(DefaultMaxFrame)
			if err == nil {
				require.Len(t, wire, HeaderSize+int(h.Length))
				err = h.CheckPayload(wire[HeaderSize:])
			}
			if c.Error == nil {
				good++
				require.NoError(t, err)
				return
			}
			bad++
			require.Error(t, err)
			var names []string
			for _, code := range c.Error {
				names = append(names, ErrorName(code))
			}
			require.Contains(t, names, err.Error())
			require.Equal(t, Other, Recognize(wire, func(uint32) bool { return true }))
		})
	}
	t.Logf("%d good, %d bad", good, bad)
}

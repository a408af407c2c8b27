package recording

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestReplayMakesTheRecordedCallsByteForByte(t *testing.T) {
	var direct, teed spy
	script(&direct)
	var file bytes.Buffer
	writer := Tee(&file, &teed, &facts{}, Options{})
	script(writer)
	require.NoError(t, writer.Close())
	require.Equal(t, direct.calls, teed.calls, "what passes through is not changed")

	got, err := replay(t, file.Bytes())
	require.NoError(t, err)
	require.Equal(t, direct.calls, got)
}

func TestRecordingAReplayGivesTheSameFile(t *testing.T) {
	first := recordedScript(t)
	reader, err := Open(write(t, first))
	require.NoError(t, err)
	defer reader.Close()
	var second bytes.Buffer
	writer := Tee(&second, nil, reader.Facts(), Options{})
	for range 3 {
		askAll(writer)
	}
	writer.next = &spy{}
	require.NoError(t, reader.Run(context.Background(), writer))
	require.NoError(t, writer.Close())
	require.True(t, bytes.Equal(first, second.Bytes()))
}

func TestTheNthAskGetsTheNthAnswerAndThenTheLast(t *testing.T) {
	for name, changing := range map[string]bool{"answers that change": true, "answers that stay": false} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			writer := Tee(&file, &spy{}, &facts{changing: changing}, Options{})
			var live []string
			for range 5 {
				live = append(live, askAll(writer))
			}
			require.NoError(t, writer.Close())

			reader, err := Open(write(t, file.Bytes()))
			require.NoError(t, err)
			defer reader.Close()
			for n := range live {
				require.Equal(t, live[n], askAll(reader.Facts()), "ask %d", n+1)
			}
			require.Equal(t, live[4], askAll(reader.Facts()), "after the last")
			_, ok := reader.Facts().CgroupPath(999)
			require.False(t, ok, "what was never asked is not known")
		})
	}
}

func TestAnAnswerThatRepeatsItselfIsWrittenOnce(t *testing.T) {
	size := func(asks int) int {
		var file bytes.Buffer
		writer := Tee(&file, &spy{}, &facts{}, Options{})
		for range asks {
			writer.Symbol(1)
		}
		require.NoError(t, writer.Close())
		return file.Len()
	}
	require.Equal(t, size(1), size(1000))
}

func TestFactsBeyondThoseTrackedAreStillReplayedInOrder(t *testing.T) {
	var file bytes.Buffer
	writer := Tee(&file, &spy{}, &facts{changing: true}, Options{})
	for id := range uint64(maxTracked) {
		writer.CgroupPath(1000 + id)
	}
	var live []string
	for range 3 {
		path, _ := writer.CgroupPath(7)
		live = append(live, path)
	}
	require.NoError(t, writer.Close())
	reader, err := Open(write(t, file.Bytes()))
	require.NoError(t, err)
	defer reader.Close()
	for _, want := range live {
		got, ok := reader.Facts().CgroupPath(7)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
}

func TestACancelledReplayStopsWithoutError(t *testing.T) {
	reader, err := Open(write(t, recordedScript(t)))
	require.NoError(t, err)
	defer reader.Close()
	ctx, cancel := context.WithCancel(context.Background())
	stopping := &stopper{cancel: cancel}
	require.NoError(t, reader.Run(ctx, stopping))
	require.Len(t, stopping.calls, 1)
}

type stopper struct {
	spy
	cancel func()
}

func (s *stopper) Begin(b *wire.Begin) { s.spy.Begin(b); s.cancel() }

func TestPacedReplayTakesTheRecordedTime(t *testing.T) {
	reader, err := Open(write(t, recordedScript(t)))
	require.NoError(t, err)
	defer reader.Close()
	reader.Pace = 100 // five recorded seconds, in 50 ms
	started := time.Now()
	require.NoError(t, reader.Run(context.Background(), &spy{}))
	require.GreaterOrEqual(t, time.Since(started), 50*time.Millisecond)

	ctx, cancel := context.WithCancel(context.Background())
	got := &stopper{cancel: func() { time.AfterFunc(10*time.Millisecond, cancel) }}
	reader.Pace = 1e-6
	require.NoError(t, reader.Run(ctx, got))
	require.Len(t, got.calls, 1, "a wait ends with its context")
}

func TestASizeLimitEndsTheFileInGoodOrder(t *testing.T) {
	const limit = 4096
	var file bytes.Buffer
	var stopped []error
	next := &spy{}
	writer := Tee(&file, next, &facts{}, Options{MaxBytes: limit, OnStop: func(err error) { stopped = append(stopped, err) }})
	for range 100 {
		record := wire.ConnRecord{Header: wire.RecordHeader{Kind: wire.RecordConnOpen}}
		writer.Conn(&record)
	}
	askAll(writer)
	require.ErrorIs(t, writer.Close(), ErrSizeLimit)
	require.Len(t, stopped, 1)
	require.ErrorIs(t, stopped[0], ErrSizeLimit)
	require.Len(t, next.calls, 100, "the receiver goes on")
	require.LessOrEqual(t, file.Len(), limit)
	require.Greater(t, file.Len(), limit-300)
	calls, err := replay(t, file.Bytes())
	require.NoError(t, err)
	require.NotEmpty(t, calls)
}

// fullDisk takes so many bytes.
type fullDisk struct {
	bytes.Buffer
	room int
}

var errNoSpace = errors.New("no space left on device")

func (d *fullDisk) Write(b []byte) (int, error) {
	n, _ := d.Buffer.Write(b[:min(len(b), d.room)])
	if d.room -= n; n < len(b) {
		return n, errNoSpace
	}
	return n, nil
}

func TestAFullDiskStopsTheRecordingOnceAndNothingElse(t *testing.T) {
	disk := &fullDisk{room: 500_000}
	var stopped []error
	next := &spy{}
	writer := Tee(disk, next, &facts{}, Options{OnStop: func(err error) { stopped = append(stopped, err) }})
	for range 10_000 {
		record := wire.ConnRecord{Header: wire.RecordHeader{Kind: wire.RecordConnOpen}}
		writer.Conn(&record)
	}
	writer.Flush(1)
	require.ErrorIs(t, writer.Close(), errNoSpace)
	require.ErrorIs(t, writer.Err(), errNoSpace)
	require.ErrorIs(t, writer.Close(), errNoSpace)
	require.Len(t, stopped, 1)
	require.Equal(t, 10_001, len(next.calls))
	calls, err := replay(t, disk.Bytes())
	require.ErrorIs(t, err, ErrTruncated)
	require.Equal(t, (500_000-headerEnd(disk.Bytes()))/(wire.ConnRecordSize+frameExtra), len(calls), "what was written can be read")
}

func TestADiskThatIsFullAtTheEndIsReported(t *testing.T) {
	var stopped error
	writer := Tee(&fullDisk{}, &spy{}, &facts{}, Options{OnStop: func(err error) { stopped = err }})
	require.ErrorIs(t, writer.Close(), errNoSpace)
	require.ErrorIs(t, stopped, errNoSpace)
}

// stuckDisk writes nothing until it is released.
type stuckDisk struct{ release chan struct{} }

func (d stuckDisk) Write(b []byte) (int, error) { <-d.release; return len(b), nil }

func TestADiskThatHangsStopsTheRecordingOnly(t *testing.T) {
	disk := stuckDisk{make(chan struct{})}
	defer close(disk.release)
	var stopped []error
	writer := Tee(disk, &spy{}, &facts{}, Options{OnStop: func(err error) { stopped = append(stopped, err) }})
	record := wire.PayloadRecord{Header: wire.RecordHeader{Kind: wire.RecordPayload}, Captured: 100_000}
	for range 100 {
		writer.Payload(&record, make([]byte, 100_000))
	}
	require.Len(t, stopped, 1)
	require.ErrorIs(t, writer.Close(), errStalled)
}

func TestRecordGivesASourceThatDeliversAndRecords(t *testing.T) {
	source, err := Open(write(t, recordedScript(t)))
	require.NoError(t, err)
	path := t.TempDir() + "/copy"
	recorded, err := Record(source, path, Options{})
	require.NoError(t, err)
	var direct spy
	require.NoError(t, recorded.Run(context.Background(), &direct))
	facts := askAll(recorded.Facts())
	require.NoError(t, recorded.Close())
	require.NoError(t, recorded.Close())

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	calls, err := replay(t, data)
	require.NoError(t, err)
	require.Equal(t, direct.calls, calls)
	reader, err := Open(path)
	require.NoError(t, err)
	defer reader.Close()
	require.Equal(t, facts, askAll(reader.Facts()))
}

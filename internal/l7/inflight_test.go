package l7

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheOldestRequestInFlightIsTold(t *testing.T) {
	tracker := NewTracker(Options{}, func(*Call) {})
	for _, o := range ends(nil) {
		tracker.Mark(o.id, o.origin)
		inFlight := func(method string) {
			t.Helper()
			call, ok := tracker.InFlight(o.id)
			require.Equal(t, method != "", ok)
			if !ok {
				return
			}
			require.Equal(t, method, call.Method)
			require.Equal(t, !o.client, call.Server)
			require.Equal(t, o.id, call.ConnID)
			require.True(t, call.SequenceKnown)
			require.NotZero(t, call.StartNs)
		}
		inFlight("")
		for i, step := range records([]turn{
			">GET /a HTTP/1.1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
			">PUT /b HTTP/1.1\r\ncontent-length: 3\r\n\r\n", ">xyz",
			"<HTTP/1.1 100 Continue\r\n\r\n", "<HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "<ok",
			"<HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
		}) {
			tracker.Payload(o.payload(step))
			inFlight([]string{"GET", "GET", "GET", "GET", "GET", "PUT", ""}[i])
			if i == 0 {
				call, _ := tracker.InFlight(o.id)
				require.NotEmpty(t, call.Traceparent)
				require.Equal(t, uint32(requestOrigin), call.RequestSequence)
				require.Zero(t, testing.AllocsPerRun(100, func() { tracker.InFlight(o.id) }))
			}
		}
	}
	_, ok := tracker.InFlight(3)
	require.False(t, ok)
}

package receiver

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/ebpfnet/ebpfnetreceiver/internal/engine"
	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

func TestAFallbackHookIsOK(t *testing.T) {
	fake := &fakeEngine{books: engine.Stats{Probes: []wire.ProbeStatus{{
		Capability: "payload", Hook: "raw_tp/sys_exit",
		Refused: []wire.Refusal{{Hook: "fexit/tcp_sendmsg", Reason: "operation not permitted"}},
	}}}}
	event := startedStatus(t, fake)
	assert.Equal(t, componentstatus.StatusOK, event.Status())
	assert.Equal(t, map[string]any{"payload": "raw_tp/sys_exit"}, event.Attributes().AsRaw())
}

func TestAMissingCapabilityIsAnErrorThatNamesIt(t *testing.T) {
	fake := &fakeEngine{books: engine.Stats{Probes: []wire.ProbeStatus{
		{Capability: "connections", Hook: "tp_btf/inet_sock_set_state"},
		{Capability: "payload", Refused: []wire.Refusal{
			{Hook: "fexit/tcp_sendmsg", Reason: "operation not permitted"},
			{Hook: "kprobe/tcp_sendmsg", Reason: "no such file"},
		}},
	}}}
	event := startedStatus(t, fake)
	assert.Equal(t, componentstatus.StatusRecoverableError, event.Status())
	assert.EqualError(t, event.Err(), "payload: this kernel takes none of its hooks, so its data are missing "+
		"(fexit/tcp_sendmsg: operation not permitted; kprobe/tcp_sendmsg: no such file); "+
		"grant what is refused or switch the capability off")
}

func TestWhatTakesMorePrivilegeMayBeMissing(t *testing.T) {
	fake := &fakeEngine{books: engine.Stats{Probes: []wire.ProbeStatus{
		{Capability: "virtio", Refused: []wire.Refusal{{Hook: "kprobe/virtnet_send_command", Reason: "permission denied"}}},
	}}}
	event := startedStatus(t, fake)
	assert.Equal(t, componentstatus.StatusOK, event.Status())
	assert.Equal(t, map[string]any{"virtio": ""}, event.Attributes().AsRaw())
}

func startedStatus(t *testing.T, fake *fakeEngine) *componentstatus.Event {
	t.Helper()
	host := newStatusHost()
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.logs.Start(t.Context(), host))
	event := <-host.events
	require.NoError(t, all.logs.Shutdown(t.Context()))
	require.Empty(t, host.events, "said once")
	return event
}

func TestEverySignalLearnsThatTheEngineDied(t *testing.T) {
	die := make(chan struct{})
	fake := &fakeEngine{run: func(context.Context) error { <-die; return errors.New("ring buffer closed") }}
	early, late := newStatusHost(), newStatusHost()
	all := createSignals(t, newFactory(fake.open), nopSettings(), defaultConfig(), consumertest.NewNop())
	require.NoError(t, all.metrics.Start(t.Context(), early))
	close(die)
	died := <-early.events
	assert.Equal(t, componentstatus.StatusPermanentError, died.Status())
	assert.EqualError(t, died.Err(), "ring buffer closed")

	require.NoError(t, all.traces.Start(t.Context(), late))
	assert.Same(t, died, <-late.events)
	require.NoError(t, all.metrics.Shutdown(t.Context()), "it was reported already")
}

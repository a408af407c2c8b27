package otlp

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// echo is a complete unary gRPC call with a status, after 12 ms.
func echo(connID uint64, isServer bool, status string) *l7.Call {
	call := get(connID, isServer)
	call.ProtocolVersion, call.Method, call.Scheme, call.UserAgent = "2", "POST", "http", "grpc-go/1.83.2"
	call.Target, call.StreamID = "/test.v1.Echo/Say", 7
	call.RPC, call.RPCStatus, call.RequestMessages, call.ResponseMessages = "grpc", status, 1, 1
	call.Headers = []l7.Header{{Name: "x-tenant", Value: "a"}, {Name: "x-load", Value: "9", Response: true}}
	return call
}

func TestAnRPCIsToldByTheConventionsOfRPC(t *testing.T) {
	for _, c := range []struct {
		status, failure string
		client, server  string // error.type
	}{
		{"OK", "", "", ""},
		{"CANCELLED", "", "CANCELLED", ""},
		{"INVALID_ARGUMENT", "", "INVALID_ARGUMENT", ""},
		{"DEADLINE_EXCEEDED", "", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"},
		{"UNIMPLEMENTED", "", "UNIMPLEMENTED", "UNIMPLEMENTED"},
		{"99", "", "99", ""},
		{"", "CANCEL", "CANCEL", "CANCEL"},
		{"", "connection_closed", "connection_closed", "connection_closed"},
	} {
		for id, want := range map[uint64]string{1: c.client, 2: c.server} {
			call := echo(id, id == 2, c.status)
			call.Error = c.failure
			span, attributes := spanOf(t, Options{}, call)
			assert.Equal(t, "test.v1.Echo/Say", span.Name())
			assert.Equal(t, "grpc", attributes["rpc.system.name"])
			assert.Equal(t, "test.v1.Echo/Say", attributes["rpc.method"])
			assert.NotContains(t, attributes, "http.request.method")
			if c.status != "" {
				assert.Equal(t, c.status, attributes["rpc.status_code"])
			} else {
				assert.NotContains(t, attributes, "rpc.status_code")
			}
			if want == "" {
				assert.NotContains(t, attributes, "error.type")
				assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code())
			} else {
				assert.Equal(t, want, attributes["error.type"])
				assert.Equal(t, ptrace.StatusCodeError, span.Status().Code())
			}
		}
	}
}

func TestAnRPCMethodIsFullyQualifiedOrAbsent(t *testing.T) {
	for target, want := range map[string]string{
		"/test.v1.Echo/Say": "test.v1.Echo/Say", "/Echo/Say": "Echo/Say",
		"": "", "/": "", "/Echo": "", "/Echo/": "", "//Say": "", "Echo/Say": "", "/a/b/c": "", "/a/b?secret": "",
	} {
		call := echo(1, false, "OK")
		call.Target = target
		assert.Equal(t, want, rpcMethod(call), target)
		span, _ := spanOf(t, Options{}, call)
		if want == "" {
			assert.Equal(t, "grpc", span.Name())
		}
	}
}

func TestAnRPCIsCountedWithoutAllocating(t *testing.T) {
	p := bothEnds()
	call := echo(1, false, "OK")
	p.Call(call, p.get(1))
	assert.Zero(t, testing.AllocsPerRun(100, func() { p.Call(call, p.get(1)) }))
}

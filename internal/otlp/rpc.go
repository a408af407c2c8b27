package otlp

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// rpcMethod is rpc.method of a gRPC call, whose path is "/package.Service/Method"; empty where it was not
// seen or is none.
func rpcMethod(call *l7.Call) string {
	name, ok := strings.CutPrefix(call.Target, "/")
	service, method, both := strings.Cut(name, "/")
	if !ok || !both || service == "" || method == "" || strings.ContainsAny(method, "/?#") {
		return ""
	}
	return name
}

// rpcError is error.type of a gRPC call that has a status: on the client's side each but OK is an error, on the
// server's those that say that it failed, not that the request was wrong.
func rpcError(call *l7.Call) string {
	switch call.RPCStatus {
	case "OK":
		return ""
	case "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS":
		return call.RPCStatus
	}
	if call.Server {
		return ""
	}
	return call.RPCStatus
}

// rpcServer is whom a call was addressed to. The conventions want the name that the client used, and no
// address of the connection in its place.
func rpcServer(call *l7.Call) server {
	to := targetOf(call)
	return serverOf(call, &to, nil)
}

func rpcSet(call *l7.Call) callSet {
	set := callSet{
		instrument: rpcServerDuration,
		method:     rpcMethod(call),
		errorType:  errorType(call),
		rpcSystem:  call.RPC,
		rpcStatus:  call.RPCStatus,
		server:     rpcServer(call),
	}
	if !call.Server {
		set.instrument = rpcClientDuration
	}
	return set
}

// rpc writes the attributes of a call and returns the span's name.
func (s *Spans) rpc(call *l7.Call, to pcommon.Map) (name string) {
	to.PutStr(attrRPCSystem, call.RPC)
	name = call.RPC
	if method := s.texts.keep(rpcMethod(call)); method != "" {
		to.PutStr(attrRPCMethod, method)
		name = method
	}
	putStr(to, attrRPCStatus, keep(call.RPCStatus))
	at := rpcServer(call)
	putStr(to, attrServerAddress, s.texts.keep(at.name()))
	putPort(to, attrServerPort, at.port)
	if call.RequestMessages >= 0 {
		to.PutInt(attrRequestMessages, call.RequestMessages)
	}
	if call.ResponseMessages >= 0 {
		to.PutInt(attrResponseMessages, call.ResponseMessages)
	}
	return name
}

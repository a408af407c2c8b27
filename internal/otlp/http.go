package otlp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/ebpfnet/ebpfnetreceiver/internal/conn"
	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

// methodOther stands for methods that the conventions do not list, so that a scanner's inventions do not
// become series and span names.
const methodOther = "_OTHER"

// knownMethod is the method if it is one of RFC 9110, RFC 5789 or RFC 10008, else methodOther; empty where
// it was not seen. Methods are case-sensitive (RFC 9110 section 9.1).
func knownMethod(method string) string {
	switch method {
	case "", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE":
		return method
	default:
		return methodOther
	}
}

// errorType is error.type by the HTTP and RPC conventions: why there is no answer, else the status code where it
// is an error for this side, else empty.
func errorType(call *l7.Call) string {
	if call.Error != "" {
		return call.Error
	}
	if call.RPC != "" && call.RPCStatus != "" {
		return rpcError(call)
	}
	if call.Status >= 500 || call.Status >= 400 && !call.Server {
		return statusText(call.Status)
	}
	return ""
}

var statusDigits = func() string {
	var digits strings.Builder
	for code := 100; code < 1000; code++ {
		digits.WriteString(strconv.Itoa(code))
	}
	return digits.String()
}()

// statusText writes a three-digit code without allocating.
func statusText(code int) string {
	if code < 100 || code > 999 {
		return methodOther
	}
	at := 3 * (code - 100)
	return statusDigits[at : at+3]
}

// server is whom a request was addressed to: the authority it names, else the address of the connection's
// server end.
type server struct {
	host    string // empty: address
	address netip.Addr
	port    uint16
}

func serverOf(call *l7.Call, to *target, c *conn.Connection) server {
	authority := to.authority
	if authority == "" {
		authority = call.Authority
	}
	if host, port, ok := splitAuthority(authority); ok {
		if port == 0 {
			port = 80
			if to.scheme == "https" {
				port = 443
			}
		}
		return server{host: host, port: port}
	}
	if c == nil {
		return server{}
	}
	end := c.Remote()
	if call.Server {
		end = c.Local()
	}
	return server{address: end.Addr(), port: end.Port()}
}

// name is the host's name or address; empty where neither is known.
func (s *server) name() string {
	if s.host != "" || !s.address.IsValid() {
		return s.host
	}
	return s.address.String()
}

package otlp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ebpfnet/ebpfnetreceiver/internal/l7"
)

const redacted = "REDACTED"

// targetOf is the target of a call; HTTP/2 says the scheme beside it.
func targetOf(call *l7.Call) target {
	to := parseTarget(call.Method, call.Target)
	if call.Scheme != "" {
		to.scheme = call.Scheme
	}
	return to
}

// target is a request target taken apart (RFC 9112 section 3.2). What a form does not have is empty.
type target struct {
	scheme    string // http or https
	authority string // of the absolute and the authority form, without userinfo
	path      string
	query     string // without the question mark
	hasQuery  bool
	userinfo  bool // there was one; its value is nobody's business
}

func parseTarget(method, raw string) (t target) {
	t.scheme = "http"
	rest := raw
	switch {
	case raw == "" || raw == "*":
		return t
	case method == "CONNECT":
		t.authority, t.userinfo = cutUserinfo(raw)
		return t
	case raw[0] != '/':
		scheme, after, ok := strings.Cut(raw, "://")
		if !ok {
			return t
		}
		switch {
		case strings.EqualFold(scheme, "http"):
		case strings.EqualFold(scheme, "https"):
			t.scheme = "https"
		default:
			return t
		}
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		t.authority, t.userinfo = cutUserinfo(after[:end])
		rest = after[end:]
	}
	rest, _, _ = strings.Cut(rest, "#") // never sent by a correct client
	t.path, t.query, t.hasQuery = strings.Cut(rest, "?")
	if t.path == "" {
		t.path = "/"
	}
	return t
}

func cutUserinfo(authority string) (string, bool) {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		return authority[i+1:], true
	}
	return authority, false
}

// splitAuthority takes host and port apart; port 0 where none is given. ok is false where there is no host
// or the port is none.
func splitAuthority(authority string) (host string, port uint16, ok bool) {
	host, _ = cutUserinfo(authority)
	colon := strings.LastIndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 || colon > end+1 {
			return "", 0, false
		}
		if colon < end {
			colon = -1
			if end != len(host)-1 {
				return "", 0, false
			}
		}
	}
	if colon >= 0 {
		if digits := host[colon+1:]; digits != "" {
			number, err := strconv.ParseUint(digits, 10, 16)
			if err != nil {
				return "", 0, false
			}
			port = uint16(number)
		}
		host = host[:colon]
	}
	bracketed := strings.HasPrefix(host, "[")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	// An IPv6 address without brackets may end in a port or not, and a delimiter ends what is a host to some.
	return host, port, host != "" && (bracketed || !strings.Contains(host, ":")) && !strings.ContainsAny(host, "/?#\\ \t[]")
}

// redactQuery keeps the names of a query's parameters and nothing of their values. A parameter without "="
// is all value.
func redactQuery(query string) string {
	if query == "" {
		return ""
	}
	var out strings.Builder
	for i, parameter := range strings.Split(query, "&") {
		if i > 0 {
			out.WriteByte('&')
		}
		if name, _, ok := strings.Cut(parameter, "="); ok {
			out.WriteString(name)
			out.WriteByte('=')
		}
		if parameter != "" {
			out.WriteString(redacted)
		}
	}
	return out.String()
}

// text makes s fit for protobuf, which takes valid UTF-8 only.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

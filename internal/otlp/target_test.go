package otlp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func TestTargetsInEveryForm(t *testing.T) {
	for _, c := range []struct {
		method, target, authority string
		path, query, full, server any
		port                      any
	}{
		{"GET", "/", "shop", "/", nil, "http://shop/", "shop", int64(80)},
		{"GET", "/a?b=c", "shop:8080", "/a", "b=REDACTED", "http://shop:8080/a?b=REDACTED", "shop", int64(8080)},
		{"GET", "/a?", "shop", "/a", nil, "http://shop/a", "shop", int64(80)},
		{"GET", "/a?b=1&token&c=&&d=e=f", "shop", "/a", "b=REDACTED&REDACTED&c=REDACTED&&d=REDACTED",
			"http://shop/a?b=REDACTED&REDACTED&c=REDACTED&&d=REDACTED", "shop", int64(80)},
		{"GET", "http://u:pw@other:81/x?y=z", "shop", "/x", "y=REDACTED", "http://REDACTED:REDACTED@other:81/x?y=REDACTED", "other", int64(81)},
		{"GET", "HTTPS://other", "shop", "/", nil, "https://other/", "other", int64(443)},
		{"GET", "/", "u:pw@shop", "/", nil, "http://REDACTED:REDACTED@shop/", "shop", int64(80)},
		{"GET", "/", "[2001:db8::1]:8080", "/", nil, "http://[2001:db8::1]:8080/", "2001:db8::1", int64(8080)},
		{"GET", "/", "[2001:db8::1]", "/", nil, "http://[2001:db8::1]/", "2001:db8::1", int64(80)},
		{"OPTIONS", "*", "shop", nil, nil, nil, "shop", int64(80)},
		{"CONNECT", "other:443", "other:443", nil, nil, nil, "other", int64(443)},
		{"GET", "", "", nil, nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "shop:notaport", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "[::1", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "2001:db8::1", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "shop/b", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "shop b", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "/a", "[2001:db8::1]x:80", "/a", nil, nil, "10.0.0.2", int64(80)},
		{"GET", "ftp://other/x", "shop", nil, nil, nil, "shop", int64(80)},
		{"GET", "/\xff", "shop", "/\uFFFD", nil, "http://shop/\uFFFD", "shop", int64(80)},
	} {
		call := get(1, false)
		call.Method, call.Target, call.Authority = c.method, c.target, c.authority
		_, attributes := spanOf(t, Options{Query: true}, call)
		assert.Equal(t, c.path, attributes[attrURLPath], c.target)
		assert.Equal(t, c.query, attributes[attrURLQuery], c.target)
		assert.Equal(t, c.full, attributes[attrURLFull], c.target)
		assert.Equal(t, c.server, attributes[attrServerAddress], c.target)
		assert.Equal(t, c.port, attributes[attrServerPort], c.target)
	}
}

func TestASecretInTheRequestIsInNoExportedByte(t *testing.T) {
	const secret = "hunter2"
	for _, query := range []bool{false, true} {
		for _, target := range []string{
			"/a?password=" + secret, "/a?" + secret, "/a?x=1&" + secret + "&y", "/a?x=y=" + secret, "/a#" + secret,
			"http://" + secret + "@shop/", "http://u:" + secret + "@shop/?" + secret, "ftp://u:" + secret + "@shop/",
		} {
			for _, id := range []uint64{1, 2} {
				p := bothEnds()
				s := newSpans(Options{Query: query})
				call := get(id, id == 2)
				call.Target, call.Authority = target, "u:"+secret+"@shop"
				s.Add(Span{Call: call, Conn: p.get(id), Identity: identity})
				p.Call(call, p.get(id))
				bytes, err := (&ptrace.JSONMarshaler{}).MarshalTraces(s.Take())
				require.NoError(t, err)
				assert.NotContains(t, string(bytes), secret, target)
				each(p.collect(), func(_ pmetric.ResourceMetrics, metric pmetric.Metric) {
					points(metric, func(attributes pcommon.Map) {
						for _, value := range attributes.All() {
							assert.NotContains(t, value.AsString(), secret, target)
						}
					})
				})
			}
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/", "/a?b=c&d", "http://u@h:1/p?q", "*", "h:443", "https://", "://", "?", "[::1]:80", "#"} {
		f.Add("GET", seed, seed)
	}
	f.Fuzz(func(t *testing.T, method, raw, authority string) {
		to := parseTarget(method, raw)
		if strings.Contains(to.authority, "@") {
			t.Errorf("userinfo left in %q", to.authority)
		}
		if host, _, ok := splitAuthority(authority); ok && host == "" {
			t.Errorf("a host that is none: %q", authority)
		}
		if strings.Count(redactQuery(to.query), "&") != strings.Count(to.query, "&") {
			t.Errorf("parameters of %q: %q", to.query, redactQuery(to.query))
		}
	})
}

package otlp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestATextIsKeptAsItWasWhateverCameBetween(t *testing.T) {
	var kept texts
	buffer := []byte("/items")
	first := kept.keep(unsafe.String(&buffer[0], len(buffer)))
	copy(buffer, "/carts") // where the next call is read into
	assert.Equal(t, "/items", first)
	assert.Equal(t, "/carts", kept.keep("/carts"))
	assert.Equal(t, unsafe.StringData(kept.keep("/again")), unsafe.StringData(kept.keep("/again")))
	for i := range 4 * textsKept {
		text := fmt.Sprint("/", i)
		assert.Equal(t, text, kept.keep(text))
	}
	assert.Equal(t, "/items", first)
	assert.Equal(t, "", kept.keep(""))
	assert.Equal(t, "a\uFFFDb", kept.keep("a\xffb"), "as text, each time")
	assert.Equal(t, "a\uFFFDb", kept.keep("a\xffb"))
	long := strings.Repeat("x", textMost+1)
	assert.Equal(t, long, kept.keep(long))
}

func TestAnAddressIsWrittenAsItself(t *testing.T) {
	var kept texts
	for _, address := range []string{"10.0.0.1", "10.0.1.1", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1", "::"} {
		assert.Equal(t, address, kept.address(netip.MustParseAddr(address)))
	}
	assert.Equal(t, netip.Addr{}.String(), kept.address(netip.Addr{}))
}

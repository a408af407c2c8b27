package recording

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebpfnet/ebpfnetreceiver/internal/wire"
)

// translating also says whom port 80 leads to.
type translating struct{ *facts }

func (translating) Translation(pair *wire.AddressPair) (netip.AddrPort, bool) {
	return netip.AddrPortFrom(netip.MustParseAddr("10.2.0.9"), pair.LocalPort), pair.RemotePort == 80
}

func TestTranslationsAreReplayed(t *testing.T) {
	var file bytes.Buffer
	writer := Tee(&file, &spy{}, translating{&facts{}}, Options{})
	service := wire.AddressPair{LocalPort: 40000, RemotePort: 80, Protocol: 6}
	other := wire.AddressPair{LocalPort: 40000, RemotePort: 81, Protocol: 6}
	for _, pair := range []*wire.AddressPair{&service, &other} {
		_, ok := writer.Translation(pair)
		assert.Equal(t, pair.RemotePort == 80, ok)
	}
	require.NoError(t, writer.Close())
	reader, err := newReader("recording", bytes.NewReader(file.Bytes()), int64(file.Len()))
	require.NoError(t, err)
	replayed := reader.Facts().(wire.Translator)
	backend, ok := replayed.Translation(&service)
	assert.True(t, ok)
	assert.Equal(t, netip.MustParseAddrPort("10.2.0.9:40000"), backend)
	_, ok = replayed.Translation(&other)
	assert.False(t, ok)
}

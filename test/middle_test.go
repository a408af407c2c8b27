//go:build linux && (amd64 || arm64)

package kerneltest

import (
	"testing"
)

// newRoutedNetwork is two namespaces with a third between them that forwards: left is its device on the
// client's side, right that on the server's.
func newRoutedNetwork(t *testing.T) (n *network, router *namespace) {
	t.Helper()
	n, router = newJoinedNetwork(t, newNamespace(t, "server", "10.78.0.2", "fd78::2"))
	for device, addresses := range map[string][2]string{"left": {"10.77.0.254/24", "fd77::fe/64"}, "right": {"10.78.0.254/24", "fd78::fe/64"}} {
		router.ip("addr", "add", addresses[0], "dev", device)
		router.ip("addr", "add", addresses[1], "dev", device, "nodad")
	}
	n.client.ip("route", "add", "default", "via", "10.77.0.254")
	n.client.ip("-6", "route", "add", "default", "via", "fd77::fe")
	n.server.ip("route", "add", "default", "via", "10.78.0.254")
	n.server.ip("-6", "route", "add", "default", "via", "fd78::fe")
	router.set("ipv4/ip_forward", "1")
	router.set("ipv6/conf/all/forwarding", "1")
	n.introduce()
	return n, router
}

// newBridgedNetwork is two namespaces that are joined by a bridge in a third, which has no address.
func newBridgedNetwork(t *testing.T) (n *network, bridge *namespace) {
	t.Helper()
	n, bridge = newJoinedNetwork(t, newNamespace(t, "server", "10.77.0.2", "fd77::2"))
	bridge.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
	for _, port := range []string{"left", "right"} {
		bridge.ip("link", "set", port, "master", "br0")
	}
	bridge.ip("link", "set", "br0", "up")
	n.introduce()
	return n, bridge
}

func newJoinedNetwork(t *testing.T, server *namespace) (n *network, middle *namespace) {
	t.Helper()
	n = &network{client: newNamespace(t, "client", "10.77.0.1", "fd77::1"), server: server}
	middle = newNamespace(t, "middle", "192.0.2.1", "2001:db8::1")
	for device, end := range map[string]*namespace{"left": n.client, "right": n.server} {
		ip(t, "link", "add", "eth0", "netns", end.name, "type", "veth", "peer", "name", device, "netns", middle.name)
		end.ip("addr", "add", end.v4.String()+"/24", "dev", "eth0")
		end.ip("addr", "add", end.v6.String()+"/64", "dev", "eth0", "nodad")
		end.ip("link", "set", "eth0", "up")
		middle.ip("link", "set", device, "up")
	}
	return n, middle
}

// introduce waits until both ends reach each other: devices come up and neighbours are found first, and what is
// lost meanwhile is not what a test asks for.
func (n *network) introduce() {
	n.client.t.Helper()
	four, six := n.server.listen("tcp4", n.server.at4(7999)), n.server.listen("tcp6", n.server.at6(7999))
	for _, p := range []pair{n.connect(four), n.connect(six)} {
		if err := p.closeBy(p.client, p.server); err != nil {
			n.client.t.Fatal(err)
		}
	}
	eventually(n.client.t, "the connections are gone", func() bool { return len(n.stateCounts()) == 0 })
}

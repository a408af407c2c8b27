//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// connections follows each connection from connect or accept to its end.
func connections() capability {
	return capability{
		name: "connections",
		load: bpf.LoadConnections,
		hooks: []hook{
			{name: "tp_btf/inet_sock_set_state", programs: []attachment{tracing("inet_sock_set_state")}},
		},
	}
}

// snapshot reads every live connection at each collection, and with queues adds up what waits in their sockets.
func snapshot(byAddress, queues bool) capability {
	hooks := []hook{{name: "iter/bpf_sk_storage_map", programs: []attachment{onDemand("snapshot_storage")}}}
	if byAddress {
		hooks = []hook{{name: "iter/bpf_map_elem", programs: []attachment{onDemand("snapshot_hash")}, byAddress: true}}
	}
	return capability{
		name: "snapshot", load: bpf.LoadSnapshot, hooks: hooks,
		constants: map[string]any{"count_queues": boolean(queues)},
	}
}

// adoption finds the connections that are older than the receiver. Without the helper (before 5.11) the
// programs know a file's socket only as an address.
func adoption(byAddress bool) capability {
	programs := []attachment{onDemand("adopt_listeners"), onDemand("adopt_connections")}
	hooks := []hook{
		{name: "iter/task_file", programs: programs, constants: map[string]any{"has_sock_from_file": boolean(true)}},
	}
	if byAddress {
		hooks = append(hooks, hook{
			name: "iter/task_file, by address", programs: programs, byAddress: true,
			constants: map[string]any{"has_sock_from_file": boolean(false)},
		})
	}
	return capability{name: "adoption", load: bpf.LoadAdopt, hooks: hooks}
}

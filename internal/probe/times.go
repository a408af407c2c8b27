//go:build linux && (amd64 || arm64)

package probe

import "github.com/ebpfnet/ebpfnetreceiver/bpf"

// times are two capabilities, of which either is of use alone: when the bytes of calls come to TCP, and when
// they are given to a device.
func times() (received, sent capability) {
	return capability{
			name:  "times.received",
			load:  bpf.LoadTimes,
			hooks: []hook{{name: "tp_btf/tcp_probe", programs: []attachment{tracing("tcp_probe")}}},
		}, capability{
			name:  "times.sent",
			load:  bpf.LoadTimes,
			hooks: []hook{{name: "tp_btf/net_dev_start_xmit", programs: []attachment{tracing("net_dev_start_xmit")}}},
		}
}

package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/ebpfnet/ebpfnetreceiver/internal/owner"
)

// writeResource writes what the k8s_attributes processor associates on where a container or pod is known,
// the process or service where not, and the network namespace where there is nothing else: a packet of no
// socket. The three never mix (owner.Owner), and one owner has the same Resource in every signal.
func writeResource(o owner.Owner, to pcommon.Map) {
	putStr(to, attrContainerID, o.ContainerID)
	putStr(to, attrPodUID, o.PodUID)
	putStr(to, attrContainerRuntime, o.Runtime)
	if o.PID != 0 {
		to.PutInt(attrPID, int64(o.PID))
	}
	putStr(to, attrExecutableName, o.Executable)
	putStr(to, attrServiceName, o.ServiceName)
	if !o.Known() && o.Netns != 0 {
		to.PutInt(attrNetnsInode, int64(o.Netns))
	}
	if o.Host {
		to.PutBool(attrNetnsHost, true)
	}
}

func writeScope(version string, to pcommon.InstrumentationScope) {
	to.SetName(ScopeName)
	to.SetVersion(version)
}

func putStr(to pcommon.Map, name, value string) {
	if value != "" {
		to.PutStr(name, value)
	}
}

func putPort(to pcommon.Map, name string, port uint16) {
	if port != 0 {
		to.PutInt(name, int64(port))
	}
}

//go:build linux && (amd64 || arm64)

package k8stest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// shop is a cluster of two nodes with all that can be confused: two containers in one pod, replicas behind one address, a
// pod, a static pod and a process that share the host's address, and pods that get the address, even the name, of dead ones.
type shop struct {
	*cluster
	nodes                  []*node
	web, db                *workload
	webA, webB, db0        *pod
	cart, exporter, static *pod
	front, late            *pod     // on the other node; of the second the API knows no container yet
	nodeproxy              string   // cgroup of a process of the host
	spare                  []string // network namespaces for pods to come

	// What the programs saw, by container.
	requests, answered, refused, resets map[string]int
	spans                               int
}

const (
	hostAddress    = "172.20.0.1"
	serviceAddress = "10.96.0.80"
)

func openShop(t *testing.T, api *controlPlane) *shop {
	t.Helper()
	n, other := newNode(t, "node-a", hostAddress), newNode(t, "node-b", "172.20.0.2")
	join(n, other, "10.244.0.0/24", "10.244.1.0/24")
	nodes := []*node{n, other}
	s := &shop{
		cluster: newCluster(t, api, nodes, "shop", "monitoring"), nodes: nodes,
		requests: map[string]int{}, answered: map[string]int{}, refused: map[string]int{}, resets: map[string]int{},
	}
	s.web = s.newWorkload(workload{namespace: "shop", kind: "Deployment", name: "web", containers: []string{"server"}})
	s.db = s.newWorkload(workload{namespace: "shop", kind: "StatefulSet", name: "db", containers: []string{"server"}})
	cart := s.newWorkload(workload{
		namespace: "shop", kind: "Deployment", name: "cart", containers: []string{"app", "sidecar"},
	})
	exporter := s.newWorkload(workload{
		namespace: "monitoring", kind: "DaemonSet", name: "exporter", containers: []string{"exporter"}, hostNetwork: true,
	})
	s.webA = s.start(n, s.web, "web-5d9c7b6f4-aaaaa", n.newNamespace("web-a"), "10.244.0.11")
	s.webB = s.start(n, s.web, "web-5d9c7b6f4-bbbbb", n.newNamespace("web-b"), "10.244.0.12")
	s.db0 = s.start(n, s.db, "db-0", n.newNamespace("db"), "10.244.0.13")
	s.cart = s.start(n, cart, "cart-5d9c7b6f4-xxxxx", n.newNamespace("cart"), "10.244.0.21")
	s.exporter = s.start(n, exporter, "exporter-zzzzz", "", "")
	s.static = s.start(n, &workload{
		namespace: "kube-system", name: "scheduler", containers: []string{"scheduler"}, hostNetwork: true,
	}, "scheduler-node-a", "", "")
	front := s.newWorkload(workload{namespace: "shop", kind: "Deployment", name: "front", containers: []string{"front"}})
	s.front = s.start(other, front, "front-5d9c7b6f4-yyyyy", other.newNamespace("front"), "10.244.1.31")
	s.late = s.run(other, front, "front-5d9c7b6f4-zzzzz", other.newNamespace("late"), "10.244.1.32")
	nameless := s.members[s.late.ids["front"]]
	nameless.container = ""
	s.members[s.late.ids["front"]] = nameless
	s.nodeproxy = n.newCgroup(filepath.Join(n.cgroups, "system.slice/nodeproxy.service"))
	s.spare = []string{n.newNamespace("web-c"), n.newNamespace("db-2")}
	api.do(http.MethodPost, "/api/v1/namespaces/shop/services", object{
		"metadata": object{"name": "web"},
		"spec": object{
			"clusterIP": serviceAddress, "selector": object{"app": "web"},
			"ports": []object{{"port": 80, "targetPort": 8080}},
		},
	})
	for _, n := range nodes {
		n.balance(serviceAddress+" . tcp . 80", "10.244.0.11:8080", "10.244.0.12:8080")
	}

	s.webA.serve("server", ":8080")
	s.webB.serve("server", ":8080")
	s.db0.serve("server", ":5432")
	s.exporter.serve("exporter", hostAddress+":9100")
	s.static.serve("scheduler", hostAddress+":9300")
	n.serve(n.host, s.nodeproxy, hostAddress+":9200", "nodeproxy")
	return s
}

// get lets a container ask and notes who answered.
func (s *shop) get(by *pod, container string, times int, url string) (answers map[string]int) {
	s.t.Helper()
	answers = by.errands(container, fmt.Sprint(times), "get", url)
	for name, n := range answers {
		s.answered[name] += n
		s.requests[by.ids[container]] += n
		s.spans += 2 * n
	}
	return answers
}

// refuse lets a container of the cart's pod connect where nobody listens, which is answered by resets that are of no
// socket, but of the pod.
func (s *shop) refuse(container string, times int, by *pod) {
	s.t.Helper()
	s.cart.errands(container, fmt.Sprint(times), "refused", by.address+":7000")
	s.refused[s.cart.ids[container]] += times
	s.resets[s.cart.ids[container]] += times
	s.resets[by.ids["server"]] += times
}

// replace deletes the pod of the StatefulSet and one of the Deployment and lets others take their addresses.
func (s *shop) replace(heard func(pods int, change func())) (webC, db0 *pod) {
	s.t.Helper()
	s.webB.delete()
	s.db0.delete()
	heard(2, func() {
		webC = s.start(s.nodes[0], s.web, "web-5d9c7b6f4-ccccc", s.spare[0], s.webB.address)
		db0 = s.start(s.nodes[0], s.db, "db-0", s.spare[1], s.db0.address)
	})
	webC.serve("server", ":8080")
	db0.serve("server", ":5432")
	return webC, db0
}

func TestTelemetryCarriesTheNamesOfItsPod(t *testing.T) {
	api := startControlPlane(t)
	api.applyExamples()
	s := openShop(t, api)
	d := deploy(t, api, s.nodes)

	answers := s.get(s.cart, "app", 12, "http://"+serviceAddress+"/")
	require.Equal(t, map[string]int{s.webA.ids["server"]: 6, s.webB.ids["server"]: 6}, answers)
	s.get(s.cart, "app", 7, "http://10.244.0.13:5432/")
	s.get(s.cart, "sidecar", 5, "http://"+hostAddress+":9100/")
	s.get(s.cart, "sidecar", 4, "http://"+hostAddress+":9200/")
	s.get(s.cart, "sidecar", 6, "http://"+hostAddress+":9300/")
	answers = s.get(s.front, "front", 8, "http://"+serviceAddress+"/")
	require.Equal(t, map[string]int{s.webA.ids["server"]: 4, s.webB.ids["server"]: 4}, answers)
	s.get(s.late, "front", 2, "http://"+serviceAddress+"/")
	s.refuse("sidecar", 3, s.webA)
	s.refuse("app", 2, s.db0)

	webC, db0 := s.replace(d.agents[0].hears)
	require.NotEqual(t, s.db0.uid, db0.uid)
	answers = s.get(s.cart, "app", 10, "http://"+serviceAddress+"/")
	require.Equal(t, map[string]int{s.webA.ids["server"]: 5, webC.ids["server"]: 5}, answers)
	s.get(s.cart, "app", 9, "http://10.244.0.13:5432/")

	eventually(t, "all spans have arrived", func() bool {
		spans := 0
		for _, output := range d.outputs {
			spans += len(read(t, output).spans)
		}
		return spans >= s.spans
	})
	for i, agent := range d.agents {
		assert.Equal(t, rootsProbes(t), probesIn(t, agent.log), "its container bounds what it sees")
		assert.EqualValues(t, pipelines*s.started[s.nodes[i]], agent.counted(podsAdded), "it hears of the pods of its node alone")
		end(agent.command, syscall.SIGTERM)
	}
	var got []*telemetry
	for i, gateway := range d.gateways {
		end(gateway, syscall.SIGTERM)
		got = append(got, read(t, d.outputs[i]))
	}
	s.assertNames(got)
	s.assertCounts(got)
	s.assertCounters(got, s.webA, webC, db0)
	assertTraces(t, got)
	assertStacks(t, got)
}

// assertNames: whatever is of a container carries all names of that container, and nothing else carries any.
func (s *shop) assertNames(got []*telemetry) {
	s.t.Helper()
	seen := map[string]bool{}
	for _, g := range got {
		for _, resource := range g.all {
			seen[owner(resource)] = true
			names := member{}
			for key, value := range map[string]*string{
				"k8s.namespace.name": &names.namespace, "k8s.pod.name": &names.pod, "k8s.pod.uid": &names.uid,
				"k8s.deployment.name": &names.deployment, "k8s.statefulset.name": &names.statefulSet,
				"k8s.daemonset.name": &names.daemonSet, "k8s.container.name": &names.container, "k8s.node.name": &names.node,
			} {
				*value, _ = resource[key].(string)
			}
			require.Equal(s.t, s.expected(resource, names), names, "%v", resource)
			require.NotEmpty(s.t, names.node)
		}
	}
	for id, member := range s.members {
		assert.True(s.t, seen[id], "nothing is told of %+v", member)
	}
	assert.True(s.t, seen["nodeproxy"])
}

// expected are the names of a resource that is of a container, or of a pod but of no container that is known: then
// any container's name, or none, is as good. What is of neither has a node.
func (s *shop) expected(resource map[string]any, names member) member {
	if id, ok := resource["container.id"].(string); ok {
		return s.members[id]
	}
	for _, member := range s.members {
		if member.uid == resource["k8s.pod.uid"] {
			member.container = names.container
			return member
		}
	}
	if owner(resource) == "nodeproxy" {
		return member{node: s.nodes[0].name}
	}
	return member{node: names.node}
}

// assertCounts holds what is told of each container against what its program saw.
func (s *shop) assertCounts(got []*telemetry) {
	s.t.Helper()
	count := func(of func(*telemetry) int) (n int) {
		for _, g := range got {
			n += of(g)
		}
		return n
	}
	spans := func(of string, kind ptrace.SpanKind) int {
		return count(func(g *telemetry) (n int) {
			for _, span := range g.spans {
				if owner(span.resource) == of && span.Kind() == kind {
					n++
				}
			}
			return n
		})
	}
	events := func(name, of string) int {
		return count(func(g *telemetry) (n int) {
			for _, event := range g.events {
				if event.name == name && owner(event.resource) == of {
					n++
				}
			}
			return n
		})
	}
	sum := func(metric, of string) int { return count(func(g *telemetry) int { return g.sum(metric, of) }) }
	for of := range s.members {
		assert.Equal(s.t, s.requests[of], spans(of, ptrace.SpanKindClient), "client spans of %+v", s.members[of])
		assert.Equal(s.t, s.answered[of], spans(of, ptrace.SpanKindServer), "server spans of %+v", s.members[of])
		assert.Equal(s.t, s.requests[of], sum("http.client.request.duration", of), "requests by %+v", s.members[of])
		assert.Equal(s.t, s.answered[of], sum("http.server.request.duration", of), "requests to %+v", s.members[of])
		assert.Equal(s.t, s.requests[of]+s.answered[of], sum("network.tcp.connection.opened", of), "%+v", s.members[of])
		assert.Equal(s.t, s.refused[of], sum("network.tcp.connection.failed", of), "%+v", s.members[of])
		assert.Equal(s.t, s.refused[of], events("network.tcp.connection.failed", of), "%+v", s.members[of])
		if s.refused[of] > 0 || newerThan(s.t, 6, 10) { // before, resets without a socket are not seen
			assert.Equal(s.t, s.resets[of], events("network.tcp.reset", of), "%+v", s.members[of])
		}
	}
	assert.Equal(s.t, s.answered["nodeproxy"], spans("nodeproxy", ptrace.SpanKindServer))
	assert.Equal(s.t, s.answered["nodeproxy"], sum("network.tcp.connection.opened", "nodeproxy"))
}

// assertCounters: the kernel's own counters of living pods are told of them, the whole life of each and no other's.
func (s *shop) assertCounters(got []*telemetry, pods ...*pod) {
	s.t.Helper()
	for _, pod := range pods {
		accepted := 0
		for _, g := range got {
			accepted += g.counter("PassiveOpens", pod.uid)
		}
		assert.Equal(s.t, s.answered[pod.ids["server"]], accepted, "%+v", s.members[pod.ids["server"]])
	}
}

// assertTraces: each call is one trace of two spans, joined through the service's address, and whole at one gateway.
func assertTraces(t *testing.T, got []*telemetry) {
	t.Helper()
	for i, g := range got {
		require.NotEmpty(t, g.spans, "gateway %d got its share", i)
		clients := map[string]span{}
		servers := 0
		for _, s := range g.spans {
			if s.Kind() == ptrace.SpanKindClient {
				clients[s.TraceID().String()+s.SpanID().String()] = s
			}
		}
		for _, s := range g.spans {
			if s.Kind() == ptrace.SpanKindServer {
				servers++
				assert.Contains(t, clients, s.TraceID().String()+s.ParentSpanID().String(), "%v", s.Attributes().AsRaw())
			}
		}
		assert.Len(t, clients, servers)
	}
}

// assertStacks: the agent may see what the kernel's functions are called.
func assertStacks(t *testing.T, got []*telemetry) {
	t.Helper()
	resets := 0
	for _, g := range got {
		for _, event := range g.events {
			if event.name == "network.tcp.reset" {
				resets++
				assert.Regexp(t, `\btcp_\w+\+0x`, event.stack)
			}
		}
	}
	assert.NotZero(t, resets)
}

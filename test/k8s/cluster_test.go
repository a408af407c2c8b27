//go:build linux && (amd64 || arm64)

package k8stest

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cluster is the objects in the API and what they are on the nodes.
type cluster struct {
	t       *testing.T
	api     *controlPlane
	members map[string]member // by container id
	started map[*node]int     // pods
}

// member is what telemetry of a container has to say of it.
type member struct{ node, namespace, pod, uid, deployment, statefulSet, daemonSet, container string }

// workload is what pods are made from; without a kind it is a file that the kubelet reads, of a static pod.
type workload struct {
	namespace, kind, name string
	containers            []string
	hostNetwork           bool
	owner                 object // owner reference of its pods; nil: they have none
}

// pod is one in the API and on the node.
type pod struct {
	cluster   *cluster
	node      *node
	path      string // in the API
	uid       string
	namespace string // network namespace
	address   string
	slice     string
	cgroups   map[string]string // by name of the container
	ids       map[string]string
	programs  []*exec.Cmd
}

func newCluster(t *testing.T, api *controlPlane, nodes []*node, namespaces ...string) *cluster {
	t.Helper()
	for _, namespace := range namespaces {
		api.do(http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": namespace}})
	}
	for _, n := range nodes {
		api.do(http.MethodPost, "/api/v1/nodes", object{"metadata": object{"name": n.name}})
		api.do(http.MethodPatch, "/api/v1/nodes/"+n.name+"/status", object{"status": object{
			"addresses": []object{{"type": "InternalIP", "address": n.address}},
		}})
	}
	return &cluster{t: t, api: api, members: map[string]member{}, started: map[*node]int{}}
}

// newWorkload makes a Deployment with its ReplicaSet, a StatefulSet or a DaemonSet.
func (c *cluster) newWorkload(w workload) *workload {
	c.t.Helper()
	labels := object{"app": w.name}
	template := object{"metadata": object{"labels": labels}, "spec": w.podSpec()}
	spec := object{"selector": object{"matchLabels": labels}, "template": template}
	path := "/apis/apps/v1/namespaces/" + w.namespace + "/"
	made := c.api.do(http.MethodPost, path+strings.ToLower(w.kind)+"s",
		object{"metadata": object{"name": w.name, "labels": labels}, "spec": spec})
	w.owner = ownerReference(w.kind, made)
	if w.kind == "Deployment" {
		labels := object{"app": w.name, "pod-template-hash": "5d9c7b6f4"}
		made := c.api.do(http.MethodPost, path+"replicasets", object{
			"metadata": object{
				"name": w.name + "-5d9c7b6f4", "labels": labels, "ownerReferences": []object{w.owner},
			},
			"spec": object{
				"selector": object{"matchLabels": labels},
				"template": object{"metadata": object{"labels": labels}, "spec": w.podSpec()},
			},
		})
		w.owner = ownerReference("ReplicaSet", made)
	}
	return &w
}

func ownerReference(kind string, of object) object {
	metadata := of["metadata"].(object)
	return object{
		"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"],
		"controller": true, "blockOwnerDeletion": true,
	}
}

func (w *workload) podSpec() object {
	var containers []object
	for _, name := range w.containers {
		containers = append(containers, object{"name": name, "image": "registry.example/" + name + ":1.0"})
	}
	return object{"containers": containers, "hostNetwork": w.hostNetwork}
}

// start does what controller, scheduler, kubelet, runtime and network plugin do for a pod. namespace is its network
// namespace; empty: the host's.
func (c *cluster) start(n *node, w *workload, name, namespace, address string) *pod {
	c.t.Helper()
	p := c.run(n, w, name, namespace, address)
	p.report()
	return p
}

// run starts a pod of which the kubelet has not yet told the API.
func (c *cluster) run(n *node, w *workload, name, namespace, address string) *pod {
	c.t.Helper()
	c.started[n]++
	p := &pod{
		cluster: c, node: n, path: "/api/v1/namespaces/" + w.namespace + "/pods/" + name,
		namespace: namespace, address: address,
		uid: c.newPod(w, name, n.name), cgroups: map[string]string{}, ids: map[string]string{},
	}
	if w.hostNetwork {
		p.namespace, p.address = n.host, n.address
	} else {
		n.connect(namespace, address)
	}
	inCgroup := strings.ReplaceAll(p.uid, "-", "_")
	if w.kind == "" {
		inCgroup = newContainerID()[:32] // the hash of its file: the API's uid is that of a pod that mirrors it
	}
	p.slice = filepath.Join(n.cgroups, "kubepods.slice/kubepods-burstable.slice",
		"kubepods-burstable-pod"+inCgroup+".slice")
	for _, container := range w.containers {
		id := newContainerID()
		p.ids[container] = id
		p.cgroups[container] = n.newCgroup(filepath.Join(p.slice, "cri-containerd-"+id+".scope"))
		c.members[id] = w.member(n, name, p.uid, container)
	}
	return p
}

// report is what the kubelet says of the pod.
func (p *pod) report() {
	p.cluster.t.Helper()
	var statuses []object
	for container, id := range p.ids {
		statuses = append(statuses, object{
			"name": container, "containerID": "containerd://" + id, "ready": true, "started": true, "restartCount": 0,
			"image": "registry.example/" + container + ":1.0", "imageID": "registry.example/" + container + "@sha256:" + id,
			"state": object{"running": object{"startedAt": "2026-01-01T00:00:00Z"}},
		})
	}
	p.cluster.api.do(http.MethodPatch, p.path+"/status", object{"status": object{
		"phase": "Running", "podIP": p.address, "podIPs": []object{{"ip": p.address}},
		"hostIP": p.node.address, "hostIPs": []object{{"ip": p.node.address}},
		"startTime": "2026-01-01T00:00:00Z", "containerStatuses": statuses,
	}})
}

// newPod makes a pod in the API and nothing else.
func (c *cluster) newPod(w *workload, name, node string) (uid string) {
	c.t.Helper()
	labels := object{"app": w.name}
	if w.kind == "Deployment" {
		labels["pod-template-hash"] = "5d9c7b6f4"
	}
	spec := w.podSpec()
	spec["nodeName"] = node
	metadata := object{"name": name, "labels": labels}
	if w.owner != nil {
		metadata["ownerReferences"] = []object{w.owner}
	} else {
		metadata["annotations"] = object{"kubernetes.io/config.mirror": "hash"}
	}
	made := c.api.do(http.MethodPost, "/api/v1/namespaces/"+w.namespace+"/pods", object{"metadata": metadata, "spec": spec})
	return made["metadata"].(object)["uid"].(string)
}

func (w *workload) member(n *node, pod, uid, container string) member {
	m := member{node: n.name, namespace: w.namespace, pod: pod, uid: uid, container: container}
	switch w.kind {
	case "Deployment":
		m.deployment = w.name
	case "StatefulSet":
		m.statefulSet = w.name
	case "DaemonSet":
		m.daemonSet = w.name
	}
	return m
}

// delete ends the pod at once: processes, cgroups, network namespace, object.
func (p *pod) delete() {
	p.cluster.t.Helper()
	for _, program := range p.programs {
		end(program, os.Kill)
	}
	for _, cgroup := range p.cgroups {
		removeCgroup(p.cluster.t, cgroup)
	}
	removeCgroup(p.cluster.t, p.slice)
	run(p.cluster.t, "", "ip", "netns", "del", p.namespace)
	p.cluster.api.do(http.MethodDelete, p.path, object{"gracePeriodSeconds": 0})
	// A route of a device that is gone is gone too, but namespaces are taken down in the background.
	eventually(p.cluster.t, "the route to "+p.address+" is gone", func() bool {
		return run(p.cluster.t, "", "ip", "-n", p.node.host, "route", "show", p.address) == ""
	})
}

// serve starts a server in a container; its name is the container's id.
func (p *pod) serve(container, at string) {
	p.cluster.t.Helper()
	p.programs = append(p.programs, p.node.serve(p.namespace, p.cgroups[container], at, p.ids[container]))
}

func (p *pod) errands(container string, args ...string) (answers map[string]int) {
	p.cluster.t.Helper()
	return p.node.errands(p.namespace, p.cgroups[container], args...)
}

func newContainerID() string {
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	return hex.EncodeToString(id)
}

// Package owner tells whose traffic a record is: from the cgroup of a socket to its container and pod,
// outside containers to the process. It has four parts:
//
//   - Parse reads what the path of a cgroup says, and only that: no container runtime, no API server;
//   - Resolver answers for records, from wire.Facts, with a bounded cache and without a question per event;
//   - Namespaces tells which pod's a network namespace is;
//   - Proc is the live half of wire.Facts: it reads procfs and the cgroup tree.
//
// # Never a wrong id
//
// The k8s_attributes processor takes a container.id or k8s.pod.uid at its word, so each is given only
// where the path leaves no doubt; what is in doubt is absent. In particular:
//
//   - A static pod (kube-apiserver, etcd and the like on kubeadm nodes) has in its path the hash of its
//     configuration, 32 hex digits, which the kubelet uses as the pod's uid. The API server gives the mirror
//     pod that stands for it a uid of its own, and that is what k8s_attributes knows. The hash is therefore
//     not given; the container id is, which the mirror pod's status holds too.
//   - conmon, the monitor that CRI-O and Podman start beside each container, has a cgroup named after the
//     container but is not in it: it gets no container and no pod.
//   - A name of 64 hex digits is a container id only in the form and place in which a runtime makes it.
//   - The path "/" says nothing: it is what every process has in the unified hierarchy of a host that
//     uses cgroup v1.
package owner

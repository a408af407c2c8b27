// Package k8stest proves the names that telemetry gets in Kubernetes. It runs etcd and kube-apiserver, makes the
// objects of a cluster of two nodes in them, mirrors each pod as a kubelet does (network namespace, device,
// cgroups, processes) and runs the built collector with the configuration, the role and the capabilities of
// examples/kubernetes.
//
// Run it with make test-k8s, which builds the control plane: controlplane/ is a module of its own.
package k8stest

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules is what tests of a network receiver need beside what Debian builds in. One that a kernel
// has in neither form is reported, unless a question mark says that not all kernels have it: nft_counter
// and nft_objref are parts of nf_tables since 5.17 and 6.3, nf_log_* became nf_log_syslog in 5.13, and cloud
// kernels got tls after 5.10; the ciphers that it needs are built in from case to case.
var wantedModules = strings.Fields(`
	virtio_pci virtio_mmio virtio_console virtio_rng virtio_net
	veth bridge br_netfilter dummy tun ifb macvlan ipvlan vxlan 8021q
	sch_netem sch_tbf sch_fq sch_fq_codel sch_htb sch_prio sch_ingress
	cls_bpf cls_u32 cls_matchall act_mirred act_gact act_bpf
	tcp_bbr tcp_diag udp_diag unix_diag sctp ip_vs ip_vs_rr ?tls ?gcm ?ctr ?ghash_generic
	nf_conntrack nf_nat nf_conntrack_netlink nf_reject_ipv4 nf_reject_ipv6
	nf_tables ?nft_counter nft_ct nft_nat nft_masq nft_redir nft_chain_nat ?nft_objref nft_hash
	nft_reject nft_reject_ipv4 nft_reject_ipv6 nft_reject_inet
	nft_limit nft_log nft_numgen nft_fib nft_fib_inet nft_quota nft_compat nft_tproxy nft_socket
	nfnetlink_log ?nf_log_syslog ?nf_log_common ?nf_log_ipv4 ?nf_log_ipv6
	ip_tables iptable_filter iptable_nat x_tables ipt_REJECT xt_conntrack xt_MASQUERADE xt_REDIRECT xt_nat
	xt_tcpudp xt_multiport xt_statistic xt_comment xt_mark`)

// moduleTree finds modules below a kernel's lib/modules/<release>.
type moduleTree struct {
	paths   map[string]string // by canonical name, which has _ for -
	builtin map[string]bool
}

func openModuleTree(dir string) (*moduleTree, error) {
	t := &moduleTree{paths: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			t.paths[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Fields(string(list)) {
		t.builtin[moduleName(line)] = true
	}
	return t, nil
}

// moduleName makes "kernel/net/sched/cls-bpf.ko.xz" into "cls_bpf", the name that modules depend on.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// uncompressed returns the path of the plain .ko of a module, which it leaves beside a compressed one.
func (t *moduleTree) uncompressed(name string) (string, error) {
	path := t.paths[name]
	var tool, pkg string
	switch filepath.Ext(path) {
	case ".ko":
		return path, nil
	case ".xz":
		tool, pkg = "xz", "xz-utils"
	case ".zst":
		tool, pkg = "zstd", "zstd"
	case ".gz":
		tool, pkg = "gzip", "gzip"
	default:
		return "", fmt.Errorf("module %s: unknown compression", path)
	}
	plain := strings.TrimSuffix(path, filepath.Ext(path))
	if _, err := needTool(tool, pkg); err != nil {
		return "", err
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tool, "-dc", path)
	cmd.Stderr = &stderr
	image, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s -dc %s: %w: %s", tool, path, err, stderr.String())
	}
	if err := os.WriteFile(plain, image, 0o644); err != nil {
		return "", err
	}
	t.paths[name] = plain
	return plain, nil
}

// dependencies returns what a module names in the "depends" field of its .modinfo section: the source
// from which depmod makes modules.dep, which Debian's packages do not ship.
func (t *moduleTree) dependencies(name string) ([]string, error) {
	path, err := t.uncompressed(name)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: no .modinfo section", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	return parseDepends(data), nil
}

func parseDepends(modinfo []byte) []string {
	for _, field := range bytes.Split(modinfo, []byte{0}) {
		if list, found := bytes.CutPrefix(field, []byte("depends=")); found && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ",")
		}
	}
	return nil
}

// loadOrder returns the wanted modules and all that they depend on, each after its dependencies, and
// the names without a question mark that are neither a module nor built in.
func (t *moduleTree) loadOrder(wanted []string, depends func(string) ([]string, error)) (order, missing []string, err error) {
	visited := map[string]bool{}
	var visit func(string) error
	visit = func(name string) error {
		if visited[name] {
			return nil
		}
		visited[name] = true
		if t.paths[name] == "" {
			if !t.builtin[name] {
				missing = append(missing, name)
			}
			return nil
		}
		list, err := depends(name)
		if err != nil {
			return err
		}
		for _, dependency := range list {
			if err := visit(dependency); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range wanted {
		name, optional := strings.CutPrefix(name, "?")
		if optional && t.paths[name] == "" {
			continue
		}
		if err := visit(name); err != nil {
			return nil, nil, err
		}
	}
	return order, missing, nil
}

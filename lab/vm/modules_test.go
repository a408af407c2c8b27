package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestModulesLoadAfterWhatTheyDependOn(t *testing.T) {
	depends := map[string][]string{
		"nft_masq": {"nf_tables", "nf_nat"}, "nf_nat": {"nf_conntrack", "libcrc32c"},
		"nf_conntrack": {"libcrc32c"}, "nf_tables": {"libcrc32c"},
	}
	tree := &moduleTree{paths: map[string]string{"libcrc32c": "x"}, builtin: map[string]bool{"tcp_cubic": true}}
	for name := range depends {
		tree.paths[name] = "x"
	}
	order, missing, err := tree.loadOrder([]string{"nft_masq", "tcp_cubic", "?nft_counter", "zram", "nf_nat"},
		func(name string) ([]string, error) { return depends[name], nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(order) != 5 {
		t.Errorf("each module once, got %v", order)
	}
	for name, list := range depends {
		for _, dependency := range list {
			if slices.Index(order, dependency) > slices.Index(order, name) {
				t.Errorf("%s comes before %s in %v", name, dependency, order)
			}
		}
	}
	if !slices.Equal(missing, []string{"zram"}) {
		t.Errorf("missing %v, want the one that is neither optional nor built in", missing)
	}
}

func TestDependenciesComeFromModinfo(t *testing.T) {
	got := parseDepends([]byte("license=GPL\x00depends=nf-tables,x_tables\x00name=nft_compat\x00"))
	if !slices.Equal(got, []string{"nf_tables", "x_tables"}) {
		t.Error(got)
	}
	if got := parseDepends([]byte("depends=\x00")); got != nil {
		t.Errorf("no dependency: %q", got)
	}
}

func TestModuleTreeKnowsModulesByTheirCanonicalName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kernel", "net", "cls-bpf.ko.xz")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{path: "", filepath.Join(dir, "modules.builtin"): "kernel/net/ipv4/tcp-cubic.ko\n"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := openModuleTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tree.paths["cls_bpf"] != path || !tree.builtin["tcp_cubic"] {
		t.Errorf("%+v", tree)
	}
}

package l7

import (
	"fmt"
	"testing"
)

func TestZ(t *testing.T) {
	all := records([]turn{get, ok, get, ok, get, ok, get, ok})
	all = append(all[:1:1], all[3:]...)
	e := ends(all)[0]
	e.origin = Origin{}
	calls, st := e.see(t, all)
	fmt.Println(briefs(calls))
	fmt.Printf("%+v\n", st)
}

package main

import (
	"reflect"
	"testing"
)

func TestOneBootRunsSeveralTests(t *testing.T) {
	got, err := splitTests([]string{"a/x.test", "-test.v", "--", "b/y.test", "--", "z.test", "-n", "3"})
	want := [][]string{{"a/x.test", "-test.v"}, {"b/y.test"}, {"z.test", "-n", "3"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, refused := range [][]string{{"--", "x.test"}, {"a/x.test", "--", "--", "y.test"}, {"a/x.test", "--", "b/x.test"}} {
		if got, err := splitTests(refused); err == nil {
			t.Errorf("%v became %v", refused, got)
		}
	}
}

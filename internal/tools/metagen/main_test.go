package main

import "testing"

func TestTheGeneratedFilesOfTheReceiverAreUpToDate(t *testing.T) {
	if err := run("../../../receiver", true); err != nil {
		t.Fatal(err)
	}
}

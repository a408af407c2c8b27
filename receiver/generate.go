package receiver

//go:generate go run ../internal/tools/metagen .
//go:generate go test -run=TestTheRecordingIsUpToDate . -update

module github.com/ebpfnet/ebpfnetreceiver

go 1.26

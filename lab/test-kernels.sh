#!/bin/sh
# test-kernels.sh FOLDER runs the compiled tests of the packages that touch the kernel in a virtual machine for each
# kernel, and holds what the kernels say about the probes against docs/kernels.md. All are tried even if one fails.
# FOLDER is where binaries, reports and logs go. The Makefile says what the variables mean.
set -u
work=$1
mkdir -p "$work"
failed=

go build -o "$work/vm" ./lab/vm && go build -o "$work/kerneltables" ./internal/tools/kerneltables || exit 1

programs=
for program in nginx h2load curl ip nft tc ss nstat dig dnsmasq; do
	programs="$programs -program $program"
done

# What is not run again must not be taken for what was.
rm -f "$work"/report-*.json

# test_kernel ARCH KERNEL TESTS boots once for both tests. It shows a line as a test begins and one as it ends, and the
# whole log if one fails. The lab's own time limit comes last, so that it can say what the guest's kernel said.
test_kernel() {
	arch=$1 kernel=$2 select=$3
	log=$work/$kernel-$arch.log
	printf '\n=== kernel %s %s\n' "$kernel" "$arch"
	# shellcheck disable=SC2086
	if ! "$work/vm" -fetch -kernel "$kernel" -arch "$arch" -mirror "${DEBIAN_MIRROR:-}" $programs; then
		failed="$failed $kernel/$arch"
		return
	fi
	set --
	if [ -n "$PROBERUN" ]; then
		set -- -env KERNEL_REPORT=/tmp/report.json -collect "/tmp/report.json:$work/report-$kernel-$arch.json" \
			-- "$work/$arch/probe.test" -test.v -test.timeout 115m -test.run "$PROBERUN"
	fi
	if [ -n "$select" ]; then
		set -- "$@" -- "$work/$arch/end-to-end.test" -test.v -test.timeout 115m -test.run "$select"
	fi
	# shellcheck disable=SC2086
	{
		"$work/vm" -kernel "$kernel" -arch "$arch" -mirror "${DEBIAN_MIRROR:-}" -timeout 120m $programs "$@" 2>&1
		echo "exit $?"
	} | tee "$log" | grep --line-buffered -E '^ *--- |^=== RUN +[^/]+/kernel=|^(ok  |FAIL)	|^# lab|^lab:'
	if [ "$(tail -n 1 "$log")" != 'exit 0' ]; then
		cat "$log"
		failed="$failed $kernel/$arch"
	fi
}

for arch in $ARCHES; do
	mkdir -p "$work/$arch"
	CGO_ENABLED=0 GOARCH=$arch go test -c -o "$work/$arch/probe.test" ./internal/probe &&
		CGO_ENABLED=0 GOARCH=$arch go test -c -o "$work/$arch/end-to-end.test" ./test || exit 1
	if [ "$arch" = arm64 ]; then
		for kernel in $ARM64_KERNELS; do
			test_kernel arm64 "$kernel" "$ARM64_RUN"
		done
	else
		for kernel in $KERNELS; do
			test_kernel "$arch" "$kernel" "$LABRUN"
		done
	fi
done

echo
reports=$(ls "$work"/report-*.json 2>/dev/null)
if [ -n "$reports" ]; then
	# shellcheck disable=SC2086
	"$work/kerneltables" ${UPDATE:+-update} docs $reports || failed="$failed docs/kernels.md"
fi
[ -z "$failed" ] || { echo "FAIL on:$failed"; exit 1; }

#!/bin/sh
# test-kernels.sh FOLDER runs the compiled tests of the packages that touch the kernel in a virtual machine for each
# kernel, and holds what the kernels say about the probes against docs/kernels.md. All are tried even if one fails.
# FOLDER is where binaries, reports and logs go. The Makefile says what the variables mean.
#
# test-kernels.sh FOLDER PART ARCH KERNEL is what it runs for each of them, when the binaries are there: PART is probes or
# end-to-end.
set -u
work=$1

programs=
for program in nginx h2load curl wrk ip nft tc ss nstat dig dnsmasq ipvsadm conntrack; do
	programs="$programs -program $program"
done

# test_kernel PART ARCH KERNEL boots for one of both tests: so two processors are busy until nearly the end, though one
# kernel takes twice as long as the other. It shows a line as a test begins and one as it ends, and the whole log if one
# fails. The lab's own time limit comes last, so that it can say what the guest's kernel said.
test_kernel() {
	part=$1 arch=$2 kernel=$3
	log=$work/$kernel-$arch-$part.log
	# Where it is installed; there is none for other architectures, and nothing but end-to-end tests wants it.
	if [ "$part" = end-to-end ] && [ "$arch" = "$(go env GOHOSTARCH)" ] && command -v node >/dev/null; then
		programs="$programs -program node"
	fi
	printf '\n=== kernel %s %s: %s\n' "$kernel" "$arch" "$part"
	# shellcheck disable=SC2086
	if ! "$work/vm" -fetch -kernel "$kernel" -arch "$arch" -mirror "${DEBIAN_MIRROR:-}" $programs; then
		return 1
	fi
	if [ "$part" = probes ]; then
		set -- -env KERNEL_REPORT=/tmp/report.json -collect "/tmp/report.json:$work/report-$kernel-$arch.json" \
			-- "$work/$arch/probe.test" -test.v -test.timeout 115m -test.run "$PROBERUN"
	else
		select=$LABRUN
		[ "$arch" = amd64 ] || select=$ARM64_RUN
		set -- -- "$work/$arch/end-to-end.test" -test.v -test.timeout 115m -test.run "$select"
	fi
	# shellcheck disable=SC2086
	{
		"$work/vm" -kernel "$kernel" -arch "$arch" -mirror "${DEBIAN_MIRROR:-}" -timeout 120m $programs "$@" 2>&1
		echo "exit $?"
	} | tee "$log" | grep --line-buffered -E '^ *--- |^=== RUN +[^/]+/kernel=|^(ok  |FAIL)	|^# lab|^lab:'
	if [ "$(tail -n 1 "$log")" != 'exit 0' ]; then
		cat "$log"
		return 1
	fi
}

if [ $# -gt 1 ]; then
	test_kernel "$2" "$3" "$4" || echo "$4/$3/$2" >>"$work/failed"
	exit
fi

mkdir -p "$work"
go build -o "$work/vm" ./lab/vm && go build -o "$work/kerneltables" ./internal/tools/kerneltables || exit 1
# What is not run again must not be taken for what was.
rm -f "$work"/report-*.json "$work/failed"

for arch in $ARCHES; do
	mkdir -p "$work/$arch"
	CGO_ENABLED=0 GOARCH=$arch go test -c -o "$work/$arch/probe.test" ./internal/probe &&
		CGO_ENABLED=0 GOARCH=$arch go test -c -o "$work/$arch/end-to-end.test" ./test || exit 1
done
for part in probes end-to-end; do
	for arch in $ARCHES; do
		kernels=$KERNELS select=$LABRUN
		[ "$arch" = amd64 ] || kernels=$ARM64_KERNELS select=$ARM64_RUN
		[ "$part" = end-to-end ] || select=$PROBERUN
		[ -n "$select" ] || continue
		for kernel in $kernels; do
			echo "$part $arch $kernel"
		done
	done
done | xargs -r -P "$JOBS" -L 1 "$0" "$work" || exit 1

echo
reports=$(ls "$work"/report-*.json 2>/dev/null)
if [ -n "$reports" ]; then
	# shellcheck disable=SC2086
	"$work/kerneltables" ${UPDATE:+-update} docs $reports || echo docs/kernels.md >>"$work/failed"
fi
[ ! -e "$work/failed" ] || { echo "FAIL on: $(tr '\n' ' ' <"$work/failed")"; exit 1; }

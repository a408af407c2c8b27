#!/bin/sh
# install-missing.sh COMMAND:PACKAGE… installs the Debian packages of the commands that are not there.
#
# It never fails: what needs a command that is missing says so itself, and everything else still works. A
# COMMAND with a slash is a file. Nothing that it installs runs as a service afterwards: a web server that is
# wanted for a test must not listen on the machine's port 80, neither now nor after the next boot.
set -u

PATH=$PATH:/usr/sbin:/sbin
packages=
for pair; do
	command=${pair%%:*}
	package=${pair#*:}
	case $command in
	*/*) [ -e "$command" ] && continue ;;
	*) command -v "$command" >/dev/null 2>&1 && continue ;;
	esac
	case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
done
[ -z "$packages" ] && exit 0

give_up() {
	echo "Missing here:$packages" >&2
	echo "$1" >&2
	exit 0
}

command -v apt-get >/dev/null 2>&1 ||
	give_up "This is not Debian or Ubuntu: install them with this system's package manager."
as_root=
if [ "$(id -u)" -ne 0 ]; then
	sudo -n true 2>/dev/null || give_up "Run: sudo apt-get install$packages"
	as_root="sudo -n"
fi

# invoke-rc.d starts nothing while policy-rc.d says 101 (Debian policy 9.3.3.1). One that is there already
# was put there by somebody with a reason.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null && $as_root chmod 755 "$policy"
	trap '$as_root rm -f "$policy"' EXIT
	trap 'exit 1' INT TERM
fi

apt_get() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o=Dpkg::Use-Pty=0 "$@" >&2
}
echo "Installing:$packages" >&2
apt_get update || echo "apt-get update failed; trying with the package lists that are there" >&2
# One by one: a release that lacks one of them still gets the others.
for package in $packages; do
	apt_get install --yes --no-install-recommends "$package" || echo "Not installed: $package" >&2
	case $package in nginx) $as_root systemctl disable --quiet nginx >/dev/null 2>&1 ;; esac
done
exit 0

# The cached Debian 13 root: where ./dev works on a machine that lacks the packages. Sourced by ./dev.
#
# A root is a folder made by debootstrap, kept outside the checkout under a name that hashes everything it is made
# from. It is entered in a mount namespace of its own, so that its mounts vanish with the program; the checkout, /tmp,
# the homes and the network are the host's. Every step from ./dev to the program is an exec: the program has the
# process id, gets the signals, and gives the exit code.

cache_dir=${SLUICE_CACHE:-/var/cache/sluice}
root_groups="build runtime test"
root_form=1 # counted up when a root that exists would not do any more
shared_dirs="/tmp /var/tmp /home /root /srv" # the host's, seen inside at the same path

# Prints the path of the root that belongs to this checkout's package list.
root_path() {
    local hash
    hash=$(cd "$here/packages" && { cat build.list runtime.list test.list backports.pin; echo $root_form; } | sha256sum)
    echo "$cache_dir/root-${hash:0:12}"
}

# Is everything here already, in versions that are new enough?
native_is_enough() {
    case ${SLUICE_NATIVE:-} in
    yes) return 0 ;;
    no) return 1 ;;
    esac
    local tool module version
    for tool in gcc cmake ninja pkg-config luajit busted luacheck; do
        command -v "$tool" >/dev/null || return 1
    done
    while read -r module version; do
        case $module in '' | '#'*) continue ;; esac
        pkg-config --atleast-version="$version" "$module" || return 1
    done <"$here/packages/minimum"
}

# Runs a command with its output in the log; a terminal shows the last line of it meanwhile.
step() {
    local what=$1
    shift
    say "$what"
    if [ -t 2 ]; then
        "$@" 2>&1 </dev/null | tee -a "$log" | while IFS= read -r line; do
            printf '\r\033[K  %.76s' "$line" >&2
        done || failed "$what"
        printf '\r\033[K' >&2
    else
        "$@" >>"$log" 2>&1 </dev/null || failed "$what"
    fi
}

failed() {
    printf '\n' >&2
    tail -n 20 "$log" >&2
    die "could not finish: $1 (log: $log)"
}

# Prints the first URI of this host's apt sources that ends in the given path, if this host is a Debian.
host_mirror() {
    grep -qs '^ID=debian' /etc/os-release || return 0
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed 's/#.*//' | grep -oE "https?://[^] ]+" | sed 's,/*$,,' | grep -m1 "/$1\$" || true
}

need_debootstrap() {
    command -v debootstrap >/dev/null && return
    command -v apt-get >/dev/null ||
        die "needs debootstrap to make its Debian 13 root; install it with your package manager"
    step "installing debootstrap" env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get install -qy --no-install-recommends debootstrap debian-archive-keyring ||
         { apt-get update -q && apt-get install -qy --no-install-recommends debootstrap debian-archive-keyring; }'
}

# Settings of a root that is made again rather than upgraded: no documentation, no fsync, no started services.
configure_root() {
    local root=$1 mirror=$2 security=$3
    rm -f "$root/etc/apt/sources.list"
    cat >"$root/etc/apt/sources.list.d/debian.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
        'path-exclude=/usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/sluice"
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/sluice"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    : >"$root/etc/resolv.conf"
}

# Makes the root under a temporary name and renames it when it is whole.
make_root() {
    local root=$1 new=$1.new mirror security proxy
    mirror=${SLUICE_MIRROR:-$(host_mirror debian)}
    mirror=${mirror:-http://deb.debian.org/debian}
    security=${SLUICE_SECURITY_MIRROR:-$(host_mirror debian-security)}
    security=${security:-http://deb.debian.org/debian-security}
    proxy=$(apt-config shell http_proxy Acquire::http::Proxy 2>/dev/null || true)
    [ -z "$proxy" ] || eval "export $proxy"
    log=$cache_dir/log
    : >"$log"
    say "this machine lacks the packages; making a Debian 13 root in $root (once, about a minute)"
    rm -rf "$new"
    need_debootstrap
    # In a mount namespace, so that an interrupted run leaves no /proc mounted where the next one removes files.
    step "1/2 base system" unshare --mount debootstrap --variant=minbase --include=ca-certificates trixie "$new" "$mirror"
    configure_root "$new" "$mirror" "$security"
    step "2/2 compilers, libraries and test tools" unshare --mount "$BASH" -c \
        '. "$0"; mount_into "$1" "$2"; exec chroot "$1" /usr/bin/env PATH="$inside_path" SLUICE_MIRROR="$3" "$2/packages/setup" $4' \
        "$here/packages/root.sh" "$new" "$here" "$mirror" "$root_groups"
    rm -rf "$new"/var/cache/apt/archives/*.deb
    mv "$new" "$root"
    say "root made in $SECONDS s"
}

# Makes the root unless it is there. Two at once: the second waits for the first.
need_root() {
    local root=$1
    [ "$(uname -s)" = Linux ] || die "needs Linux, here is $(uname -s)"
    [ "$(id -u)" = 0 ] || die "the packages are missing here, and working in a Debian 13 root instead needs root: try sudo $0"
    [ -z "${SLUICE_INSIDE:-}" ] || die "already inside the root"
    [ -d "$root" ] && return
    unshare --mount true 2>/dev/null ||
        die "may not make a mount namespace here; on Debian 13 install the packages with: packages/setup $root_groups"
    mkdir -p "$cache_dir"
    (
        flock 9
        [ -d "$root" ] || make_root "$root"
    ) 9>"$cache_dir/lock"
}

inside_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Called in the private mount namespace: puts the host's folders into the root.
mount_into() {
    local root=$1 checkout=$2 dir
    mount --make-rprivate /
    mount --bind "$root" "$root" # a mount point, as programs that make namespaces expect of /
    for dir in /proc /sys /dev $shared_dirs; do
        [ -d "$dir" ] || continue
        mkdir -p "$root$dir"
        mount --rbind "$dir" "$root$dir"
    done
    mkdir -p "$root$checkout"
    mount --bind "$checkout" "$root$checkout"
    for dir in /etc/resolv.conf /etc/hosts; do
        [ -e "$dir" ] || continue
        [ -e "$root$dir" ] || : >"$root$dir"
        mount --bind "$dir" "$root$dir"
    done
}

# Becomes the command, inside the root and in the folder where the caller stands if that is seen there.
enter_root() {
    local root dir=$PWD
    root=$(root_path)
    need_root "$root"
    [ -d "$root$dir" ] || case $dir/ in "$here"/*) ;; *) dir=$here ;; esac
    exec unshare --mount "$BASH" -c '
        . "$0"; root=$1 checkout=$2 dir=$3; shift 3
        mount_into "$root" "$checkout" || exit
        [ -d "$root$dir" ] || dir=$checkout
        exec chroot "$root" /usr/bin/env -C "$dir" "$@"' \
        "$here/packages/root.sh" "$root" "$here" "$dir" \
        PATH="$inside_path" LC_ALL=C.UTF-8 SLUICE_NATIVE=yes SLUICE_INSIDE="${root##*/}" "$@"
}

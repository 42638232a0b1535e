#!/bin/bash
# Builds docker/Dockerfile and starts the image, without a container engine: buildah with chroot isolation needs
# nothing of the kernel but root. The ctest test `image`; exits 77 where it cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
store=${SLUICE_IMAGE_STORE:-/var/cache/sluice/images}
base=docker.io/library/debian:trixie-slim
image=localhost/sluice:test
log=$work/log
export BUILDAH_ISOLATION=chroot
mirror=${SLUICE_MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)}
options=(--network=host --ulimit "nofile=$(ulimit -Hn)" --ulimit "nproc=$(ulimit -Hu)" --pull=never)
containers=()

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "FAILED: $*"
    exit 1
}

pass() {
    echo "ok: $* ($SECONDS s)"
}

buildah() {
    command buildah --storage-driver "$driver" --root "$store/graph-$driver" --runroot "$store/run" "$@"
}

clean_up() {
    [ -z "${server:-}" ] || kill -9 "$server" 2>/dev/null || true
    for container in "${containers[@]}"; do
        buildah rm "$container" >/dev/null 2>&1 || true
    done
    rm -rf "$work"
}

quietly() {
    "$@" >"$log" 2>&1 || {
        tail -n 40 "$log"
        fail "$*"
    }
}

# Prints overlay where the kernel lets us, else vfs, which copies each layer whole.
storage_driver() {
    mkdir "$work"/{lower,upper,work,merged}
    if mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" none "$work/merged" 2>/dev/null; then
        umount "$work/merged"
        echo overlay
    else
        echo vfs
    fi
}

# What a registry would give, made with debootstrap once.
make_base() {
    buildah inspect --type image "$base" >/dev/null 2>&1 && return
    debootstrap --variant=minbase --include=ca-certificates trixie "$work/base" "$mirror" || return
    cat >"$work/base/etc/apt/sources.list.d/debian.sources" </etc/apt/sources.list.d/debian.sources
    rm -rf "$work"/base/etc/apt/sources.list "$work"/base/var/{cache/apt,lib/apt/lists}/* "$work"/base/var/log/* \
        "$work"/base/usr/share/{doc,man,locale}/*
    local container
    container=$(buildah from --network=host scratch) || return
    buildah copy --quiet "$container" "$work/base" / &&
        buildah config --cmd bash "$container" &&
        buildah commit --quiet --rm "$container" "$base"
}

# Builds one stage under a name: those with the packages are kept so, and made again only when the lists change.
# HEALTHCHECK is known to the docker format alone.
build() {
    quietly buildah bud "${options[@]}" --format docker --layers --build-arg SLUICE_MIRROR="$mirror" \
        ${1:+--target "$1"} -t "localhost/$2:test" -f docker/Dockerfile .
}

# Runs a command in the container as its user, with the variables of the test.
inside() {
    buildah run --network=host --env CORETRAFFIC_MODE=standalone --env SMARTPROXY_CONFIG=/tmp/config.json \
        --env SMARTPROXY_ADMIN_PORT="$admin_port" "$container" -- "$@"
}

megabytes() {
    du -smx "$(buildah mount "$1")" | cut -f 1
}

[ "$(id -u)" = 0 ] || skip "building an image needs root"
packages/setup image >"$work/packages.log" 2>&1 || { tail "$work/packages.log"; fail "installing buildah"; }
mkdir -p "$store"
trap clean_up EXIT
driver=$(storage_driver)

quietly make_base
pass "base image"
build toolchain sluice-toolchain
build runtime sluice-runtime
build "" sluice
buildah rmi --prune >/dev/null 2>&1 || true # what only the former build needed
pass "image built"

container=$(buildah from "${options[@]}" "$image")
bare=$(buildah from "${options[@]}" "$base")
containers+=("$container" "$bare")
# Below the ephemeral ports, which any outgoing connection may hold.
admin_port=$((20000 + $$ % 6000))
https_port=$((admin_port + 6000))

added=$(($(megabytes "$container") - $(megabytes "$bare")))
[ "$added" -le 60 ] || fail "the image adds $added MB to its base, 60 are allowed"
pass "adds $added MB to the base"

for tool in gcc cc ld make cmake pkg-config; do
    ! inside which "$tool" >/dev/null 2>&1 || fail "the image holds $tool"
done
[ "$(inside id -u)" != 0 ] || fail "the image runs as root"
buildah inspect --type image "$image" | grep -q '"Healthcheck"' || fail "the image has no HEALTHCHECK"
pass "unprivileged, no compilers, with a health check"

cat >"$work/config.json" <<JSON
{ "routes": [ { "name": "self", "match": { "ports": $https_port, "domains": "localhost" },
  "action": { "type": "forward", "targets": [ { "host": "127.0.0.1", "port": $admin_port } ],
              "tls": { "mode": "terminate", "certificate": "self-signed" } } } ] }
JSON
buildah copy --quiet --chmod 644 "$container" "$work/config.json" /tmp/config.json >/dev/null

! inside /usr/share/sluice/healthcheck 2>/dev/null || fail "healthy before it was started"
command=$(buildah inspect --type image --format '{{range .Docker.Config.Entrypoint}}{{.}} {{end}}{{range .Docker.Config.Cmd}}{{.}} {{end}}' "$image")
inside sh -c 'echo $$ >/tmp/pid && exec "$@"' sh $command >"$work/sluice.log" 2>&1 &
runner=$!
for _ in $(seq 100); do
    inside /usr/share/sluice/healthcheck 2>/dev/null && break
    kill -0 "$runner" 2>/dev/null || { wait "$runner" || true; tail "$work/sluice.log"; fail "it did not start"; }
    sleep 0.1
done
inside /usr/share/sluice/healthcheck || { tail "$work/sluice.log"; fail "it is not healthy"; }
server=$(inside cat /tmp/pid) # process ids are the same inside and outside
pass "started and healthy"

answer=$(curl -sk --max-time 5 "https://localhost:$https_port/health") || fail "no answer through its route"
grep -q '"ok": *true' <<<"$answer" || fail "answered through its route: $answer"
pass "answers over HTTPS through a route"

kill "$server"
status=0
wait "$runner" || status=$?
server=
[ "$status" = 0 ] || { tail "$work/sluice.log"; fail "it ended with $status after SIGTERM"; }
pass "stopped by SIGTERM"

# What the benchmark scripts share; sourced by them.

# usage ARGUMENT...: shows the comment that the script begins with, as help or as what should have been asked for, and ends.
usage() {
    local status=0
    case "${1:-}" in -h | --help) ;; *) status=2 && exec >&2 ;; esac
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit "$status"
}

# machine_line FOLDER: date, processor, memory, kernel, file system of FOLDER, commit.
machine_line() {
    echo "# $(date +%F),$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $(nproc) processors," \
        "$(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), Linux $(uname -r)," \
        "$(stat -f -c %T "$1"), commit $(git rev-parse --short HEAD)"
}

# load_line before|after
load_line() {
    echo "# load $1: $(cut -d' ' -f1-3 /proc/loadavg)"
}

# in_group BYTES COMMAND...: in a control group with that limit where root may make one, else as it is.
in_group() {
    local limit=$1 group file=memory.max
    shift
    group=/sys/fs/cgroup/quire-bench.$$
    if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
        group=/sys/fs/cgroup/memory/quire-bench.$$ file=memory.limit_in_bytes
    fi
    if mkdir "$group" 2>/dev/null && echo "$limit" 2>/dev/null >"$group/$file"; then
        (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@") || echo "# exit status $?: $*" >&2
    else
        echo "# without a control group: $*" >&2
        "$@" || echo "# exit status $?: $*" >&2
    fi
    rmdir "$group" 2>/dev/null || true
}

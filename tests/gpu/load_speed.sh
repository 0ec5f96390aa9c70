#!/usr/bin/env bash
# How fast a shard of a model loads, against what the disk gives: GB/s of dd, of loading from the model, and of copying what
# `convert --for-gpus 1` packed, each cold and, of the last, warm; on the host alone and, where there is a GPU, onto it. The model is random
# (tests/mpi/tools/random_model.c). A measurement, not a test: it asserts nothing, and needs twice the model's room on the disk.
#
#   bash tests/gpu/load_speed.sh [GB] [FOLDER]
#
#   GB       of the model (default 4.8; 70 is a whole shard of the Pro over eight ranks)
#   FOLDER   on the disk to measure (default: a temporary one); removed at the end with all that is made
#   BUILD    folder of the build (default build)
#   PACKED   no: leave out what needs the model's room a second time (default yes)
#
# Files are dropped from the page cache by posix_fadvise, through dd; as root all caches are dropped too, where that is allowed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
gb=${1:-4.8} build=${BUILD:-$root/build}
mkdir -p "${2:-${TMPDIR:-/tmp}}"
work=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/load_speed.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
model=$work/m.h5 packed=$work/m.h5.gpu/target-0-of-1.h5

drop() { # files
    sync
    for file in "$@"; do dd if="$file" iflag=nocache count=0 status=none; done
    if [ -w /proc/sys/vm/drop_caches ]; then echo 3 2>/dev/null >/proc/sys/vm/drop_caches || true; fi
}
seconds() { # command...: how long it takes
    local begin=$EPOCHREALTIME
    "$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; return 1; }
    awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}
rate() { # what, file, seconds, more
    awk -v what="$1" -v bytes="$(stat -c %s "$2")" -v s="$3" -v more="$4" 'BEGIN { printf "%-34s %7.3f GB in %7.2f s  %6.3f GB/s  %s\n", what, bytes / 1e9, s, bytes / 1e9 / s, more }'
}
read_plainly() { # what, file
    drop "$2"
    took=$(seconds dd if="$2" of=/dev/null bs=8M status=none)
    rate "$1" "$2" "$took" ""
}
on_host() { # what, file that is read
    mpirun -n 1 --bind-to none "$build/tests/load_speed" "$model" >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
    took=$(sed -n 's/^rank 0: .* GB in \([0-9.]*\) s,.*/\1/p' "$work/out")
    rate "$1" "$2" "$took" "$(sed -n 's/^rank 0: .*GB\/s; //p' "$work/out")"
}
on_gpu() { # what, file that is read: all of score but its one step, CUDA's start among it
    mpirun -n 1 --bind-to none "$build/slipstream" score -m "$model" --ids "$work/ids.json" --device cuda --json >"$work/out" 2>"$work/err" ||
        { cat "$work/err" >&2; return 0; }
    took=$(python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(r["seconds"] - r["work_seconds"])' "$work/out")
    rate "$1" "$2" "$took" "peak memory $(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_memory_bytes"])' "$work/out"); $(grep -c '^# packed .*copied' "$work/err" || true) copied"
}
both() { # host or GPU
    drop "$model" && "$1" "$2: the model, cold" "$model"
}
copied() {
    drop "$packed" && "$1" "$2: packed, cold" "$packed"
    "$1" "$2: packed, warm" "$packed"
}

echo '[1, 2, 3]' >"$work/ids.json"
"$build/tests/random_model" "$model" "$gb"
echo "# $(nproc) CPUs; $(df --output=fstype "$work" | tail -1), $work"
gpu=no; if "$build/slipstream" --version | grep -q 'driver: for CUDA' && [ -e /dev/nvidia0 ]; then gpu=yes; fi
read_plainly "dd: the model, cold" "$model"
both on_host host
[ $gpu = no ] || both on_gpu GPU
[ "${PACKED:-yes}" = yes ] || exit 0
drop "$model"
took=$(seconds mpirun -n 1 --bind-to none "$build/slipstream" convert "$model" "$model" --for-gpus 1 -q)
rate "convert --for-gpus 1, cold" "$model" "$took" "writes $(stat -c %s "$packed") bytes"
read_plainly "dd: packed, cold" "$packed"
copied on_host host
[ $gpu = no ] || copied on_gpu GPU

#!/bin/sh
# The whole chain, from nothing to an exported model: run.sh DIR [TARGET_MINUTES] [DRAFTER_MINUTES]
# Every stage keeps what it has finished: the same command again goes on where the last one stopped.
set -eu
here=$(dirname "$0")
dir=$1 target_minutes=${2:-12} drafter_minutes=${3:-5}
python=${PYTHON:-python3}

# glibc returns large blocks to the system after every use; keeping them saves a quarter of a step on a CPU.
export MALLOC_MMAP_THRESHOLD_=17179869184 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456
export THP_MEM_ALLOC_ENABLE=1 OMP_PROC_BIND=true

[ -e "$dir/data/train.jsonl" ] || "$python" "$here/gather.py" --out "$dir/data"
[ -e "$dir/data/tokenizer.json" ] || "$python" "$here/tokenizer.py" --data "$dir/data"
"$python" "$here/train_target.py" --data "$dir/data" --state "$dir/run" --minutes "$target_minutes"
"$python" "$here/export.py" --state "$dir/run" --data "$dir/data" --out "$dir/export"
"$python" "$here/teach.py" --target "$dir/export" --data "$dir/data" --state "$dir/run"
"$python" "$here/train_drafter.py" --target "$dir/export" --state "$dir/run" --minutes "$drafter_minutes"
"$python" "$here/evaluate.py" --target "$dir/export" --data "$dir/data"

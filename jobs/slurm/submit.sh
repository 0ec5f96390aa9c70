#!/usr/bin/env bash
# Submit a batch to Slurm, on one node or several: a rank a task. It is requeued before its time limit and goes on until all is answered.
#
#   jobs/slurm/submit.sh -N 1 -n 8 -t 4:00:00 -- MODEL.h5 requests.jsonl results.jsonl [options of slipstream batch]
#   jobs/slurm/submit.sh -N 2 --ntasks-per-node=8 -t 4:00:00 -- MODEL.h5 requests.jsonl results.jsonl --engine launch
#
# The log is RESULTS.log. Variables: common.bash.
SLIPSTREAM_JOBS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.bash
. "$SLIPSTREAM_JOBS/common.bash"
usage="submit.sh [options of sbatch] -- MODEL REQUESTS RESULTS [options of slipstream batch]"
find_program
read_arguments "$@"
for option in "${launcher_options[@]}"; do
    case $option in -a | -a[0-9]* | --array | --array=*) stop "$option: array.sh gives each task a shard of the requests" ;; esac
done
check_limit "$(limit_among "${launcher_options[@]}")"
submit "$results.log" "${launcher_options[@]}" "$SLIPSTREAM_JOBS/batch.sbatch" "$model" "$requests" "$results" "${batch_options[@]}"

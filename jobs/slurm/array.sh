#!/usr/bin/env bash
# Submit a batch as a job array, every task a shard of the requests, and a job that merges the shards when all have ended.
#
#   jobs/slurm/array.sh 4 -n 8 -t 4:00:00 -- MODEL.h5 requests.jsonl results.jsonl [options of slipstream batch]
#
# Shard i answers into RESULTS.shard-i and logs to RESULTS.shard-i.log; --trace run.h5 becomes run.shard-i.h5, and --metrics likewise. The merge
# job logs to RESULTS.log and names what is missing.
SLIPSTREAM_JOBS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.bash
. "$SLIPSTREAM_JOBS/common.bash"
usage="array.sh SHARDS [options of sbatch] -- MODEL REQUESTS RESULTS [options of slipstream batch]"
shards=${1:-}
[[ $shards =~ ^[1-9][0-9]{0,4}$ ]] || stop "usage: $usage"
shift
find_program
read_arguments "$@"
check_limit "$(limit_among "${launcher_options[@]}")"
[ ! -s "$results" ] || stop "$results: RESULTS: exists and is not empty"
export SLIPSTREAM_SHARDS=$shards
id=$(submit "$results.shard-%a.log" "${launcher_options[@]}" --array="0-$((shards - 1))" "$SLIPSTREAM_JOBS/batch.sbatch" \
    "$model" "$requests" "$results" "${batch_options[@]}") || exit 1
place_among "${launcher_options[@]}"
submit "$results.log" "${placed[@]}" --dependency="afterany:${id%%;*}" "$SLIPSTREAM_JOBS/merge.sbatch" "$requests" "$results" && exit
echo "slipstream: job ${id%%;*} answers the shards, but nothing will merge them. When it has ended:" >&2
echo "$SLIPSTREAM merge $results.shard-{0..$((shards - 1))} -i $requests -o $results" >&2
exit 1

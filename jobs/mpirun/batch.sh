#!/usr/bin/env bash
# Run a batch on machines without Slurm: a rank a process of mpirun. It is started again until all is answered, or until a run of it answered
# nothing.
#
#   jobs/mpirun/batch.sh -n 16 --hostfile hosts -- MODEL.h5 requests.jsonl results.jsonl [options of slipstream batch]
#
#   SLIPSTREAM_LIMIT   seconds that it may take; SLIPSTREAM_WINDOW before, the ranks are asked to drain (default: no limit)
#   MPIRUN             the launcher (default mpirun)
#
# More variables: arguments.bash. The log is RESULTS.log, appended to; what --json prints goes to standard output. SIGUSR1, SIGTERM or SIGINT to
# the script asks the ranks to drain, a second one ends them at once. The exit status is that of the last run: 0 or 3 done, 75 stopped early: the
# same command goes on.
# shellcheck source=arguments.bash
. "$(dirname "${BASH_SOURCE[0]}")/arguments.bash"
usage="batch.sh [options of mpirun] -- MODEL REQUESTS RESULTS [options of slipstream batch]"
find_program
read_arguments "$@"
limit=${SLIPSTREAM_LIMIT:-0} mpirun=${MPIRUN:-mpirun} log=$results.log
[[ $limit =~ ^[0-9]{1,7}$ ]] && { [ "$limit" = 0 ] || [ "$limit" -gt "$window" ]; } ||
    stop "SLIPSTREAM_LIMIT: $limit: must be 0, or seconds, and more than SLIPSTREAM_WINDOW ($window)"
limit=$((10#$limit)) # 0900 is 900
command -v "$mpirun" >/dev/null || stop "MPIRUN: $mpirun: there is no such program"
touch "$log" || stop "$log: cannot be written"

told=0 ranks=''
tell() { # mpirun kills its ranks a second after a SIGTERM, and passes SIGUSR1 on
    told=$((told + 1))
    [ -z "$ranks" ] || kill "-$([ $told = 1 ] && echo USR1 || echo TERM)" "$ranks" 2>/dev/null
}
trap tell USR1 TERM INT

if [ "$limit" -gt 0 ]; then
    # The sleep is ended with the script: nobody waits for its standard output then.
    (trap 'kill $!' TERM; sleep $((limit - window)) & wait $! && kill -USR1 $$) &
    clock=$!
    trap 'kill "$clock" 2>/dev/null' EXIT
fi

# In a process group of its own: a SIGINT of the terminal is ours alone. Sets `code`.
run_ranks() {
    set -m
    "$mpirun" "${launcher_options[@]}" "${image[@]}" "$SLIPSTREAM" batch -m "$model" -i "$requests" -o "$results" --resume \
        --drain $((window - margin)) "${batch_options[@]}" </dev/null 2>>"$log" &
    ranks=$!
    set +m
    [ "$told" = 0 ] || kill -USR1 "$ranks" # told in between
    # A signal ends a wait; the ranks may end in the same moment.
    while kill -0 "$ranks" 2>/dev/null; do wait "$ranks"; done
    wait "$ranks"
    code=$?
    ranks=''
}

# A rank that was killed, or has lost its launcher, takes a while to end, and holds the results until then.
wait_for_release() {
    local tries=1200
    while [ -e "$results.lock" ] && ! flock -n "$results.lock" true && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
}

for ((run = 1; ; run++)); do
    [ "$run" = 1 ] || wait_for_release # the first run says who holds them
    before=$(progress)
    echo "# run $run, $(date '+%F %T'), on $(hostname)" >>"$log"
    run_ranks
    echo "# run $run: exit status $code, $(answers) lines with an answer" | tee -a "$log" >&2
    case $code in
    0 | 2 | 3 | 75) break ;;
    esac
    [ "$told" = 0 ] || { code=75; break; } # told before there were ranks to drain, or a second time
    [ "$(progress)" != "$before" ] || { echo "slipstream: $log: the last run answered nothing; it is not started again" >&2; break; }
done
exit "$code"

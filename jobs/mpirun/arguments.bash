# What starting a batch takes, with Slurm or without; sourced. The script that sources it has set `usage`.
#
#   SLIPSTREAM         the program (default: the one of this checkout or installation, else the one on PATH)
#   SLIPSTREAM_IMAGE   an Apptainer image to run it in; then SLIPSTREAM is its name inside (default slipstream)
#   SLIPSTREAM_WINDOW  seconds before a time limit at which the ranks are asked to drain (default 120, at least 40)
set -u

window=${SLIPSTREAM_WINDOW:-120}
margin=30 # of the window: for the signal's way, for saving and for what starts the batch again
image=()
if [ -n "${SLIPSTREAM_IMAGE:-}" ]; then
    SLIPSTREAM_IMAGE=$(realpath -m "$SLIPSTREAM_IMAGE")
    export SLIPSTREAM_IMAGE
    image=(apptainer exec --nv "$SLIPSTREAM_IMAGE")
fi

stop() { echo "slipstream: $*" >&2; exit 2; }

# How many requests have their answer. Lines of requests that never ran have none, and come again.
answers() { if [ -e "$results" ]; then grep -v -c '"response": *null' "$results"; else echo 0; fi; }

# What a run that comes to nothing leaves as it was: the answers, and those that a drain has saved the beginning of.
progress() { echo "$(answers) $(stat -c %s "$results.unfinished" 2>/dev/null)"; }

find_program() {
    local near built
    near=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    if [ -n "${SLIPSTREAM_IMAGE:-}" ]; then
        [ -r "$SLIPSTREAM_IMAGE" ] || stop "SLIPSTREAM_IMAGE: $SLIPSTREAM_IMAGE: cannot be read"
        SLIPSTREAM=${SLIPSTREAM:-slipstream}
        return
    fi
    for built in "$near/../../build/slipstream" "$near/../../../bin/slipstream" slipstream; do
        [ -z "${SLIPSTREAM:-}" ] && type -P "$built" >/dev/null && SLIPSTREAM=$built
    done
    SLIPSTREAM=$(type -P "${SLIPSTREAM:-slipstream}") || stop "SLIPSTREAM: there is no such program"
    SLIPSTREAM=$(realpath "$SLIPSTREAM")
}

# Options of the launcher, --, MODEL REQUESTS RESULTS, options of slipstream batch. Sets launcher_options, model, requests, results and
# batch_options; paths are absolute.
read_arguments() {
    launcher_options=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do launcher_options+=("$1"); shift; done
    [ $# -ge 4 ] || stop "usage: $usage"
    shift
    model=$1 requests=$2 results=$3 batch_options=("${@:4}")
    [ -r "$model" ] || stop "$model: MODEL: cannot be read"
    [ -f "$requests" ] && [ -r "$requests" ] || stop "$requests: REQUESTS: cannot be read, or is no file"
    [ -d "$(dirname "$results")" ] && [ -w "$(dirname "$results")" ] || stop "$results: RESULTS: its folder cannot be written"
    [ ! -d "$results" ] || stop "$results: RESULTS: is a folder"
    [[ $window =~ ^[0-9]{1,6}$ ]] && [ "$window" -ge 40 ] || stop "SLIPSTREAM_WINDOW: $window: must be at least 40 seconds"
    window=$((10#$window)) # 080 is 80
    model=$(realpath "$model") requests=$(realpath "$requests") results=$(realpath -m "$results")
    refuse_own_options "${batch_options[@]}"
    check_options
}

# What the scripts say themselves.
refuse_own_options() { # options of slipstream batch...
    for option in "$@"; do
        case $option in
        -m | --model | --model=* | -i | --input | --input=* | -o | --output | --output=*) stop "$option: MODEL REQUESTS RESULTS say that" ;;
        -h | --help) stop "$option: slipstream batch --help says what its options are. usage: $usage" ;;
        esac
    done
}

# Wrong options, a model or requests that are none are found now and not in the job. A machine to submit from may be unable to start the program: then they are found there.
check_options() {
    local said
    said=$(
        unset "${!SLURM_@}" "${!PMIX_@}" # one process, no rank
        "${image[@]}" "$SLIPSTREAM" batch -m "$model" -i "$requests" -o "$results" --dry-run --resume "${batch_options[@]}" 2>&1 </dev/null
    )
    [ $? != 2 ] || { echo "$said" >&2; exit 2; }
}

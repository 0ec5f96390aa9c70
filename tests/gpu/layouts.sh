#!/usr/bin/env bash
# Folders in the published layouts (tests/golden/forward: MiMo-V2-Flash's split FP8, V2.5's fused FP8, V2.6's MXFP4, the Pro's), converted: the
# exact CPU gives the logits of an independent forward pass, and the GPU gives the CPU's over a text of 512 tokens within what rounding does
# to that model; the same bits from packed weights. The drafters of these folders have no tokenizer to run with, and ops.sh goes through
# the ops one by one.
#
#   DEVICE=cpu   without a GPU, to try the script: the CPU that rounds takes the GPU's place, on weights that are off by up to 1e-5 of
#                themselves: enough to throw the dice of rounding again. Needs python3.
if [ "${DEVICE:-cuda}" = cpu ]; then
    . "$(dirname "$0")/../mpi/common.bash"
else
    . "$(dirname "$0")/common.bash"
fi
. "$(dirname "$0")/bounds.bash"
: "${COMPARE:=$TOOLS/compare_logits}" "${COMPARE_GREEDY:=$TOOLS/compare_greedy}"
fixtures=$root/tests/golden/forward/fixtures have=$DEVICE tokens=512 log=$work/log

vocabulary() { # folder
    sed -n 's/^ *"vocab_size": *\([0-9][0-9]*\),*$/\1/p' "$1/config.json"
}

# The same tokens with every awk: a generator of our own.
write_text() { # tokens of a vocabulary
    awk -v n="$tokens" -v v="$1" 'BEGIN { for (i = 0; i < n; i++) { x = (x * 1103 + 12345) % 65536; printf "%s%d", i ? ", " : "[", x % v }; print "]" }'
}

score() { # device, model, ids, output, options...
    rm -f "$4"
    DEVICE=$1 on_ranks 1 score -m "$2" --ids "$3" --logits "$4" --json "${@:5}" >"$work/figures" 2>"$log"
}

# What stands in for a GPU: the folder with every FP8 scale a little off.
disturb() { # folder, copy
    cp -r "$1" "$2"
    python3 - "$2" <<'PYTHON'
import json, pathlib, random, struct, sys
draw = random.Random(1)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
    raw = bytearray(path.read_bytes())
    start = 8 + struct.unpack_from("<Q", raw)[0]
    for name, entry in json.loads(raw[8:start]).items():
        if name.endswith("_scale_inv"):
            begin, end = entry["data_offsets"]
            form = "<%df" % ((end - begin) // 4)
            scales = struct.unpack_from(form, raw, start + begin)
            struct.pack_into(form, raw, start + begin, *(scale * (1 + draw.uniform(-1e-5, 1e-5)) for scale in scales))
    path.write_bytes(raw)
PYTHON
}

# The logits to be judged, in have.h5.
compute() { # folder, name, model
    if [ "$have" = cuda ]; then
        score cuda "$3" "$work/ids.json" "$work/have.h5"
    else
        disturb "$1" "$work/$2" && on_ranks 1 convert "$work/$2" "$work/$2.twin.h5" --quiet >"$log" 2>&1 &&
            score cpu "$work/$2.twin.h5" "$work/ids.json" "$work/have.h5" --round-activations
    fi
}

# Rounding itself has a row in 100 beyond its 99th of 100: as many may be left.
judge() { # name
    local status left
    "$COMPARE_GREEDY" "$work/have.h5" "$work/exact.h5" "$work/rounded.h5" "$gap" "$row" "$times" "$share" "$bias" >"$log" 2>&1
    status=$?
    left=$(grep -c '^explain' "$log")
    if { [ $status = 0 ] || [ $status = 3 ]; } && [ "$left" -le $((tokens / 100)) ]; then ok "$1, $have" "$(tail -n 1 "$log")"; else fail "$1, $have" "too far from the exact CPU's logits" "$log"; fi
}

bits() { # model: to the last digit
    score "$have" "$1" "$work/ids.json" "$work/bits.h5" && sed -n 's/.*"bits_per_token": //p' "$work/figures"
}

packed() { # name, model
    local afresh again
    afresh=$(bits "$2")
    on_ranks 1 convert "$2" "$2" --for-gpus 1 --quiet >"$log" 2>&1 || { fail "$1, packed" "convert --for-gpus failed" "$log"; return; }
    again=$(bits "$2")
    if [ "$have" = cuda ] && ! grep -q "^# packed .*the target is copied from" "$log"; then
        fail "$1, packed" "not copied" "$log"
    elif [ -n "$afresh" ] && [ "$afresh" = "$again" ]; then ok "$1, packed" "${again%,} bits per token"; else fail "$1, packed" "$afresh and $again bits per token" "$log"; fi
}

hold() { # folder, name
    local folder=$1 name=$2 model=$work/$2.h5
    on_ranks 1 convert "$folder" "$model" --quiet >"$log" 2>&1 || { fail "$name" "convert failed" "$log"; return; }
    if score cpu "$model" "$folder/ids.json" "$work/logits.h5" && "$COMPARE" "$work/logits.h5" "$folder/expected.bin" 1e-4 >"$log" 2>&1
    then ok "$name, exact" "$(cat "$log")"; else fail "$name, exact" "not the logits of the reference" "$log"; fi
    write_text "$(vocabulary "$folder")" >"$work/ids.json"
    if score cpu "$model" "$work/ids.json" "$work/exact.h5" &&
        score cpu "$model" "$work/ids.json" "$work/rounded.h5" --round-activations && compute "$folder" "$name" "$model"
    then judge "$name"; else fail "$name, $have" "score failed" "$log"; fi
    packed "$name" "$model"
}

for name in v2-flash-split-fp8 v2.5-fused-fp8 v2.6-fused-mxfp4 flash-release pro-release; do
    hold "$fixtures/$name" "$name"
done
finish

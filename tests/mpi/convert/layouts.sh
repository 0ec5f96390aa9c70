#!/usr/bin/env bash
# Folders of safetensors that are damaged, each named by its defect and made from a good one: convert refuses them in time with exit
# status 2 and the cause, writes nothing and prints no control byte. Then who owns what of a good one. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/../common.bash"

good=$root/tests/golden/forward/fixtures/v2-flash-split-fp8 log=$work/log out=$work/model.h5
first=$work/copy/model_0.safetensors index=$work/copy/model.safetensors.index.json

take() {
    rm -rf "$work/copy"
    cp -r "$good" "$work/copy"
}

# Change the header of the first layer's file by sed, which must keep its length.
header() { # sed expression
    size=$(od -An -t u8 -N 8 "$first" | tr -d ' ')
    { head -c 8 "$first"; head -c $((8 + size)) "$first" | tail -c "$size" | sed "$1" | head -c "$size"; tail -c +$((9 + size)) "$first"; } >"$work/changed"
    if cmp -s "$work/changed" "$first" || [ "$(wc -c <"$work/changed")" != "$(wc -c <"$first")" ]; then
        fail "$1" "the test changed nothing, or the length" /dev/null
    fi
    mv "$work/changed" "$first"
}

put() { # file, offset, bytes as printf takes them
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

refused() { # defect, what must be said
    rm -f "$out"
    timeout "$seconds" "$SLIPSTREAM" convert "$work/copy" "$out" >"$log" 2>&1 </dev/null
    status=$?
    if [ "$status" != 2 ] || ! grep -q -- "$2" "$log"; then
        fail "$1" "exit status $status, or not said: $2" "$log"
    elif [ -e "$out" ] || LC_ALL=C grep -q '[[:cntrl:]]' "$log"; then
        fail "$1" "a file is left, or a control byte printed" "$log"
    else
        ok "$1" "$(sed -n "s|^slipstream: $work/copy/||p" "$log")"
    fi
}

# ---- the file ----

take && truncate -s -1 "$first"
refused "truncated" "model_0.safetensors"
take && truncate -s 5 "$first"
refused "shorter than its header's size" "model_0.safetensors"
take && : >"$first"
refused "empty" "model_0.safetensors"
take && put "$first" 0 '\377\377\377\377\377\377\377\177'
refused "header longer than the file" "model_0.safetensors"
take && put "$first" 0 '\377\377\377\377\377\377\377\377'
refused "header size that wraps" "model_0.safetensors"
take && rm "$first" && mkfifo "$first"
refused "a FIFO" "model_0.safetensors"
take && printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n' 0 >"$first"
refused "a Git LFS pointer" "model_0.safetensors: is a Git LFS pointer, not the file itself"
take && rm "$first"
refused "a missing shard" "model_0.safetensors"
take && printf '{"metadata": {' >"$index"
refused "an index cut short" "model.safetensors.index.json"

# ---- its header ----

take && header 's/"F8_E4M3"/"F8_E9M3"/'
refused "an unknown dtype" "q_proj.weight: .*must be F8_E4M3"
take && header 's/q_proj.weight"/q_proj.weighs"/'
refused "a misnamed tensor" "q_proj.weigh"
take && header 's/k_proj.weight_scale_inv/k_proj.weight_scale_oxx/'
refused "missing scales" "k_proj.weight"
take && header 's/self_attn.k_proj.weight"/self_attn.q_proj.weight"/'
refused "a name twice" "model_0.safetensors: header: .*duplicate object key"
take && header 's/"shape":\[768,32\]/"shape":[668,32]/'
refused "a shape that is not its bytes" "q_proj.weight"
take && header 's/"shape":\[768,32\]/"shape":[-76,32]/'
refused "a negative dimension" "q_proj.weight: shape\[0\]"
take && header 's/"shape":\[768,32\],"data_offsets":\[/"shape":[9e99,1],"data_offsets":[/'
refused "a dimension that is no whole number" "q_proj.weight"
take && header 's/input_layernorm/input\\u001b[m_no/'
refused "control bytes in a name" "model_0.safetensors"

# ---- its values ----

take
size=$(od -An -t u8 -N 8 "$first" | tr -d ' ')
codes=$(head -c $((8 + size)) "$first" | sed -n 's/.*q_proj.weight":{"dtype":"F8_E4M3","shape":\[[0-9,]*\],"data_offsets":\[\([0-9]*\),.*/\1/p' | tail -n 1)
put "$first" $((8 + size + codes)) '\177'
refused "an E4M3 code that is no number" "q_proj.weight"

# ---- who owns what ----

if "$SLIPSTREAM" convert "$good" "$out" >"$log" 2>&1 && "$SLIPSTREAM" inspect "$out" --ranks 2 --memory 1 >"$log" 2>&1 &&
    grep -q '^  rank 1 .* heads 2-3, KV heads 1-1, sliding KV heads 2-3, vocabulary rows 33-66' "$log" &&
    grep -q 'K/V  *2560 bytes a token' "$log" && grep -q 'fits .* of 512 tokens' "$log"; then
    ok "inspect --ranks" "$(grep -c '^  rank' "$log") ranks"
else
    fail "inspect --ranks" "otherwise" "$log"
fi
"$SLIPSTREAM" inspect "$out" --ranks 2 --memory 0.0255 --json >"$log" 2>&1
if tr -d ' \n' <"$log" | grep -q '"kv_bytes_per_token":2560.*"fits":\[{"context":512,"sequences":1}\]'; then ok "inspect --ranks --json, in 25.5 megabytes" "1 sequence"; else fail "inspect --ranks --json" "otherwise" "$log"; fi

finish

#!/usr/bin/env bash
# Folders as users bring them, in tests/data/cases/checkpoints: each converts to the right model, or is refused with the right word
# before anything is written. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/../common.bash"
: "${COMPARE:=$root/build/tests/compare_logits}"

cases=$root/tests/data/cases/checkpoints log=$work/log out=$work/model.h5

convert() { # folder, options...
    rm -f "$out"
    timeout "$seconds" "$SLIPSTREAM" convert "$1" "$out" "${@:2}" >"$log" 2>&1 </dev/null
    status=$?
}

# A folder to change, in $copy.
take() { # case, overlays...
    copy=$work/copy
    rm -rf "$copy"
    cp -r "$cases/$1" "$copy"
    for overlay in "${@:2}"; do cp -r "$cases/overlay/$overlay/." "$copy"; done
    [ ! -e "$copy/model.safetensors.gz" ] || gunzip "$copy/model.safetensors.gz"
}

taken() { # name, what must be said, options of convert...
    convert "$copy" "${@:3}"
    if [ "$status" = 0 ] && grep -q -- "$2" "$log"; then ok "$1" "$2"; else fail "$1" "exit status $status, or not said: $2" "$log"; fi
}

refused() { # name, what must be said, options of convert...
    convert "$copy" "${@:3}"
    if [ "$status" = 2 ] && grep -q -- "$2" "$log" && [ ! -e "$out" ] && [ ! -e "$out.partial" ] && [ ! -e "$out.lock" ]; then
        ok "$1" "$(sed -n "s|^slipstream: $copy/||p" "$log")"
    else
        fail "$1" "exit status $status, a file left, or not said: $2" "$log"
    fi
}

# ---- the right logits, as a float64 forward pass gave them ----

for name in chunk-ok plain-qkv-bf16 plain-qkv-fp8-aligned rp-only-prf; do
    convert "$cases/$name"
    for ranks in 1 2 3; do
        rm -f "$work/logits.h5"
        if [ "$status" = 0 ] && on_ranks $ranks score -m "$out" --ids "$cases/ids.json" --logits "$work/logits.h5" >>"$log" 2>&1 &&
            "$COMPARE" "$work/logits.h5" "$cases/$name/expected.bin" 1e-4 >"$work/compare" 2>>"$log"; then
            ok "$name on $ranks" "$(cat "$work/compare")"
        else
            fail "$name on $ranks" "exit status $status, or other logits" "$log"
        fi
    done
done

# ---- what is said ----

# An output that is there already is seen before the folder is read, and warned of.
echo precious >"$out"
timeout "$seconds" "$SLIPSTREAM" convert "$cases/chunk-ok" "$out" >"$log" 2>&1 </dev/null
status=$?
if [ "$status" = 2 ] && [ "$(grep -c . "$log")" = 1 ] && grep -q "^slipstream: $out: exists already" "$log" && [ "$(cat "$out")" = precious ]
then ok "an output that exists" "$(cat "$log")"
else fail "an output that exists" "exit status $status, or more is said" "$log"
fi
convert /
if [ "$status" = 2 ] && grep -q "^slipstream: /config.json: " "$log"; then ok "the root as a folder"; else fail "the root as a folder" "exit status $status, or another name" "$log"; fi
mkdir "$work/empty"
for draft in "$work/empty" "$work/empty//"; do
    convert "$cases/chunk-ok//" --draft "$draft"
    if [ "$status" = 2 ] && grep -q "^slipstream: $work/empty/config.json: cannot be opened: No such file" "$log" && ! grep -q '[^:]//' "$log"
    then ok "folders with slashes behind them" "$(sed -n "s|^slipstream: $work/||p" "$log")"
    else fail "folders with slashes behind them" "exit status $status, or other names" "$log"
    fi
done

# ---- configs ----

take rp-only-prf rp-disagree
refused "two RoPE bases" "rope_parameters.rope_theta is 5000: it differs from rope_theta, which is 10000000"
take chunk-ok && cp -r "$cases/overlay/df-rope-params/dflash" "$copy"
taken "the drafter's rope_parameters" "with a drafter"
if grep -q "^warning: $copy/dflash/config.json: vocab_size is 88, and the target's 96: is it this target's drafter" "$log" &&
    ! grep -q "^warning: $copy: .*total_size" "$log"; then ok "a drafter of another vocabulary" "a warning"; else fail "a drafter of another vocabulary" "no warning, or of total_size" "$log"; fi
if "$SLIPSTREAM" inspect "$out" >"$log" && grep -q 'dimensions 16/16, 8 rotated at base 5e+06' "$log"; then ok "half of its dimensions are rotated"; else fail "half of its dimensions are rotated" "otherwise" "$log"; fi
take rp-only-prf && sed -i 's/"use_cache": true/"swiglu_limit": 7.0/' "$copy/config.json"
refused "a key that is not known" "config.json: swiglu_limit is 7.0: it is not known"
take plain-qkv-bf16 && sed -i 's/"tp_size": 1/"tp_size": 3/' "$copy/model.safetensors.index.json"
refused "tp_size that does not fit" "metadata.tp_size is 3"
sed -i 's/"tp_size": 3, *//' "$copy/model.safetensors.index.json"
refused "a layout that cannot be told" "nothing tells whether the rows of qkv lie in 2 chunks or in one"
take chunk-ok && sed -i 's/"total_size": 1238768/"total_size": 1238769/' "$copy/model.safetensors.index.json"
taken "an index with another total_size" "^warning: $copy: model.safetensors.index.json: metadata.total_size is 1238769, but the tensors have 1238768 bytes and their files "
take rp-only-prf
taken "--window" "sees 17 keys" --window 17
if "$SLIPSTREAM" inspect "$out" >"$log" && grep -q 'window 17' "$log"; then ok "--window is kept"; else fail "--window is kept" "otherwise" "$log"; fi

# ---- where answers end, and how to sample ----

take eos-none
taken "<|im_end|> where nobody names an end" "end tokens: 4092$"
take eos-none && echo '{"eos_token": {"content": "<|endoftext|>"}}' >"$copy/tokenizer_config.json"
taken "tokenizer_config's eos_token" "end tokens: 4090$"
take eos-none && rm "$copy/tokenizer.json"
taken "no end at all" "no end token is known"
take eos-none eos-gen
taken "generation_config's end tokens" "end tokens: 4092 0$"
convert "$copy"
if grep -q 'sampling where nobody says: temperature 1 top_p 0.95' "$log"; then ok "generation_config's sampling"; else fail "generation_config's sampling" "not said" "$log"; fi
sed -i 's/"do_sample": true/"do_sample": false/' "$copy/generation_config.json"
convert "$copy"
if grep -q 'do_sample is false, and temperature is 1: ' "$log" && grep -q 'sampling where nobody says: temperature 1 top_p 0.95' "$log"
then ok "do_sample false beside a temperature"; else fail "do_sample false beside a temperature" "otherwise" "$log"; fi
sed -i 's/, "temperature": 1.0//' "$copy/generation_config.json"
convert "$copy"
if grep -q 'sampling where nobody says: temperature 0$' "$log"; then ok "do_sample false alone"; else fail "do_sample false alone" "otherwise" "$log"; fi
sed -i 's/"vocab_size": 4096/"vocab_size": 4096, "eos_token_id": 7/' "$copy/config.json"
taken "both files' end tokens" "end tokens: 7 4092 0$"

echo '{"do_sample": true, "temperature": 2.0, "top_p": 0.95, "eos_token_id": 0}' >"$copy/generation_config.json"
taken "a model to sample from" "with a tokenizer"
text() { # options of generate...
    "$SLIPSTREAM" generate -m "$out" -p "def f(" -n 24 --device cpu "$@" 2>"$log" </dev/null
}
text >"$work/own"
if grep -q "# sampling .*the model's own, where nobody says: temperature 2 top_p 0.95" "$log"; then ok "generate says whose sampling it is"; else fail "generate says whose sampling it is" "otherwise" "$log"; fi
text --temperature 2 --top-p 0.95 >"$work/typed"
text --temperature 0 >"$work/greedy"
if cmp -s "$work/own" "$work/typed" && ! cmp -s "$work/own" "$work/greedy"; then ok "generate samples as the model asks; options win"; else fail "generate samples as the model asks; options win" "otherwise" "$log"; fi
line() { # custom_id, fields of the body
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"def f(","max_tokens":12,"seed":5%s}}\n' "$1" "$2"
}
{ line own '' && line typed ',"temperature":2,"top_p":0.95' && line greedy ',"temperature":0'; } >"$work/in.jsonl"
rm -f "$work/out.jsonl"
"$SLIPSTREAM" batch -m "$out" --device cpu -q -i "$work/in.jsonl" -o "$work/out.jsonl" 2>"$log" </dev/null
for id in own typed greedy; do "$check" text "$work/out.jsonl" $id >"$work/$id" 2>>"$log"; done
if [ -s "$work/own" ] && cmp -s "$work/own" "$work/typed" && ! cmp -s "$work/own" "$work/greedy"; then ok "batch too; a request's own values win"; else fail "batch too; a request's own values win" "otherwise" "$log"; fi
# The same but for one bit of one weight is another model: its answers are not gone on with.
cp "$work/out.jsonl" "$work/kept.jsonl"
printf 'A' | dd of="$copy/model.safetensors" bs=1 seek=$(($(wc -c <"$copy/model.safetensors") - 2)) conv=notrunc status=none
taken "a model that differs in one weight" "with a tokenizer"
"$SLIPSTREAM" batch -m "$out" --device cpu -q -i "$work/in.jsonl" -o "$work/out.jsonl" --resume >"$log" 2>&1 </dev/null
status=$?
if [ "$status" = 2 ] && grep -q "was written with another model" "$log" && cmp -s "$work/out.jsonl" "$work/kept.jsonl"
then ok "--resume with it is refused"
else fail "--resume with it is refused" "exit status $status" "$log"
fi
take eos-none && echo '{"length_penalty": 1.05}' >"$copy/generation_config.json"
refused "generation_config: what we do not do" "length_penalty is 1.05: it is not supported"

# ---- the chat template ----

echo '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}}' >"$work/chat.jsonl"
chats() { # name, exit status, what the answer must hold, options of batch...
    rm -f "$work/chat.out"
    "$SLIPSTREAM" batch -m "$out" --device cpu -q -i "$work/chat.jsonl" -o "$work/chat.out" "${@:4}" 2>"$log" </dev/null
    status=$?
    if [ "$status" = "$2" ] && grep -q -- "$3" "$work/chat.out"; then ok "$1"; else fail "$1" "exit status $status, or not said: $3" "$log"; fi
}
take eos-none && echo '{{ messages }}' >"$copy/chat_template.jinja"
taken "a chat template that is not known" "SHA-256 [0-9a-f]*, is not known"
chats "chats are refused then" 3 'SHA-256 .*--chat-template NAME'
chats "unless the user names one" 0 '"status_code":200' --chat-template mimo-v2-flash
cp "$root/tests/golden/chat/mimo-v2.5.jinja" "$copy/chat_template.jinja"
taken "a chat template that is known" "chats are rendered as mimo-v2.5's"
chats "chats are rendered by it" 0 '"status_code":200'

# ---- values and files ----

poke() { # offset, bytes as printf writes them
    printf "$2" | dd of="$copy/model.safetensors" bs=1 seek="$1" conv=notrunc status=none
}
take rp-only-prf && poke 193808 '\177'
refused "NaN in E4M3" "tensor model.layers.0.mlp.gate_proj.weight: its value at \[0, 0\] is not finite"
take rp-only-prf && poke 15608 '\300\177'
refused "NaN in BF16" "tensor model.embed_tokens.weight: its value at \[27, 0\] is not finite"
take eos-none tok-garbage
refused "a tokenizer of {}" "tokenizer.json: "
take eos-none tok-cut && head -c 130383 "$cases/eos-none/tokenizer.json" >"$copy/tokenizer.json"
refused "a tokenizer cut short" "tokenizer.json: line 8167"
for file in config.json model.safetensors tokenizer.json generation_config.json; do
    take rp-only-prf && rm -f "$copy/$file" && mkfifo "$copy/$file"
    refused "a FIFO for $file" "$file: Is a FIFO"
done
take rp-only-prf && sed -i 's/model.norm.weight/model.\\u001b[31mw/' "$copy/model.safetensors"
refused "control bytes in a name" "model"
if LC_ALL=C grep -q "$(printf '\033')" "$log"; then fail "no control byte reaches the terminal" "one does" "$log"; else ok "no control byte reaches the terminal"; fi

# ---- what is written ----

take rp-only-prf
convert "$copy" --dry-run
if [ "$status" = 0 ] && grep -q '^checked ' "$log" && [ ! -e "$out" ]; then ok "--dry-run"; else fail "--dry-run" "exit status $status, or a file" "$log"; fi
convert "$copy" -q
if [ "$status" = 0 ] && ! grep -v '^warning: ' "$log"; then ok "-q: warnings alone"; else fail "-q: warnings alone" "exit status $status, or figures" "$log"; fi
rm "$out"
exec 9>"$out.lock"
flock 9
timeout "$seconds" "$SLIPSTREAM" convert "$copy" "$out" >"$log" 2>&1 </dev/null
status=$?
exec 9>&-
if [ "$status" = 2 ] && grep -q 'is being written by' "$log" && [ ! -e "$out" ]; then ok "a second conversion to one file"; else fail "a second conversion to one file" "exit status $status" "$log"; fi
rm -f "$out.lock"

# ---- inspect --json ----

take eos-none eos-gen && cp -r "$cases/overlay/df-rope-params/dflash" "$copy"
refused "a drafter that lacks tokens of the tokenizer" "dflash/config.json: vocab_size is 88: the target's tokenizer has tokens up to 4095"
sed -i 's/"mask_token_id": 90/"mask_token_id": 91/; s/"vocab_size": 88/"vocab_size": 4095/' "$copy/dflash/config.json"
sed -i '50s/},/}/; 51,59d' "$copy/tokenizer.json" # token 4095
taken "a model to inspect" "with a drafter"
if grep -q 'vocab_size' "$log"; then fail "a drafter that is padded otherwise" "a warning" "$log"; else ok "a drafter that is padded otherwise" "no warning"; fi
"$SLIPSTREAM" inspect --json "$out" | tr -d ' \n' >"$log"
for words in '"schema":1' '"command":"inspect"' '"version":"' '"eos_token_id":[4092,0]' '"sampling":{"temperature":1.0,"top_p":0.95' '"qkv_chunks":2' '"window":16' \
    '"mask_token":91' '"name":"target/norm","dtype":"bf16","shape":[128]'; do
    if grep -qF -- "$words" "$log"; then ok "inspect --json" "$words"; else fail "inspect --json" "without $words" "$log"; fi
done

placed() { # words, options...
    "$SLIPSTREAM" inspect "$MODEL" --json --ranks 2 "${@:2}" | tr -d ' \n' >"$log"
    if grep -qF -- "$1" "$log"; then ok "inspect ${*:2}" "$1"; else fail "inspect ${*:2}" "without $1" "$log"; fi
}
placed '"device":"H200","expert_slices":1,"kv_bytes_per_token":2560,"available_bytes":141000000000'
placed '"device":"H100","expert_slices":1,"kv_bytes_per_token":2560,"available_bytes":80000000000' --device h100
placed '"expert_slices":1,"kv_bytes_per_token":5120,"available_bytes":3000000000' --device cpu --memory 3
placed '"fits":[{"context":1024,"sequences":0},{"context":4096,"sequences":0}]' --memory 0.01
placed '"part_bytes":{"embedding":2104192,"attention":5570560,"dense":1179648,"router":81920,"experts":6266880,"head":2097152}'
"$SLIPSTREAM" inspect "$MODEL" --device h100 >"$log" 2>&1
status=$?
if [ "$status" = 2 ] && grep -q -- '--device wants --ranks N' "$log"; then ok "inspect --device alone is refused"; else fail "inspect --device alone" "exit status $status" "$log"; fi

"$SLIPSTREAM" convert "$MODEL" "$work/copy.h5" --json 2>/dev/null | tr -d ' \n' >"$log"
for words in '"schema":1' '"command":"convert"' '"dry_run":false' '"checkpoint_version":2' '"name":"target/norm"' '"peak_memory_bytes":'; do
    if grep -qF -- "$words" "$log"; then ok "convert --json" "$words"; else fail "convert --json" "without $words" "$log"; fi
done
rm -f "$work/copy.h5"

# ---- damage ----

cp "$MODEL" "$out"
dataset=target/layers/3/experts/up
offset=$("$SLIPSTREAM" inspect "$out" | sed -n "s|^ *$dataset  .* bytes at *\([0-9]*\) .*|\1|p")
printf '\125' | dd of="$out" bs=1 seek=$((offset + 300000)) conv=notrunc status=none
for ranks in 1 2 3; do
    on_ranks $ranks generate -m "$out" -p "def f(" -n 4 >"$log" 2>&1
    status=$?
    if [ "$status" = 2 ] && grep -q "/$dataset: damaged: its bytes 262144 to [0-9]*, from byte $((offset + 262144)) of the file on" "$log"; then
        ok "a flipped byte on $ranks" "$(sed -n 's/^slipstream: [^ ]* //p' "$log")"
    else
        fail "a flipped byte on $ranks" "exit status $status, or not named" "$log"
    fi
done
copy=$work/damaged.h5
mv "$out" "$copy"
refused "a damaged checkpoint is not copied" "/$dataset: damaged"
copy=$MODEL
taken "a checkpoint is copied" "with checksums"
if cmp -s "$MODEL" "$out"; then ok "and a copy is the same file"; else fail "and a copy is the same file" "it differs"; fi

finish

#!/usr/bin/env bash
# docs/published-weights.md as a reader types it: every command of its blocks, in their order, on a small model in the place of the published
# folders; srun is played by mpirun. What it quotes of `plan` must be what plan says. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/../common.bash"
page=$root/docs/published-weights.md log=$work/log said=$work/said

mkdir "$work/bin" "$work/here"
ln -s "$SLIPSTREAM" "$work/bin/slipstream"
cat >"$work/bin/srun" <<'END'
#!/usr/bin/env bash
while [[ $1 == -* ]]; do case $1 in -n) ranks=$2; shift 2 ;; -N) shift 2 ;; *) shift ;; esac; done
exec mpirun -n "$ranks" "$@"
END
chmod +x "$work/bin/srun"
export PATH=$work/bin:$PATH OMPI_MCA_hwloc_base_binding_policy=none
for name in MiMo-V2.5-Pro-FP4-DFlash MiMo-V2-Flash; do
    cp -r "$root/tests/data/cases/checkpoints/eos-none" "$work/here/$name"
    gunzip "$work/here/$name/model.safetensors.gz"
done

cd "$work/here" || exit 2
: >"$said"
while IFS= read -r command; do
    [ "$QUICK" = 1 ] && [[ $command == srun* ]] && continue
    command=${command/--for-gpus 8/--for-gpus 2} # the small model's FP8 rows are of two blocks
    timeout "$seconds" bash -c "$command" >"$log" 2>&1 </dev/null
    status=$?
    cat "$log" >>"$said"
    if [ "$status" = 0 ]; then ok "$command"; else fail "$command" "exit status $status" "$log"; fi
done < <(sed -n 's/^    \(\(slipstream\|mpirun\|srun\) .*\)/\1/p' "$page")
[ $((passed + failed)) -ge $((QUICK == 1 ? 8 : 10)) ] || fail "the page's commands" "only $((passed + failed)) of them" "$page"

while IFS= read -r line; do
    if grep -qxF -- "$line" "$said"; then ok "quoted" "$line"; else fail "quoted of plan, and not said" "$line" "$said"; fi
done < <(sed -n 's/^    \(# memory .*\)/\1/p' "$page")
finish

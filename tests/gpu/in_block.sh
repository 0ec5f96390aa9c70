#!/usr/bin/env bash
# A drafter with an in-block head on the GPU: its head changes no answer, and is used by the resident kernel, by launches and in wide drafts.
#   RANKS   each with a GPU of its own (default 1)
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/../mpi/in_block.bash"

# One block at a time: the same drafts by both engines, and a head that adds nothing drafts what the drafter drafts.
compare "$without" "$without" "$RANKS" "$zero" --sequences 1
compare "$without" "$without" "$RANKS" "$zero" --sequences 1 --engine launch
compare $((without + 2000)) 80000 "$RANKS" "$seen" --sequences 1
with=$(acceptance "$work/out.jsonl")
compare "$with" "$with" "$RANKS" "$seen" --sequences 1 --engine launch

# Several blocks at a time are drafted by launches, and round otherwise; so does a draft that is cut.
compare $((without - 2000)) $((without + 2000)) "$RANKS" "$zero" --sequences 6
compare $((with - 2000)) $((with + 2000)) "$RANKS" "$seen" --sequences 6
[ "$RANKS" -eq 1 ] || compare $((with - 2000)) $((with + 2000)) "$RANKS" "$seen" --sequences 1 --draft-ranks 1

# More than eight blocks at a time are drafted by the kernels of larger steps, heads' norms among them: two of each request.
sed 's/"custom_id":"/&again-/' "$requests" >"$work/twice" && cat "$requests" "$work/twice" >"$work/all" && mv "$work/all" "$requests"
compare $((without - 2000)) $((without + 2000)) "$RANKS" "$plain" --sequences 12
compare $((with - 2000)) $((with + 2000)) "$RANKS" "$seen" --sequences 12

finish

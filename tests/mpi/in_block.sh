#!/usr/bin/env bash
# A drafter with an in-block head on CPU ranks: its head changes no answer, is used, and drafts the same on any number of ranks.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/in_block.bash"

# A head that adds nothing drafts what the drafter drafts; one that knows the answers is accepted more.
compare "$without" "$without" 1 "$zero" --sequences 1
compare $((without + 2000)) 80000 1 "$seen" --sequences 1
with=$(acceptance "$work/out.jsonl")

# Rank 0's candidates are those of all ranks' rows. A sum that is cut may tip a tie.
compare "$with" "$with" 2 "$seen" --draft-ranks 1
compare "$with" "$with" 3 "$seen" --sequences 4 --draft-ranks 1
compare $((with - 200)) $((with + 200)) 2 "$seen" --draft-ranks all
compare $((with - 200)) $((with + 200)) 4 "$seen" --sequences 4 --draft-ranks all
compare $((without - 200)) $((without + 200)) 3 "$zero" --sequences 4 --draft-ranks all

finish

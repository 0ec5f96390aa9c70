#!/usr/bin/env bash
# tests/mpi/paths.sh on the GPU: greedy answers and score's logits. Decoding and reading prompts may differ in bits there, so that a
# near-tie may go either way.
#   RANKS   each with a GPU of its own (default 1)
. "$(dirname "$0")/common.bash"
DEVICE=cuda GAP=${GAP:-0.25} RANKS=${RANKS:-1} LONG=1 SLIPSTREAM=$SLIPSTREAM TOOLS=$TOOLS MODEL=$MODEL bash "$root/tests/mpi/paths.sh"

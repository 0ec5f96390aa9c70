#!/usr/bin/env bash
# Sums of wide steps that have owners, bit for bit, with 2 to 16 ranks that one GPU plays.
. "$(dirname "$0")/common.bash"
tool_says shares "ranks on one GPU" NCCL
finish

#!/usr/bin/env bash
# Products by wgmma and by mma: the same bits, on which attention of wide steps relies.
. "$(dirname "$0")/common.bash"
tool_says wgmma "wgmma and mma" CUDA
finish

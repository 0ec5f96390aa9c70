#include "ranks/plan_device.h"

const slip_plan_device slip_plan_devices[] = {
    {
        .name = "H200",

        /* The prototype's MXFP4 product reads 4.29 TB/s where K = 6144 and 4.13 where K = 2048, which fits a fixed cost a row. */
        .stream_bytes_us = 4.71e6,
        .narrow_columns = 119,
        .stream_basis = "measured on H200: 4.71 TB/s streams, 4.29 and 4.13 TB/s MXFP4 products",

        /* Between two GPUs in a running kernel, a sum of 8 x 6144 f32 (comm/exchange.c). With more ranks the wire's part grows: 264 KB of
         * messages to a peer at 450 GB/s, R - 1 or 2 (R - 1) / R times. */
        .one_shot_2_us = 2.06,
        .two_shot_2_us = 3.17,
        .wire_us = 0.59,
        .exchange_basis = "measured on 2 H200 in a running kernel (2.06 us one-shot, 3.17 two-shot); more derived from the wire",

        /* On one GPU, the Pro at an eighth: a verify step of 8 tokens takes 6.05 ms where its bytes take 3.36 (docs/speed-cuda.md says
         * where it goes). */
        .handover_us = 4.27,
        .ops_of_a_layer = 9,
        .handover_basis = "measured on H200 in the engine: 4.27 us an op beyond its bytes, nine ops a layer",

        /* Injection included: 1.48 ms for Flash's 4.02 GB of draft and 2.56 ms for the Pro's 7.41; cut over two ranks, Flash's takes 0.91. */
        .draft_bytes_us = 3.45e6,
        .draft_fixed_us = 330,
        .draft_basis = "measured on 1 and 2 H200 in the engine: 3.45 TB/s and 330 us",

        .memory_bytes = 141e9,

        /* The rows of docs/figures.md: half of Flash's layers on two ranks, to 32 of the Pro's. */
        .measured_ranks = 2,
        .node_ranks = 8,
        .measured_gb_min = 11,
        .measured_gb_max = 26,
        .measured_context = 1024,
    },
};

const slip_plan_device *const slip_plan_device_default = &slip_plan_devices[0];

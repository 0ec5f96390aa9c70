/* Devices that plan predicts for: rates measured there, and the words that say so where a prediction is printed. */
#ifndef SLIP_RANKS_PLAN_DEVICE_H
#define SLIP_RANKS_PLAN_DEVICE_H

typedef struct {
    const char *name;

    double stream_bytes_us; /* bytes a microsecond that a read-only stream reaches */
    double narrow_columns;  /* a product of narrow rows takes as long as if each had so many more columns */
    const char *stream_basis;

    /* Sums over ranks: of two ranks, in one shot and in two; each further rank's part of the wire. */
    double one_shot_2_us, two_shot_2_us, wire_us;
    const char *exchange_basis;

    double handover_us; /* what an op costs beyond its bytes */
    double ops_of_a_layer;
    const char *handover_basis;

    double draft_bytes_us, draft_fixed_us; /* the draft's bytes a microsecond, and a part that does not shrink */
    const char *draft_basis;

    double memory_bytes; /* that a rank has, by the maker's data sheet */

    /* Where the above was measured; beyond it is a guess. */
    int measured_ranks, node_ranks;          /* the second is what one NVLink domain has */
    double measured_gb_min, measured_gb_max; /* of weights that a rank reads in a step */
    int measured_context;
} slip_plan_device;

extern const slip_plan_device slip_plan_devices[];

/* The one that is planned for. */
extern const slip_plan_device *const slip_plan_device_default;

#endif

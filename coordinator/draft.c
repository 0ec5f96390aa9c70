#include "coordinator/draft.h"

#include <stdlib.h>
#include <string.h>

struct slip_draft {
    const slip_draft_shape *shape;
    slip_draft_share *share;
    slip_limits limits;
    slip_step inject, block;
    uint64_t steps; /* of both phases */
    size_t tap_bytes;
};

slip_status slip_draft_create(const slip_source *source, const slip_executor_kind *kind, slip_comm *comm,
                              const slip_executor_options *options, const slip_limits *limits, slip_draft **out)
{
    slip_draft *draft = calloc(1, sizeof *draft);
    if (!draft)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    draft->shape = &source->model.draft;
    draft->limits = *limits;
    draft->tap_bytes = (size_t)source->model.draft.taps * (size_t)source->model.hidden * sizeof(float);
    slip_status status = slip_draft_share_create(source, kind, comm, options, limits, &draft->share);
    if (status != SLIP_OK) {
        slip_draft_free(draft);
        return status;
    }
    *out = draft;
    return SLIP_OK;
}

void slip_draft_free(slip_draft *draft)
{
    if (draft->share)
        slip_draft_share_free(draft->share);
    free(draft);
}

slip_status slip_draft_inject(slip_draft *draft, int32_t sequence, int64_t position, const float *taps)
{
    slip_step *step = &draft->inject;
    if (step->row_count == draft->limits.rows || step->span_count == SLIP_MAX_SPANS) {
        slip_status status = slip_draft_flush(draft);
        if (status != SLIP_OK)
            return status;
    }
    slip_span *span = step->span_count ? &step->span[step->span_count - 1] : NULL;
    if (!span || span->sequence != sequence || span->position + span->count != position) {
        span = &step->span[step->span_count++];
        *span = (slip_span){.sequence = sequence, .row = step->row_count, .position = position};
    }
    if (taps)
        memcpy(slip_draft_share_taps(draft->share, step->row_count), taps, draft->tap_bytes);
    span->count++;
    step->row_count++;
    return SLIP_OK;
}

slip_status slip_draft_flush(slip_draft *draft)
{
    slip_status status = SLIP_OK;
    if (draft->inject.row_count > 0) {
        draft->inject.number = ++draft->steps;
        status = slip_draft_share_inject(draft->share, &draft->inject);
    }
    draft->inject.row_count = draft->inject.span_count = 0;
    return status;
}

slip_status slip_draft_begin(slip_draft *draft, const slip_proposal *proposals, int32_t count)
{
    slip_step *step = &draft->block;
    int32_t block = draft->shape->block;
    step->number = ++draft->steps;
    step->span_count = count;
    step->row_count = count * block;
    step->head_count = count * (block - 1); /* row 0 is the anchor itself */
    for (int32_t i = 0; i < count; i++) {
        step->span[i] = (slip_span){.sequence = proposals[i].sequence, .row = i * block, .count = block, .heads = block - 1,
                                    .position = proposals[i].position};
        step->token[i * block] = proposals[i].anchor;
        for (int32_t j = 1; j < block; j++)
            step->token[i * block + j] = draft->shape->mask_token;
    }
    return slip_draft_share_begin(draft->share, step);
}

slip_status slip_draft_wait(slip_draft *draft, const slip_proposal *proposals, slip_draft_outcome *outcome)
{
    const slip_step *step = &draft->block;
    int32_t drafts = draft->shape->block - 1;
    slip_status status = slip_draft_share_wait(draft->share, step, outcome);
    if (status != SLIP_OK)
        return status;
    for (int32_t i = 0; i < step->span_count; i++)
        for (int32_t j = 0; j < drafts; j++)
            proposals[i].drafts[j] = outcome->candidates[i * drafts + j].token;
    return SLIP_OK;
}

const slip_program *slip_draft_program(const slip_draft *draft)
{
    return slip_draft_share_program(draft->share);
}

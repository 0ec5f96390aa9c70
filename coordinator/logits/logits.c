#include "coordinator/logits/logits.h"

#include <stdlib.h>

bool slip_logits_adjusts(const slip_row_wishes *wishes, const slip_sampling *sampling)
{
    return wishes->bias_count > 0 || slip_sampling_penalizes(sampling);
}

/* ---- tokens that were there ---- */

static void count(slip_past *past, int32_t token, uint32_t more)
{
    if (past->counts[token] == 0)
        past->tokens[past->count++] = token;
    past->counts[token] += more;
}

slip_status slip_past_start(slip_past *past, const slip_sampling *sampling, int32_t vocabulary, const int32_t *prompt, int32_t prompt_count)
{
    *past = (slip_past){0};
    if (!slip_sampling_penalizes(sampling))
        return SLIP_OK;
    past->counts = calloc((size_t)vocabulary, sizeof *past->counts);
    past->tokens = malloc((size_t)vocabulary * sizeof *past->tokens);
    if (!past->counts || !past->tokens) {
        slip_past_free(past);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for the counts of %d tokens", vocabulary);
    }
    for (int32_t i = 0; i < prompt_count; i++)
        if (past->counts[prompt[i]] == 0)
            count(past, prompt[i], 1);
    return SLIP_OK;
}

void slip_past_add(slip_past *past, int32_t token)
{
    if (past->counts)
        count(past, token, 2);
}

void slip_past_free(slip_past *past)
{
    free(past->counts);
    free(past->tokens);
    *past = (slip_past){0};
}

/* ---- rows ---- */

void slip_logits_adjust(float *logits, const slip_row_wishes *wishes, const slip_sampling *sampling, const slip_past *past)
{
    for (int32_t i = 0; i < wishes->bias_count; i++)
        logits[wishes->biases[i].token] += wishes->biases[i].value;
    for (int32_t i = 0; i < past->count; i++) {
        int32_t token = past->tokens[i];
        logits[token] = slip_penalized(logits[token], sampling, past->counts[token]);
    }
}

/* ---- rows on a device ---- */

int64_t slip_logits_adjustment_room(const slip_row_wishes *wishes, const slip_past *past, int32_t draft_count)
{
    return (int64_t)wishes->bias_count + past->count + (past->counts ? draft_count : 0);
}

/* A token of the list, unless it is there already: a mark is the place in the list, as a negative number. */
static int32_t add_token(int32_t token, const slip_past *past, int32_t *marks, slip_adjustment *out, int32_t count)
{
    if (marks[token] < 0)
        return count;
    marks[token] = -1 - count;
    out[count] = (slip_adjustment){.token = token, .counts = past->counts ? past->counts[token] : 0};
    return count + 1;
}

/* Tokens of the prompt alone change where repetition is penalized. */
int32_t slip_logits_adjustments(const slip_row_wishes *wishes, const slip_sampling *sampling, const slip_past *past, const int32_t *drafts,
                                int32_t draft_count, int32_t *marks, slip_adjustment *out)
{
    const uint32_t least = sampling->repetition_penalty == 0 || sampling->repetition_penalty == 1 ? 2 : 1;
    int32_t count = 0;
    for (int32_t i = 0; i < past->count; i++)
        if (past->counts[past->tokens[i]] >= least)
            count = add_token(past->tokens[i], past, marks, out, count);
    for (int32_t i = 0; past->counts && i < draft_count; i++)
        count = add_token(drafts[i], past, marks, out, count);
    for (int32_t i = 0; i < wishes->bias_count; i++) {
        count = add_token(wishes->biases[i].token, past, marks, out, count);
        out[-1 - marks[wishes->biases[i].token]].bias = wishes->biases[i].value;
    }
    for (int32_t i = 0; i < count; i++)
        marks[out[i].token] = 0;
    return count;
}

/* ---- logprobs ---- */

void slip_logprobs_of(const slip_likeliest *row, int32_t token, int32_t top, slip_logprob *out)
{
    const double norm = slip_likeliest_norm(row);
    out[0] = (slip_logprob){token, (float)(row->asked - norm)};
    for (int32_t i = 0; i < top; i++)
        out[1 + i] = i < row->count ? (slip_logprob){row->best[i].token, (float)(row->best[i].score - norm)} : (slip_logprob){-1, 0};
}

void slip_logprobs(const float *logits, int32_t vocabulary, int32_t top, slip_logprob *out)
{
    slip_likeliest row;
    slip_likeliest_find(logits, 0, vocabulary, out[0].token, &row);
    slip_logprobs_of(&row, out[0].token, top, out);
}

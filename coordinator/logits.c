#include "coordinator/logits.h"

#include <math.h>
#include <stdlib.h>

bool slip_logits_wanted(const slip_row_wishes *wishes, const slip_sampling *sampling)
{
    return wishes->bias_count > 0 || wishes->logprobs || slip_sampling_penalizes(sampling);
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

static float penalized(double logit, const slip_sampling *sampling, uint32_t counts)
{
    const double r = sampling->repetition_penalty;
    const uint32_t times = counts / 2;
    if (r != 0)
        logit = logit > 0 ? logit / r : logit * r;
    return (float)(logit - (times * sampling->frequency_penalty + (times > 0) * sampling->presence_penalty));
}

void slip_logits_adjust(float *logits, const slip_row_wishes *wishes, const slip_sampling *sampling, const slip_past *past)
{
    for (int32_t i = 0; i < wishes->bias_count; i++)
        logits[wishes->biases[i].token] += wishes->biases[i].value;
    for (int32_t i = 0; i < past->count; i++) {
        int32_t token = past->tokens[i];
        logits[token] = penalized(logits[token], sampling, past->counts[token]);
    }
}

/* Put a token into the `count` best so far, best first; tokens come in rising order. */
static int32_t insert(slip_logprob *best, int32_t count, int32_t most, slip_logprob mine)
{
    if (count == most && !(most > 0 && mine.value > best[count - 1].value))
        return count;
    int32_t at = count < most ? count : most - 1;
    for (; at > 0 && mine.value > best[at - 1].value; at--)
        best[at] = best[at - 1];
    best[at] = mine;
    return count < most ? count + 1 : most;
}

void slip_logprobs(const float *logits, int32_t vocabulary, int32_t top, slip_logprob *out)
{
    double highest = -INFINITY, sum = 0;
    int32_t count = 0;
    for (int32_t i = 0; i < vocabulary; i++) {
        highest = logits[i] > highest ? logits[i] : highest;
        count = insert(out + 1, count, top, (slip_logprob){i, logits[i]});
    }
    for (int32_t i = 0; i < vocabulary; i++)
        sum += exp(logits[i] - highest);
    const double norm = highest + log(sum);
    out[0].value = (float)(logits[out[0].token] - norm);
    for (int32_t i = 1; i <= count; i++)
        out[i].value = (float)(out[i].value - norm);
    for (int32_t i = count + 1; i <= top; i++)
        out[i] = (slip_logprob){-1, 0};
}

#include "ranks/model/sampling/likeliest.h"

#include <math.h>

#include "ranks/model/sampling/gumbel.h"

_Static_assert(sizeof(slip_likeliest) == 216, "it is sent as bytes: no padding");

/* Put a candidate behind those that are at least as good: of equals the lower token comes first. */
static void insert(slip_likeliest *out, slip_candidate mine)
{
    const int32_t most = SLIP_MAX_TOP_LOGPROBS;
    int32_t at = out->count < most ? out->count++ : most - 1;
    for (; at > 0 && mine.score > out->best[at - 1].score; at--)
        out->best[at] = out->best[at - 1];
    out->best[at] = mine;
}

void slip_likeliest_find(const float *logits, int64_t first_token, int64_t count, int32_t asked, slip_likeliest *out)
{
    *out = (slip_likeliest){.found = asked >= first_token && asked < first_token + count};
    if (out->found)
        out->asked = logits[asked - first_token];
    for (int64_t i = 0; i < count; i++)
        if (out->count < SLIP_MAX_TOP_LOGPROBS || logits[i] > out->best[SLIP_MAX_TOP_LOGPROBS - 1].score)
            insert(out, (slip_candidate){logits[i], (int32_t)(first_token + i)});
    if (count == 0)
        return;
    slip_exp_start(&out->sum, out->best[0].score);
    for (int64_t i = 0; i < count; i++)
        slip_exp_add(&out->sum, logits[i]);
}

static bool is_ahead(slip_candidate a, slip_candidate b)
{
    return a.score != b.score ? a.score > b.score : a.token < b.token;
}

void slip_likeliest_add(slip_likeliest *all, const slip_likeliest *more)
{
    const slip_likeliest ours = *all;
    int32_t i = 0, j = 0;
    for (all->count = 0; all->count < SLIP_MAX_TOP_LOGPROBS && (i < ours.count || j < more->count); all->count++) {
        const bool mine = j == more->count || (i < ours.count && is_ahead(ours.best[i], more->best[j]));
        all->best[all->count] = mine ? ours.best[i++] : more->best[j++];
    }
    if (ours.count == 0)
        all->sum = more->sum;
    else if (more->count > 0)
        slip_exp_merge(&all->sum, &more->sum);
    if (more->found) {
        all->found = 1;
        all->asked = more->asked;
    }
}

double slip_likeliest_norm(const slip_likeliest *all)
{
    int32_t k;
    const double highest = (double)slip_exp_parts(all->best[0].score, &k);
    double sum = 0;
    for (int i = SLIP_EXP_WORDS - 1; i >= 0; i--)
        sum += ldexp((double)all->sum.word[i], -SLIP_EXP_WORD * i);
    sum /= ldexp(highest, (int)(k - SLIP_EXP_BITS - SLIP_EXP_WORD * all->sum.top)); /* the highest logit's term is 1 */
    return all->best[0].score + slip_log(sum);
}

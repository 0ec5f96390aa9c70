#include "ranks/model/sampling/likeliest.h"

#include <math.h>

#include "ranks/model/sampling/candidate.h"
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

/* slip_exp_add() of `count` logits, faster: blocks are computed with vectors, and words lie in memory. */
static void add_terms(slip_exp_sum *sum, const float *logits, int64_t count)
{
    enum { BLOCK = 64 };
    uint64_t words[SLIP_EXP_WORDS + 2] = {0}, m[BLOCK]; /* the lowest first; nothing reaches the last two */
    int32_t k[BLOCK];
    for (int64_t first = 0; first < count; first += BLOCK) {
        const int64_t size = count - first < BLOCK ? count - first : BLOCK;
        for (int64_t i = 0; i < size; i++)
            m[i] = slip_exp_parts(logits[first + i], &k[i]);
        for (int64_t i = 0; i < size; i++) {
            const int64_t place = slip_exp_place(sum, k[i]);
            if (place < 0) {
                slip_exp_add(sum, logits[first + i]);
                continue;
            }
            uint64_t *at = &words[place / SLIP_EXP_WORD];
            const int shift = (int)(place % SLIP_EXP_WORD);
            const uint64_t low = m[i] << shift;
            at[0] += low & 0xFFFFFFFFu;
            at[1] += low >> SLIP_EXP_WORD;
            at[2] += m[i] >> 1 >> (63 - shift);
        }
    }
    for (int i = 0; i < SLIP_EXP_WORDS; i++)
        sum->word[SLIP_EXP_WORDS - 1 - i] += words[i];
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
    add_terms(&out->sum, logits, count);
}

void slip_likeliest_add(slip_likeliest *all, const slip_likeliest *more)
{
    const slip_likeliest ours = *all;
    int32_t i = 0, j = 0;
    for (all->count = 0; all->count < SLIP_MAX_TOP_LOGPROBS && (i < ours.count || j < more->count); all->count++) {
        const bool mine = j == more->count || (i < ours.count && slip_candidate_is_ahead(ours.best[i], more->best[j]));
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

/* Ops of steps that are sampled again, on the logits that the step before left:
 *
 * SLIP_CUDA_ADJUST            bias and penalties of sparse tokens (ranks/model/sampling/adjust.h), in place; or what was there before them
 * SLIP_CUDA_LIKELIEST         what logprobs need of the rows asked for (ranks/model/sampling/likeliest.h), of each SM's slice of the tokens
 * SLIP_CUDA_LIKELIEST_MERGE   the same of all SMs, to the host
 *
 * The likeliest tokens are the first of a total order, and sums are integers: the order in which SMs meet changes nothing. */
#pragma once

#include "kernels/cuda/ops/sample.cuh"
#include "ranks/model/sampling/adjust.h"
#include "ranks/model/sampling/likeliest.h"

namespace slip {

// The sum of a logit's parts, in ascending order, as sample_quad() has it.
__device__ __forceinline__ float resample_logit(const slip_cuda_partial &in, const float *from)
{
    const int parts = in.parts, step = slip_partial_step(&in);
    float logit = 0;
#pragma unroll 4
    for (int p = 0; p < parts; p++, from += step)
        logit += *from;
    return logit;
}

// ---- ADJUST ----

struct adjust_memory {
    int64_t spans;
    slip_cuda_adjusted_span span[SLIP_MAX_SPANS];
};
static_assert(sizeof(adjust_memory) <= SLIP_CUDA_ARENA && offsetof(slip_cuda_adjusting, adjustment) == sizeof(adjust_memory) &&
                  sizeof(slip_cuda_adjusted_span) % 8 == 0,
              "the list's head, as words");

// The list's head to shared memory. It lies in the host's, where a cache would keep what the last step had.
__device__ __forceinline__ void adjust_load(const slip_cuda_adjusting &from, adjust_memory &to, int thread)
{
    if (thread == 0)
        to.spans = __ldcv((const long long *)&from.spans);
    consumers_sync();
    const int words = (int)to.spans * (int)(sizeof(slip_cuda_adjusted_span) / 8);
    for (int i = thread; i < words; i += CONSUMERS)
        ((unsigned long long *)to.span)[i] = __ldcv((const unsigned long long *)from.span + i);
    consumers_sync();
}

// Times 2 that the token was drafted up to logit row `i` of the span.
__device__ __forceinline__ uint32_t adjust_drafted(const slip_cuda_row *rows, int32_t token, int i)
{
    uint32_t counts = 0;
    for (int j = 1; j <= i; j++)
        counts += 2 * (rows[j].token == token);
    return counts;
}

// One adjustment of a span, in all of its logit rows. The first part becomes the whole sum.
__device__ __forceinline__ void adjust_token(const slip_cuda_resample &op, const context &c, const slip_cuda_adjusted_span &span, int index)
{
    const slip_adjustment *at = &op.adjusting->adjustment[span.first + index];
    const int32_t token = __ldcv(&at->token);
    const uint32_t counts = __ldcv(&at->counts);
    const float bias = __ldcv(&at->bias);
    const int64_t column = token - op.vocabulary_first;
    if (column < 0 || column >= op.vocabulary_count)
        return;
    const int step = slip_partial_step(&op.in);
    for (int i = 0; i < span.logit_rows; i++) {
        float *logit = (float *)partial_row(op.in, span.logit_row + i) + column;
        float *saved = &op.unadjusted[span.saved + index * span.logit_rows + i];
        float value;
        if (c.step->adjust == SLIP_ADJUST_UNDO) {
            value = *saved;
        } else {
            *saved = resample_logit(op.in, logit);
            value = slip_adjusted(*saved, &span.sampling, bias, counts + adjust_drafted(c.step->row + span.row, token, i));
        }
        for (int p = 0; p < op.in.parts; p++)
            logit[(int64_t)p * step] = p == 0 ? value : 0;
    }
}

__device__ void op_adjust(const slip_cuda_resample &op, const context &c)
{
    adjust_memory &m = *(adjust_memory *)c.arena;
    if (c.step->adjust == SLIP_ADJUST_NOTHING)
        return;
    adjust_load(*op.adjusting, m, c.thread());
    for (int s = 0; s < (int)m.spans; s++)
        for (int i = c.sm * CONSUMERS + c.thread(); i < m.span[s].count; i += c.sms * CONSUMERS)
            adjust_token(op, c, m.span[s], i);
}

// ---- LIKELIEST ----

// Tokens of one SM.
struct likeliest_slice {
    const float *row; // part 0 of column 0
    int first, last;  // columns
    int32_t token;    // of column 0
};

// The best of this lane's tokens behind `limit`, of all of them where its token is -1.
__device__ __forceinline__ slip_candidate likeliest_behind(const slip_cuda_resample &op, const likeliest_slice &slice, slip_candidate limit,
                                                           int lane)
{
    slip_candidate best = {0, -1};
    for (int column = slice.first + lane; column < slice.last; column += 32) {
        const slip_candidate mine = {resample_logit(op.in, slice.row + column), slice.token + column};
        if ((limit.token < 0 || slip_candidate_is_ahead(limit, mine)) && (best.token < 0 || slip_candidate_is_ahead(mine, best)))
            best = mine;
    }
    return best;
}

__device__ __forceinline__ uint64_t warp_sum_words(uint64_t v)
{
#pragma unroll
    for (int away = 16; away > 0; away /= 2)
        v += __shfl_xor_sync(~0u, (unsigned long long)v, away);
    return v;
}

// A warp's sum of exp() over the slice, whose highest logit is `highest`.
__device__ __forceinline__ slip_exp_sum likeliest_sum(const slip_cuda_resample &op, const likeliest_slice &slice, float highest, int lane)
{
    slip_exp_sum sum;
    slip_exp_start(&sum, highest);
    for (int column = slice.first + lane; column < slice.last; column += 32)
        slip_exp_add(&sum, resample_logit(op.in, slice.row + column));
#pragma unroll
    for (int i = 0; i < SLIP_EXP_WORDS; i++)
        sum.word[i] = warp_sum_words(sum.word[i]);
    return sum;
}

// By a warp: one row's slice.
__device__ __forceinline__ void likeliest_find(const slip_cuda_resample &op, const likeliest_slice &slice, int32_t asked,
                                               slip_likeliest &out, int lane)
{
    slip_candidate mine = likeliest_behind(op, slice, {0, -1}, lane);
    float highest = 0;
    int count = 0;
    for (; count < SLIP_MAX_TOP_LOGPROBS; count++) {
        const slip_candidate best = sample_warp_best(mine);
        if (best.token < 0)
            break;
        if (count == 0)
            highest = best.score;
        if (lane == 0)
            out.best[count] = best;
        if (mine.token == best.token)
            mine = likeliest_behind(op, slice, best, lane);
        __syncwarp();
    }
    slip_exp_sum sum = {};
    if (count > 0)
        sum = likeliest_sum(op, slice, highest, lane);
    if (lane == 0) {
        const int column = asked - slice.token;
        out.sum = sum;
        out.count = count;
        out.found = column >= slice.first && column < slice.last;
        out.asked = out.found ? resample_logit(op.in, slice.row + column) : 0;
    }
}

__device__ void op_likeliest(const slip_cuda_resample &op, const context &c)
{
    if (c.step->want != SLIP_WANT_LIKELIEST)
        return;
    const int columns = (int)op.vocabulary_count, share = (columns + c.sms - 1) / c.sms;
    const int first = min(c.sm * share, columns), last = min(first + share, columns);
    for (int row = c.thread() / 32; row < c.logit_rows; row += CONSUMER_WARPS) {
        const int32_t asked = c.step->logit_row[row].open;
        if (asked == SLIP_NO_BINS)
            continue;
        const likeliest_slice slice = {partial_row(op.in, row), first, last, (int32_t)op.vocabulary_first};
        likeliest_find(op, slice, asked, op.found[(int64_t)c.sm * c.logit_rows + row], c.thread() % 32);
    }
}

// ---- LIKELIEST_MERGE ----

constexpr int LIKELIEST_LISTS = 8; // SMs a lane, at most
static_assert(SLIP_ARCH_SMS <= 32 * LIKELIEST_LISTS, "a warp merges them");

// What a lane merges: lists of some SMs, of which the first `at` are taken.
struct likeliest_lists {
    const slip_likeliest *list[LIKELIEST_LISTS]; // NULL: none
    int at[LIKELIEST_LISTS];
};

__device__ __forceinline__ slip_candidate likeliest_head(const likeliest_lists &lists)
{
    slip_candidate best = {0, -1};
#pragma unroll
    for (int j = 0; j < LIKELIEST_LISTS; j++) {
        if (!lists.list[j] || lists.at[j] >= lists.list[j]->count)
            continue;
        const slip_candidate mine = lists.list[j]->best[lists.at[j]];
        if (best.token < 0 || slip_candidate_is_ahead(mine, best))
            best = mine;
    }
    return best;
}

// Past `taken`, which is some list's next.
__device__ __forceinline__ void likeliest_take(likeliest_lists &lists, slip_candidate taken)
{
#pragma unroll
    for (int j = 0; j < LIKELIEST_LISTS; j++)
        if (lists.list[j] && lists.at[j] < lists.list[j]->count && lists.list[j]->best[lists.at[j]].token == taken.token)
            lists.at[j]++;
}

// Over a warp: the sum of all lanes' sums, in lane 0.
__device__ __forceinline__ slip_exp_sum likeliest_merge_sums(slip_exp_sum sum)
{
#pragma unroll 1
    for (int away = 16; away > 0; away /= 2) {
        slip_exp_sum other;
        other.top = __shfl_down_sync(~0u, (long long)sum.top, away);
#pragma unroll
        for (int i = 0; i < SLIP_EXP_WORDS; i++)
            other.word[i] = __shfl_down_sync(~0u, (unsigned long long)sum.word[i], away);
        slip_exp_merge(&sum, &other); // lanes beyond count twice, and lane 0 never sees them
    }
    return sum;
}

// By a warp: one row of all SMs.
__device__ __forceinline__ void likeliest_merge(const slip_likeliest *found, int sms, int rows, slip_likeliest &out, int lane)
{
    likeliest_lists lists;
    slip_exp_sum sum = {INT64_MIN / 2, {}}; // below all others
    float asked = 0;
    bool has = false;
#pragma unroll
    for (int j = 0; j < LIKELIEST_LISTS; j++) {
        const int sm = j * 32 + lane;
        lists.list[j] = sm < sms ? found + (int64_t)sm * rows : NULL;
        lists.at[j] = 0;
        if (!lists.list[j])
            continue;
        if (lists.list[j]->count > 0)
            slip_exp_merge(&sum, &lists.list[j]->sum);
        if (lists.list[j]->found) {
            has = true;
            asked = lists.list[j]->asked;
        }
    }
    int count = 0;
    for (; count < SLIP_MAX_TOP_LOGPROBS; count++) {
        const slip_candidate mine = likeliest_head(lists), best = sample_warp_best(mine);
        if (best.token < 0)
            break;
        if (lane == 0)
            out.best[count] = best;
        if (mine.token == best.token)
            likeliest_take(lists, best);
        __syncwarp();
    }
    sum = likeliest_merge_sums(sum);
    const unsigned owner = __ballot_sync(~0u, has);
    asked = __shfl_sync(~0u, asked, owner ? __ffs((int)owner) - 1 : 0);
    if (lane == 0) {
        out.sum = sum;
        out.count = count;
        out.found = owner != 0;
        out.asked = asked;
    }
}

// Rows are spread over the warps of all SMs.
__device__ void op_likeliest_merge(const slip_cuda_resample &op, const context &c)
{
    if (c.step->want != SLIP_WANT_LIKELIEST)
        return;
    const int warp = c.thread() / 32, warps = c.sms * CONSUMER_WARPS;
    for (int row = warp * c.sms + c.sm; row < c.logit_rows; row += warps)
        if (c.step->logit_row[row].open != SLIP_NO_BINS)
            likeliest_merge(op.found + row, c.sms, c.logit_rows, op.likeliest[row], c.thread() % 32);
}

} // namespace slip

/* SLIP_CUDA_SAMPLE: each SM's best candidate of every logit row, by the rule of ranks/model/sampling/sample.h, or whole rows of logits. Of a draft with
 * an in-block head the best candidate of each slice of the vocabulary (ranks/model/sampling/walk.h); an SM has a slice.
 * SLIP_CUDA_HISTOGRAM, behind it: the histograms of rows that filters apply to (ranks/model/sampling/histogram.h).
 *
 * Columns are cut into quads of tokens 4i .. 4i + 3, which share one Philox call, and quads into one contiguous slice an SM. The
 * rule is a total order (ranks/model/sampling/candidate.h), so it does not matter in which order candidates meet. Histograms are sums of
 * integers: nor does it there. */
#pragma once

#include "kernels/cuda/ops/attend_parts.cuh"
#include "kernels/cuda/ops/operand.cuh"
#include "ranks/model/sampling/candidate.h"
#include "ranks/model/sampling/gumbel.h"

namespace slip {

// What a warp's work item finds.
struct sample_found {
    slip_candidate best;
    float highest; // logit
};

static_assert((SLIP_MAX_LOGIT_ROWS + CONSUMER_WARPS) * sizeof(sample_found) <= SLIP_CUDA_ARENA, "one a warp's work item");

// The bits of tokens 4 * quad .. 4 * quad + 3.
__device__ __forceinline__ uint4 sample_bits(const slip_cuda_logit_row &at, int quad)
{
    const slip_bits four = slip_sample_quad((uint32_t)quad, at.position, at.seed);
    return make_uint4(four.x, four.y, four.z, four.w);
}

// The best of a warp's candidates, in all of its lanes.
__device__ __forceinline__ slip_candidate sample_warp_best(slip_candidate best)
{
#pragma unroll
    for (int away = 16; away > 0; away /= 2) {
        slip_candidate other = {__shfl_xor_sync(0xffffffff, best.score, away), __shfl_xor_sync(0xffffffff, best.token, away)};
        best = slip_candidate_better(best, other);
    }
    return best;
}

// An upper bound of the Gumbel variable that needs no logarithm: see gumbel_bound() in ranks/model/sampling/sample.c. __clz(0) is 32.
__device__ __forceinline__ double sample_bound(uint32_t bits)
{
    return 0.69314718056 * (__clz((int)~bits) + 1);
}

// The logarithms are called, not inlined: few tokens need them.
__device__ __noinline__ double sample_gumbel(uint32_t bits)
{
    return slip_gumbel(bits);
}

// `bar`: a score that some token of this row has reached; -inf when none is known.
__device__ __forceinline__ void sample_perturbed(float logit, double temperature, uint32_t bits, int token, float bar, slip_candidate &best)
{
    double bound = (double)logit + temperature * sample_bound(bits);
    double known = best.token >= 0 && best.score > bar ? best.score : bar;
    // Scores are rounded to f32: the slack keeps the bound valid.
    if (bound + 1e-5 * fabs(bound) + 1e-5 < known)
        return;
    slip_candidate mine = {(float)fma(temperature, sample_gumbel(bits), (double)logit), token};
    best = slip_candidate_better(best, mine);
}

// Logits of columns [column, column + 4) of a row: parts in ascending order. Columns that do not exist are left alone.
__device__ __forceinline__ void sample_quad(const slip_cuda_partial &in, const float *row, int64_t column, int64_t columns,
                                            float (&logit)[4])
{
    const int parts = in.parts;
    const int step = slip_partial_step(&in);
    const float *from = row + column;
#pragma unroll
    for (int i = 0; i < 4; i++)
        logit[i] = 0;
    if (column % 4 == 0) { // rows are padded to whole tiles: the quad is there even where its last columns are not real
        float4 sum = sum_parts<8>(from, parts, step);
        logit[0] = sum.x;
        logit[1] = sum.y;
        logit[2] = sum.z;
        logit[3] = sum.w;
        return;
    }
    for (int p = 0; p < parts; p++, from += step)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (column + i >= 0 && column + i < columns)
                logit[i] += from[i];
}

// Which quads a warp looks at: quads [first, last), or those with these numbers in a slice of the vocabulary.
struct sample_quads {
    static constexpr bool ALL_OURS = true; // some of a quad's tokens are this rank's
    __device__ __forceinline__ int operator()(int i) const
    {
        return i;
    }
};

struct slice_quads {
    static constexpr bool ALL_OURS = false;        // of the first and the last run maybe not
    static constexpr int RUN = SLIP_SLICE_RUN / 4; // quads
    int first;                                     // of the slice's first run

    __device__ __forceinline__ int operator()(int i) const
    {
        return first + i / RUN * (RUN * SLIP_SLICES) + i % RUN;
    }
};

// One warp: the best token of quads quad_of(first .. last - 1) of one logit row, and their highest logit.
template <class Quads>
__device__ __forceinline__ sample_found sample_range(const slip_cuda_sample &op, const slip_cuda_logit_row &at, int index, int first,
                                                     int last, int lane, Quads quad_of)
{
    const double temperature = at.temperature, scale = slip_bin_scale(temperature);
    const float *row = partial_row(op.in, index);
    slip_candidate best = {0, -1};
    float bar = -INFINITY, highest = -INFINITY;
    for (int base = first; base < last; base += 32) {
        int quad = quad_of(base + lane);
        int64_t column = (int64_t)quad * 4 - op.vocabulary_first;
        if (base + lane < last && (Quads::ALL_OURS || (column > -4 && column < op.vocabulary_count))) {
            float logit[4];
            sample_quad(op.in, row, column, op.vocabulary_count, logit);
            uint4 four = temperature == 0 ? make_uint4(0, 0, 0, 0) : sample_bits(at, quad);
            const uint32_t bits[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (column + i < 0 || column + i >= op.vocabulary_count)
                    continue;
                highest = fmaxf(highest, logit[i]);
                if (at.open > SLIP_ALL_BINS && !slip_is_above(logit[i], scale, at.open))
                    continue;
                if (temperature == 0)
                    best = slip_candidate_better(best, {logit[i], quad * 4 + i});
                else
                    sample_perturbed(logit[i], temperature, bits[i], quad * 4 + i, bar, best);
            }
        }
        if (temperature != 0 && base + 32 < last) {
            slip_candidate warp_best = sample_warp_best(best);
            bar = warp_best.token >= 0 ? warp_best.score : bar;
        }
    }
    return {sample_warp_best(best), warp_most(highest)};
}

// Each SM's best candidate of each logit row. Quads are numbered by their tokens: the first may begin before this rank's tokens.
__device__ __forceinline__ void sample_candidates(const slip_cuda_sample &op, const context &c)
{
    const int warp = c.thread() / 32, lane = c.thread() % 32, logit_rows = c.logit_rows;
    const int begin = (int)(op.vocabulary_first / 4), end = (int)((op.vocabulary_first + op.vocabulary_count + 3) / 4);
    const int share = (end - begin + c.sms - 1) / c.sms;
    const int first = begin + c.sm * share < end ? begin + c.sm * share : end, last = first + share < end ? first + share : end;
    const int segments = logit_rows < CONSUMER_WARPS ? CONSUMER_WARPS / logit_rows : 1, piece = (last - first + segments - 1) / segments;
    sample_found *found = (sample_found *)c.arena; // [logit_rows][segments]
    for (int i = warp; i < logit_rows * segments; i += CONSUMER_WARPS) {
        const slip_cuda_logit_row &at = c.step->logit_row[i / segments];
        int from = first + i % segments * piece, to = from + piece < last ? from + piece : last;
        sample_found mine = sample_range(op, at, i / segments, from, at.open == SLIP_NO_BINS ? from : to, lane, sample_quads());
        if (lane == 0)
            found[i] = mine;
    }
    consumers_sync();
    for (int h = c.thread(); h < logit_rows; h += CONSUMERS) {
        sample_found all = {{0, -1}, -INFINITY};
        for (int i = 0; i < segments; i++) {
            all.best = slip_candidate_better(all.best, found[h * segments + i].best);
            all.highest = fmaxf(all.highest, found[h * segments + i].highest);
        }
        op.candidates[(int64_t)c.sm * logit_rows + h] = all.best;
        op.highest[(int64_t)c.sm * logit_rows + h] = all.highest;
    }
}

// Tokens come from other ranks too, and after a wait that failed they are anything.
__device__ __forceinline__ bool walk_knows(const slip_cuda_walk &walk, int token)
{
    return token >= 0 && token < walk.vocabulary;
}

// Both rows of a candidate to L2, for the walk; it may be of no token, and this the rank of no walk. A row is a line of 128 bytes or a few. Inlined, it
// makes the step of several ranks spill.
static __device__ __noinline__ void walk_fetch(const slip_cuda_walk &walk, int token)
{
    if (!walk.previous || !walk_knows(walk, token))
        return;
    for (int64_t at = (int64_t)token * walk.rank, end = at + walk.rank; at < end; at += 64) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(walk.following + at));
        asm volatile("prefetch.global.L2 [%0];" ::"l"(walk.previous + at));
    }
}

// The best candidate of each logit row among one slice's tokens of this rank.
__device__ __forceinline__ void sample_slice(const slip_cuda_sample &op, const context &c, int slice)
{
    const int warp = c.thread() / 32, lane = c.thread() % 32, logit_rows = c.logit_rows;
    const int begin = (int)(op.vocabulary_first / SLIP_SLICE_RUN);
    const int end = (int)((op.vocabulary_first + op.vocabulary_count + SLIP_SLICE_RUN - 1) / SLIP_SLICE_RUN);
    const int run = begin + (slice - begin % SLIP_SLICES + SLIP_SLICES) % SLIP_SLICES; // the first of the slice's
    const int quads = run < end ? (end - run + SLIP_SLICES - 1) / SLIP_SLICES * slice_quads::RUN : 0;
    const int segments = logit_rows < CONSUMER_WARPS ? CONSUMER_WARPS / logit_rows : 1, piece = (quads + segments - 1) / segments;
    slip_candidate *found = (slip_candidate *)c.arena; // [logit_rows][segments]
    for (int i = warp; i < logit_rows * segments; i += CONSUMER_WARPS) {
        const int from = min(i % segments * piece, quads), to = min(from + piece, quads);
        const sample_found mine =
            sample_range(op, c.step->logit_row[i / segments], i / segments, from, to, lane, slice_quads{run * slice_quads::RUN});
        if (lane == 0)
            found[i] = mine.best;
    }
    consumers_sync();
    for (int h = c.thread(); h < logit_rows; h += CONSUMERS) {
        slip_candidate best = {0, -1};
        for (int i = 0; i < segments; i++)
            best = slip_candidate_better(best, found[h * segments + i]);
        op.candidates[(int64_t)h * SLIP_SLICES + slice] = best;
        walk_fetch(op.walk, best.token);
    }
    consumers_sync(); // the arena's next use
}

// Whole rows to host memory, but those left out: a warp writes 128 contiguous bytes at a time.
__device__ __forceinline__ void sample_logits(const slip_cuda_sample &op, const context &c)
{
    const int64_t columns = op.vocabulary_count, lanes = (int64_t)c.sms * CONSUMERS;
    const int parts = op.in.parts;
    const int step = slip_partial_step(&op.in);
    for (int row = 0; row < c.logit_rows; row++) {
        if (c.step->logit_row[row].open == SLIP_NO_BINS)
            continue;
        for (int64_t column = (int64_t)c.sm * CONSUMERS + c.thread(); column < columns; column += lanes) {
            const float *from = partial_row(op.in, row) + column;
            float logit = 0;
#pragma unroll 4
            for (int p = 0; p < parts; p++, from += step)
                logit += *from;
            op.logits[row * columns + column] = logit;
        }
    }
}

__device__ void op_sample(const slip_cuda_sample &op, const context &c)
{
    if (c.step->want == SLIP_WANT_LOGITS)
        sample_logits(op, c);
    else if (op.walk.slots > 0)
        for (int slice = c.sm; slice < SLIP_SLICES && c.logit_rows > 0; slice += c.sms)
            sample_slice(op, c, slice);
    else if (c.logit_rows > 0 && c.step->want != SLIP_WANT_LIKELIEST)
        sample_candidates(op, c);
}

// ---- HISTOGRAM ----

struct histogram_memory {
    uint32_t count[SLIP_BINS], sum[SLIP_BINS];
    int last; // this SM is the last to add to the row's
};
static_assert(sizeof(histogram_memory) <= SLIP_CUDA_ARENA, "a row's histogram");

// By every warp: the number of the row's first bin.
__device__ __forceinline__ int32_t histogram_top(const slip_cuda_sample &op, const context &c, int row, double scale)
{
    float highest = -INFINITY;
    for (int sm = c.thread() % 32; sm < c.sms; sm += 32)
        highest = fmaxf(highest, op.highest[(int64_t)sm * c.logit_rows + row]);
    return slip_bin_of(slip_bin_place(warp_most(highest), scale));
}

// A logit that is not a number lies beyond the first bin. Nobody reads the histogram of its row.
__device__ __forceinline__ void histogram_add(histogram_memory &m, int32_t top, float logit, double scale)
{
    const int64_t place = slip_bin_place(logit, scale);
    const int32_t at = min(max(top - slip_bin_of(place), 0), SLIP_BINS - 1);
    atomicAdd(&m.count[at], 1u);
    if (at < SLIP_BINS - 1)
        atomicAdd(&m.sum[at], slip_place_in_bin(place));
}

// The row's sums are whole: to the host with them, and zeros for the next step. They were added in L2.
__device__ __forceinline__ void histogram_deliver(const slip_cuda_sample &op, int row, int32_t top, int thread)
{
    slip_histogram &sums = op.sums[row], &out = op.histograms[row];
    for (int i = thread; i < SLIP_BINS; i += CONSUMERS) {
        out.count[i] = __ldcg(&sums.count[i]);
        out.sum[i] = __ldcg(&sums.sum[i]);
        sums.count[i] = sums.sum[i] = 0;
    }
    if (thread == 0)
        out.top = top;
}

// Segment `segment` of `segments` of a row. The last SM to come sends the row's histogram, as with the tiles of ATTEND.
__device__ __forceinline__ void histogram_segment(const slip_cuda_sample &op, const context &c, int row, int segment, int segments)
{
    histogram_memory &m = *(histogram_memory *)c.arena;
    const double scale = slip_bin_scale(c.step->logit_row[row].temperature);
    const int32_t top = histogram_top(op, c, row, scale);
    const int begin = (int)(op.vocabulary_first / 4), end = (int)((op.vocabulary_first + op.vocabulary_count + 3) / 4);
    const int share = (end - begin + segments - 1) / segments, first = begin + segment * share, last = min(first + share, end);
    const float *logits = partial_row(op.in, row);
    for (int i = c.thread(); i < SLIP_BINS; i += CONSUMERS)
        m.count[i] = m.sum[i] = 0;
    consumers_sync();
    for (int quad = first + c.thread(); quad < last; quad += CONSUMERS) {
        const int64_t column = (int64_t)quad * 4 - op.vocabulary_first;
        float logit[4];
        sample_quad(op.in, logits, column, op.vocabulary_count, logit);
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (column + i >= 0 && column + i < op.vocabulary_count)
                histogram_add(m, top, logit[i], scale);
    }
    consumers_sync();
    for (int i = c.thread(); i < SLIP_BINS; i += CONSUMERS)
        if (m.count[i] != 0) {
            atomicAdd(&op.sums[row].count[i], m.count[i]);
            atomicAdd(&op.sums[row].sum[i], m.sum[i]);
        }
    consumers_sync();
    if (c.thread() == 0)
        m.last = attend_count_in(op.count + row, (unsigned)segments - 1) == (unsigned)segments - 1;
    consumers_sync();
    if (m.last)
        histogram_deliver(op, row, top, c.thread());
    consumers_sync(); // the arena's next use
}

// Rows are spread over the SMs; with fewer rows than SMs several share one.
__device__ void op_histogram(const slip_cuda_sample &op, const context &c)
{
    if (c.step->want != SLIP_WANT_HISTOGRAMS || c.logit_rows == 0)
        return;
    const int segments = max(c.sms / c.logit_rows, 1);
    for (int i = c.sm; i < c.logit_rows * segments; i += c.sms)
        if (c.step->logit_row[i / segments].histogram)
            histogram_segment(op, c, i / segments, i % segments, segments);
}

// By one warp, after the grid barrier: the best over all SMs, in all lanes. `candidates` [sms][logit_rows].
__device__ __forceinline__ slip_candidate pick_best(const slip_candidate *candidates, int sms, int logit_rows, int index)
{
    slip_candidate best = {0, -1};
    for (int sm = (int)(threadIdx.x % 32); sm < sms; sm += 32)
        best = slip_candidate_better(best, candidates[(int64_t)sm * logit_rows + index]);
    return sample_warp_best(best);
}

} // namespace slip

/* Lowering of the ops that treat every row alike: EMBED, ALLREDUCE with the TAPs and the NORM behind it, SELECT, SWIGLU, sampling. */
#include <assert.h>

#include "comm/exchange.h"
#include "kernels/cuda/lower/lower_state.h"

static size_t rows_of(const lowering *l)
{
    return (size_t)l->groups * SLIP_TOKENS;
}

/* ---- EMBED ---- */

void slip_memory_embed(lowering *l)
{
    l->embedding =
        slip_block_alloc(l->block, rows_of(l) * (size_t)slip_padded_to(l->program->width[SLIP_BUFFER_X], SLIP_TILE_ROWS) * sizeof(float));
}

int32_t slip_lower_embed(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    const slip_cuda_tensor *table = &l->source->tensors[from->weight[0]];
    int32_t hidden = (int32_t)l->program->width[SLIP_BUFFER_X];
    slip_cuda_partial out = {l->embedding, 1, slip_padded_to(hidden, SLIP_TILE_ROWS), hidden};
    slip_lower_append(l, SLIP_CUDA_EMBED, i, i)->embed = (slip_cuda_embed){
        .table = table->table,
        .table_f32 = table->table_f32,
        .mask = slip_lower_vector(l, from->weight[1]),
        .mask_token = l->program->mask_token,
        .vocabulary_first = l->program->vocabulary.first,
        .vocabulary_count = l->program->vocabulary.count,
        .hidden = hidden,
        .out = out,
    };
    l->partial[SLIP_BUFFER_PARTIAL] = out;
    l->experts_in_partial = false;
    return i;
}

/* ---- ALLREDUCE, TAP, NORM ---- */

/* One sum at a time is gathered. */
void slip_memory_gather(lowering *l)
{
    if (!l->source->gathered)
        return;
    size_t bytes = (size_t)slip_gathered_rows((int32_t)rows_of(l)) * (size_t)l->program->width[SLIP_BUFFER_X] * sizeof(float);
    l->own = slip_block_alloc(l->block, bytes);
    l->gathered = slip_block_alloc(l->block, (size_t)l->source->ranks * bytes);
}

void slip_memory_reduce_norm(lowering *l)
{
    size_t row_bytes = (size_t)l->program->width[SLIP_BUFFER_X] * sizeof(float);
    slip_memory_operand(l, SLIP_BUFFER_H, l->groups);
    l->x = slip_block_alloc(l->block, rows_of(l) * row_bytes);
    l->peer_slots = slip_block_alloc(l->block, (size_t)l->source->absent_peers * SLIP_MAX_ROWS * row_bytes);
    const slip_exchange_layout arena =
        slip_exchange_plan(l->source->absent_peers + 1, 1, (int)l->program->width[SLIP_BUFFER_X], 0, 0, SLIP_MAX_ROWS);
    l->stand_in = slip_block_alloc(l->block, l->source->absent_peers ? arena.bytes : 0);
}

/* What the device op before left for ALLREDUCE `i`: if those are experts' picks, this rank's are to be weighted. */
static slip_cuda_terms terms_of(const lowering *l, int32_t i)
{
    slip_cuda_terms terms = {.in = l->partial[l->program->ops[i].in]};
    if (!l->experts_in_partial)
        return terms;
    const slip_cuda_product *down = &l->list->ops[l->list->count - 1].product;
    terms.experts_in = true;
    terms.first_expert = down->first_expert;
    terms.experts = down->experts;
    terms.top_k = down->top_k;
    terms.picks = down->picks;
    return terms;
}

/* The op that leaves this rank's sum of ALLREDUCE `i`. Returns all ranks', which the REDUCE_NORM behind it reads. */
static slip_cuda_partial lower_gather(lowering *l, int32_t i)
{
    int32_t hidden = (int32_t)l->program->width[SLIP_BUFFER_X];
    slip_cuda_terms terms = terms_of(l, i);
    slip_lower_append(l, SLIP_CUDA_GATHER, i, i)->gather = (slip_cuda_gather){terms, {l->own, 1, hidden, hidden}};
    return (slip_cuda_partial){l->gathered, l->source->ranks, hidden, hidden};
}

/* The TAPs behind op `i`; returns the last. */
static int32_t absorb_taps(const lowering *l, int32_t i, slip_cuda_reduce_norm *sum)
{
    const slip_op *ops = l->program->ops;
    for (; i + 1 < l->end && ops[i + 1].kind == SLIP_OP_TAP; i++) {
        sum->tap = ops[i + 1].column;
        sum->taps = l->source->taps;
    }
    return i;
}

/* Do others than the owner of a row want its operand, which ops from `from` on read, in e4m3 alone? A router does not: it is the owner's. */
static bool sends_codes(const lowering *l, int32_t from, const slip_cuda_operand *operand)
{
    const slip_program *p = l->program;
    if (!operand->q8 || l->source->watched)
        return false;
    for (int32_t i = from; i < l->end && p->ops[i].out != SLIP_BUFFER_H; i++) {
        const bool routes = p->ops[i].kind == SLIP_OP_ROUTE && slip_topk_is_wide(p->experts, p->top_k);
        if (p->ops[i].in == SLIP_BUFFER_H && !routes && l->source->tensors[p->ops[i].weight[0]].matrix.format == SLIP_WEIGHT_BF16)
            return false;
    }
    return true;
}

/* Do experts alone read the codes of the operand, which ops from `from` on read? One layout's padding must not be where another has codes: there is none. */
static bool codes_by_row(const lowering *l, int32_t from, const slip_cuda_operand *operand)
{
    if (!operand->q8 || operand->padded != slip_padded_to(operand->columns, SLIP_F8_BLOCK))
        return false;
    for (int32_t i = from; i < l->end; i++) {
        const slip_op *op = &l->program->ops[i];
        if (op->in == SLIP_BUFFER_H && op->kind != SLIP_OP_EXPERTS && op->weight[0] != SLIP_NO_WEIGHT &&
            l->source->tensors[op->weight[0]].matrix.format != SLIP_WEIGHT_BF16)
            return false;
        if (op->out == SLIP_BUFFER_H)
            break;
    }
    return true;
}

/* Where the sum goes over ranks: what its owners send, and which rows are routed here. */
static void set_owners(lowering *l, int32_t from, slip_cuda_reduce_norm *sum)
{
    l->owned = (slip_cuda_owned){0, 1};
    if ((!sum->exchange && !sum->peers) || !sum->norm)
        return;
    sum->codes = sum->tap < 0 && sends_codes(l, from, &sum->operand);
    if (sum->codes)
        l->owned = sum->peers ? (slip_cuda_owned){0, sum->peers + 1} : (slip_cuda_owned){l->source->rank, l->source->ranks};
}

int32_t slip_lower_allreduce(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_cuda_reduce_norm sum = {.tap = -1, .hidden = (int32_t)l->program->width[SLIP_BUFFER_X], .add = from->add, .x = l->x};
    if (l->source->gathered) {
        sum.terms.in = lower_gather(l, i);
        sum.gathered = true;
    } else {
        sum.terms = terms_of(l, i);
        sum.exchange = l->source->ranks > 1 ? ++l->list->exchanges[l->phase] : 0;
        sum.peers = from->layer >= 0 ? l->source->absent_peers : 0;
        sum.peer_slots = l->peer_slots;
        sum.stand_in = l->stand_in;
    }
    int32_t last = absorb_taps(l, i, &sum), norm = last + 1;
    if (norm < l->end && l->program->ops[norm].kind == SLIP_OP_NORM && !l->program->ops[norm].logit_rows) {
        sum.norm = slip_lower_vector(l, l->program->ops[norm].weight[0]);
        sum.operand = slip_lower_operand(l, norm + 1, l->program->ops[norm].out, sum.hidden, true);
        sum.by_row = l->by_row = codes_by_row(l, norm + 1, &sum.operand);
        last = norm;
    }
    set_owners(l, last + 1, &sum);
    slip_lower_append(l, SLIP_CUDA_REDUCE_NORM, i, last)->reduce_norm = sum;
    return last;
}

int32_t slip_lower_tap(lowering *l, int32_t i)
{
    (void)l;
    assert(!"a TAP follows an ALLREDUCE");
    return i;
}

/* A NORM of what a product left behind; one behind an ALLREDUCE is absorbed there. */
int32_t slip_lower_norm(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    int32_t hidden = (int32_t)l->program->width[SLIP_BUFFER_X];
    slip_cuda_reduce_norm sum = {.terms.in = l->partial[from->in], .tap = -1, .hidden = hidden};
    if (!from->logit_rows) {
        sum.norm = slip_lower_vector(l, from->weight[0]);
        sum.operand = slip_lower_operand(l, i + 1, from->out, hidden, true);
        sum.by_row = l->by_row = codes_by_row(l, i + 1, &sum.operand);
    }
    slip_lower_append(l, SLIP_CUDA_REDUCE_NORM, i, i)->reduce_norm = sum;
    return i;
}

/* ---- SELECT ---- */

void slip_memory_select(lowering *l)
{
    slip_memory_operand(l, SLIP_BUFFER_SELECT, l->logit_groups);
}

/* With the NORM behind it. */
int32_t slip_lower_select(lowering *l, int32_t i)
{
    const slip_op *norm = &l->program->ops[i + 1];
    int32_t hidden = (int32_t)l->program->width[SLIP_BUFFER_X];
    assert(i + 1 < l->end && norm->kind == SLIP_OP_NORM && norm->logit_rows);
    slip_cuda_op *op = slip_lower_append(l, SLIP_CUDA_SELECT, i, i + 1);
    op->logit_rows = true;
    op->select = (slip_cuda_select){
        .x = l->x,
        .norm = slip_lower_vector(l, norm->weight[0]),
        .hidden = hidden,
        .operand = slip_lower_operand(l, i + 2, SLIP_BUFFER_SELECT, hidden, true),
    };
    return i + 1;
}

/* ---- SWIGLU ---- */

void slip_memory_swiglu(lowering *l)
{
    slip_memory_operand(l, SLIP_BUFFER_ACT, l->groups);
}

int32_t slip_lower_swiglu(lowering *l, int32_t i)
{
    const slip_op *from = &l->program->ops[i];
    slip_lower_append(l, SLIP_CUDA_SWIGLU, i, i)->swiglu = (slip_cuda_swiglu){
        .in = l->partial[from->in],
        .width = from->column,
        .operand = slip_lower_operand(l, i + 1, SLIP_BUFFER_ACT, from->column, false),
    };
    return i;
}

/* ---- sampling ---- */

void slip_memory_sample(lowering *l)
{
    const size_t rows = (size_t)l->logit_groups * SLIP_TOKENS, sms = (size_t)l->source->sms;
    const size_t candidates = l->program->walk.slots > 0 ? SLIP_SLICES : sms; /* of a row */
    l->sample.candidates = slip_block_alloc(l->block, candidates * rows * sizeof(slip_candidate));
    l->sample.highest = slip_block_alloc(l->block, sms * rows * sizeof(float));
}

void slip_memory_histogram(lowering *l)
{
    const size_t rows = (size_t)l->logit_groups * SLIP_TOKENS;
    if (!l->source->histograms)
        return;
    l->sample.sums = slip_block_alloc(l->block, rows * sizeof(slip_histogram));
    l->sample.count = slip_block_alloc(l->block, rows * sizeof(unsigned));
}

void slip_memory_adjust(lowering *l)
{
    if (l->source->histograms)
        l->resample.unadjusted = slip_block_alloc(l->block, SLIP_MAX_ADJUSTED * sizeof(float));
}

void slip_memory_likeliest(lowering *l)
{
    const size_t rows = (size_t)l->logit_groups * SLIP_TOKENS, sms = (size_t)l->source->sms;
    if (l->source->histograms)
        l->resample.found = slip_block_alloc(l->block, sms * rows * sizeof(slip_likeliest));
}

void slip_memory_likeliest_merge(lowering *l)
{
    (void)l; /* the host's */
}

static slip_cuda_walk walk_of(const lowering *l)
{
    const slip_walk *walk = &l->program->walk;
    slip_cuda_walk out = {.slots = walk->slots, .rank = walk->rank, .alone = l->source->ranks <= 1};
    if (walk->slots == 0 || walk->previous == SLIP_NO_WEIGHT)
        return out;
    out.previous = l->source->tensors[walk->previous].table;
    out.following = l->source->tensors[walk->following].table;
    out.vocabulary = (int32_t)l->program->tensors[walk->previous].rows;
    return out;
}

static void append_sampling(lowering *l, slip_cuda_op_kind kind)
{
    slip_cuda_op *op = slip_lower_append(l, kind, l->end - 1, l->end - 1);
    op->logit_rows = true;
    op->sample = l->sample;
    op->sample.in = l->partial[SLIP_BUFFER_LOGITS];
    op->sample.vocabulary_first = l->program->vocabulary.first;
    op->sample.vocabulary_count = l->program->vocabulary.count;
    op->sample.walk = walk_of(l);
    op->sample.histograms = l->source->histograms;
    op->sample.logits = l->source->logits;
}

void slip_lower_sample(lowering *l)
{
    l->list->sample = l->list->count;
    append_sampling(l, SLIP_CUDA_SAMPLE);
    if (l->source->histograms)
        append_sampling(l, SLIP_CUDA_HISTOGRAM);
}

static void append_resampling(lowering *l, slip_cuda_op_kind kind)
{
    slip_cuda_op *op = slip_lower_append(l, kind, l->end - 1, l->end - 1);
    op->logit_rows = true;
    op->resample = l->resample;
    op->resample.in = l->partial[SLIP_BUFFER_LOGITS];
    op->resample.vocabulary_first = l->program->vocabulary.first;
    op->resample.vocabulary_count = l->program->vocabulary.count;
    op->resample.adjusting = l->source->adjusting;
    op->resample.likeliest = l->source->likeliest;
}

void slip_lower_again(lowering *l)
{
    l->list->again = l->list->count;
    append_resampling(l, SLIP_CUDA_ADJUST);
    append_resampling(l, SLIP_CUDA_LIKELIEST);
    append_resampling(l, SLIP_CUDA_LIKELIEST_MERGE);
    append_sampling(l, SLIP_CUDA_SAMPLE);
    append_sampling(l, SLIP_CUDA_HISTOGRAM);
    l->list->again_count = l->list->count - l->list->again;
}

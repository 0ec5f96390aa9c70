#include "coordinator/pace/pace.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    FIRST_PAUSE = 4,     /* steps until the first try */
    SHORTEST_PAUSE = 16, /* after a try that changed something */
    DRAFTING_PAUSE = 64, /* the longest while drafting pays */
    LONGEST_PAUSE = 256, /* the longest while it does not */
    LENGTHS = 2 + SLIP_MAX_BLOCK / 4 + 1,
};

/* 1, 2, 4, 8, 12, ... and the block itself; returns how many. */
static int lengths_of(int32_t block, int32_t *lengths)
{
    int count = 0;
    for (int32_t rows = 1; rows < block; rows += rows < 4 ? rows : 4)
        lengths[count++] = rows;
    lengths[count++] = block;
    return count;
}

/* A step as it is being put together. */
typedef struct {
    int32_t rows, drafted;
    double tokens, context; /* expected; those of the drafted sequences, which become context */
} plan;

static double tokens_per_ms(const slip_pace *pace, const plan *p)
{
    return p->tokens / (slip_pace_ms(pace, p->rows, p->drafted) + pace->context_ms * p->context);
}

/* What the choice is made of. */
typedef struct {
    int32_t lengths[LENGTHS];
    int length_count;
    int32_t count;
    double tokens[SLIP_MAX_SPANS][LENGTHS]; /* that a sequence's lengths promise */
    int at[SLIP_MAX_SPANS];                 /* which length it has */
} offers;

static void make_offers(const slip_pace *pace, int32_t block, int32_t count, const slip_chances *const *chances, offers *o)
{
    double tokens[SLIP_MAX_BLOCK];
    o->length_count = lengths_of(block, o->lengths);
    o->count = count;
    for (int32_t i = 0; i < count; i++) {
        slip_chances_expect(chances[i], &pace->all, block, tokens);
        for (int k = 0; k < o->length_count; k++)
            o->tokens[i][k] = tokens[o->lengths[k] - 1];
    }
}

/* Sequence `i` with the first `lengths[to]` rows of its block. */
typedef struct {
    int32_t i;
    int to;
} offer;

/* The plan with a sequence's rows at length `to` in place of `from`, where that adds `gain` tokens. */
static plan with(const offers *o, const plan *p, int from, int to, double gain)
{
    return (plan){.rows = p->rows + o->lengths[to] - o->lengths[from],
                  .drafted = p->drafted + (from == 0),
                  .tokens = p->tokens + gain,
                  .context = p->context + gain + (from == 0)};
}

/* Milliseconds that a length adds to a step for a sequence that has one row so far, its draft included, and for one that has the length before. */
typedef struct {
    double first[LENGTHS], next[LENGTHS];
} prices;

/* Where rows cost nothing, fewer are still cheaper. */
static double price_of(const slip_pace *pace, plan more, const plan *p, double now, int32_t room)
{
    const double ms = slip_pace_ms(pace, more.rows, more.drafted) - now, least = 1e-6 * (more.rows - p->rows);
    return more.rows > room ? INFINITY : ms > least ? ms : least;
}

static void make_prices(const slip_pace *pace, const offers *o, const plan *p, int32_t room, prices *price)
{
    const double now = slip_pace_ms(pace, p->rows, p->drafted);
    for (int to = 1; to < o->length_count; to++) {
        price->first[to] = price_of(pace, with(o, p, 0, to, 0), p, now, room);
        price->next[to] = price_of(pace, with(o, p, to - 1, to, 0), p, now, room);
    }
}

/* The longer block that promises most tokens a millisecond; false: none fits. A sequence that has one row may begin with any length, since
 * more rows carry the price of its draft together. */
static bool best_offer(const offers *o, const prices *price, offer *best)
{
    double most = 0;
    for (int32_t i = 0; i < o->count; i++) {
        const int at = o->at[i];
        for (int to = at + 1; to < o->length_count && (at == 0 || to == at + 1); to++) {
            double worth = (o->tokens[i][to] - o->tokens[i][at]) / (at == 0 ? price->first[to] : price->next[to]);
            if (worth > most) {
                most = worth;
                *best = (offer){i, to};
            }
        }
    }
    return most > 0;
}

/* The most expected tokens a millisecond; returns whether anything is drafted. */
static bool choose_best(const slip_pace *pace, offers *o, int32_t room, int32_t *rows)
{
    plan p = {.rows = o->count, .tokens = o->count};
    prices price;
    offer next = {0};
    double most = tokens_per_ms(pace, &p);
    int best[SLIP_MAX_SPANS] = {0};
    for (make_prices(pace, o, &p, room, &price); best_offer(o, &price, &next); make_prices(pace, o, &p, room, &price)) {
        const int from = o->at[next.i];
        p = with(o, &p, from, next.to, o->tokens[next.i][next.to] - o->tokens[next.i][from]);
        o->at[next.i] = next.to;
        double rate = tokens_per_ms(pace, &p);
        if (rate > most) {
            most = rate;
            memcpy(best, o->at, sizeof best);
        }
    }
    bool drafting = false;
    for (int32_t i = 0; i < o->count; i++) {
        rows[i] = o->lengths[best[i]];
        drafting |= rows[i] > 1;
    }
    return drafting;
}

static void take_all(int32_t *rows, int32_t count, int32_t length)
{
    for (int32_t i = 0; i < count; i++)
        rows[i] = length;
}

/* The length for all of them that was not measured for the longest time. One row is measured anyway while nothing is drafted. */
static int32_t longest_ago(const slip_pace *pace, const offers *o, int32_t room)
{
    int32_t length = 1;
    int64_t oldest = INT64_MAX;
    for (int k = pace->drafting ? 0 : 1; k < o->length_count && o->count * o->lengths[k] <= room; k++) {
        int64_t when = slip_step_times_when(&pace->steps, o->count * o->lengths[k]);
        if (when < oldest) {
            oldest = when;
            length = o->lengths[k];
        }
    }
    return length;
}

/* How long to wait for the next try, behind a choice that drafts or not. */
static void set_pause(slip_pace *pace, bool drafting)
{
    int32_t longest = drafting ? DRAFTING_PAUSE : LONGEST_PAUSE;
    if (pace->pause == 0)
        pace->pause = FIRST_PAUSE;
    else if (pace->tried)
        pace->pause = drafting != pace->drafting ? SHORTEST_PAUSE : 2 * pace->pause;
    pace->pause = pace->pause < longest ? pace->pause : longest;
    pace->tried = false;
    pace->drafting = drafting;
}

void slip_pace_choose(slip_pace *pace, int32_t block, int32_t room, int32_t count, const slip_chances *const *chances, int32_t *rows)
{
    offers o = {0};
    assert(count > 0 && count <= SLIP_MAX_SPANS && count <= room && block > 1 && block <= SLIP_MAX_BLOCK);
    make_offers(pace, block, count, chances, &o);
    pace->steps_chosen++;
    if (slip_step_times_ms(&pace->steps, count) == 0) { /* the first step of all */
        take_all(rows, count, count * block <= room ? block : 1);
        return;
    }
    set_pause(pace, choose_best(pace, &o, room, rows));
    if (++pace->since_try < pace->pause)
        return;
    pace->since_try = 0;
    pace->tried = true;
    take_all(rows, count, longest_ago(pace, &o, room));
}

void slip_pace_record(slip_pace *pace, int32_t rows, double ms)
{
    slip_step_times_add(&pace->steps, rows, ms, pace->steps_chosen);
}

void slip_pace_record_draft(slip_pace *pace, int32_t sequences, double ms, int32_t tokens, double context_ms)
{
    slip_step_times_add(&pace->drafts, sequences, ms, pace->steps_chosen);
    if (tokens > 0)
        pace->context_ms = slip_blend_ms(pace->context_ms, context_ms / tokens, SLIP_BLEND);
}

void slip_pace_count(slip_pace *pace, slip_chances *sequence, int32_t drafts, int32_t accepted)
{
    slip_chances_fade(sequence, drafts > 0 ? SLIP_CHANCES_KEPT : SLIP_CHANCES_KEPT_UNDRAFTED);
    slip_chances_fade(&pace->all, drafts > 0 ? SLIP_CHANCES_ALL_KEPT : SLIP_CHANCES_ALL_KEPT_UNDRAFTED);
    slip_chances_count(sequence, drafts, accepted);
    slip_chances_count(&pace->all, drafts, accepted);
}

double slip_pace_ms(const slip_pace *pace, int32_t rows, int32_t drafted)
{
    double ms = slip_step_times_ms(&pace->steps, rows);
    return ms > 0 && drafted > 0 ? ms + slip_step_times_ms(&pace->drafts, drafted) : ms;
}

#include "coordinator/budget.h"

/* Beyond what was measured rows cost in proportion. */
static double added_ms(const slip_budget *budget, int32_t rows)
{
    const double ms = slip_step_times_ms(&budget->added, rows);
    return rows > budget->largest ? ms * rows / budget->largest : ms;
}

int32_t slip_budget_rows(const slip_budget *budget, double budget_ms, double decode_ms)
{
    const double room = budget_ms - decode_ms;
    int32_t yes = SLIP_BUDGET_LEAST, no = SLIP_MAX_ROWS + 1;
    if (slip_step_times_when(&budget->added, SLIP_BUDGET_LEAST) == 0)
        return SLIP_BUDGET_LEAST;
    while (no - yes > 1) {
        const int32_t middle = (yes + no) / 2;
        if (added_ms(budget, middle) <= room)
            yes = middle;
        else
            no = middle;
    }
    return yes;
}

void slip_budget_record(slip_budget *budget, int32_t rows, double decode_ms, double ms)
{
    if (rows <= 0 || ms <= decode_ms)
        return;
    slip_step_times_add(&budget->added, rows, ms - decode_ms, ++budget->steps);
    budget->largest = rows > budget->largest ? rows : budget->largest;
}

#include "coordinator/budget.h"

#include "coordinator/pace/times.h"

int32_t slip_budget_rows(const slip_budget *budget, double budget_ms, double decode_ms)
{
    double room = budget_ms - decode_ms;
    if (budget->row_ms == 0 || room < SLIP_BUDGET_LEAST * budget->row_ms)
        return SLIP_BUDGET_LEAST;
    double rows = room / budget->row_ms;
    return rows < INT32_MAX ? (int32_t)rows : INT32_MAX;
}

void slip_budget_record(slip_budget *budget, int32_t rows, double decode_ms, double ms)
{
    if (rows > 0 && ms > decode_ms)
        budget->row_ms = slip_blend_ms(budget->row_ms, (ms - decode_ms) / rows, SLIP_BLEND);
}

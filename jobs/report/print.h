/* The report in its three forms. */
#ifndef SLIP_JOBS_REPORT_PRINT_H
#define SLIP_JOBS_REPORT_PRINT_H

#include <jansson.h>
#include <stdio.h>

#include "jobs/report/figures.h"

/* Tables for a reader. */
void slip_report_print(const slip_trace_data *data, const slip_report *report, FILE *out);

/* The figures as members of `object` (docs/json.md). */
slip_status slip_report_json(const slip_trace_data *data, const slip_report *report, json_t *object);

/* One page that needs nothing else: tables and plots. */
slip_status slip_report_html(const slip_trace_data *data, const slip_report *report, FILE *out);

#endif

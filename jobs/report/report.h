/* slipstream report: what a trace tells (batch --trace). */
#ifndef SLIP_JOBS_REPORT_REPORT_H
#define SLIP_JOBS_REPORT_REPORT_H

#include <stdbool.h>

#include "io/base/status.h"

typedef struct {
    const char *trace;
    const char *html; /* file to write; NULL: none */
    bool json;        /* one object instead of tables */
    int argc;
    char **argv;
} slip_report_options;

slip_status slip_report_show(const slip_report_options *options);

#endif

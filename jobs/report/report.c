/* slipstream report: what a trace tells (batch --trace), as tables, as one object or as a page. */
#include "jobs/options/commands.h"

#include <stdio.h>

#include "io/report/output.h"
#include "io/report/summary.h"
#include "jobs/report/page.h"
#include "jobs/report/print.h"

typedef struct {
    const slip_trace_data *data;
    const slip_report *report;
} contents;

static slip_status put_page(const void *context, FILE *out)
{
    const contents *c = context;
    return slip_report_html(c->data, c->report, out);
}

static slip_status write_page(const char *path, const slip_trace_data *data, const slip_report *report)
{
    slip_output *output;
    slip_status status = slip_output_claim(path, false, true, &output);
    if (status != SLIP_OK)
        return status;
    status = slip_page_write(path, put_page, &(contents){data, report});
    slip_output_close(output, status == SLIP_OK);
    return status;
}

static slip_status print_json(int argc, char **argv, const slip_trace_data *data, const slip_report *report)
{
    json_t *object = slip_summary_begin("report", argc, argv);
    slip_status status = object ? slip_report_json(data, report, object) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK)
        return slip_summary_print(object);
    json_decref(object);
    return status;
}

slip_status slip_report_trace(const slip_options *options, int argc, char **argv)
{
    slip_trace_data data = {0};
    slip_report report;
    slip_status status = slip_trace_read(options->model, &data);
    if (status != SLIP_OK)
        return status;
    status = slip_report_make(&data, &report);
    if (status != SLIP_OK) {
        slip_trace_data_free(&data);
        return status;
    }
    if (options->html)
        status = write_page(options->html, &data, &report);
    if (status == SLIP_OK && options->json)
        status = print_json(argc, argv, &data, &report);
    else if (status == SLIP_OK)
        slip_report_print(&data, &report, stdout);
    slip_report_free(&report);
    slip_trace_data_free(&data);
    return status;
}

/* A page of plots and tables that needs nothing else: HTML with the style that the plots' classes want. */
#ifndef SLIP_JOBS_REPORT_PAGE_H
#define SLIP_JOBS_REPORT_PAGE_H

#include <stdio.h>

#include "io/base/status.h"

/* The page as far as its heading, a table as the terminal shows it, and the page's end. Texts are escaped. */
void slip_page_begin(const char *title, const char *heading, FILE *out);
void slip_page_table(const char *text, FILE *out);
void slip_page_end(FILE *out);

/* Write what `put` makes of `context` to a file, which the caller has claimed. */
slip_status slip_page_write(const char *path, slip_status (*put)(const void *context, FILE *out), const void *context);

#endif

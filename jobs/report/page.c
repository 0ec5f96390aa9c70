#include "jobs/report/page.h"

#include <errno.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/report/output.h"

static const char style[] =
    "<style>\n"
    ":root{color-scheme:light dark;--page:#fbfbfa;--ink:#1c2024;--dim:#5d666f;--grid:#dfe2e5;--a:#2b6cb0;--b:#c2631a;--c:#3a8a58}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#16191d;--ink:#e6e8ea;--dim:#9aa3ab;--grid:#343a41;--a:#6cabf0;--b:#f0a45c;--c:#6fcb94}"
    "}\n"
    "body{margin:2rem auto;max-width:84rem;padding:0 1.5rem;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.4rem;margin:0 0 .3rem;overflow-wrap:anywhere}p{margin:.2rem 0;color:var(--dim);overflow-wrap:anywhere}\n"
    "main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,34rem),1fr));gap:1.5rem;margin:1.5rem 0}\n"
    "figure{margin:0}svg{width:100%;height:auto}pre{font:13px/1.45 ui-monospace,monospace;overflow-x:auto}\n"
    "svg text{fill:var(--dim);font:12px system-ui,sans-serif}svg .title{fill:var(--ink);font-size:15px;font-weight:600}\n"
    ".grid{stroke:var(--grid)}.mark{stroke:var(--dim);stroke-dasharray:4 4}\n"
    ".a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}\n"
    "</style>\n";

static void put_text(const char *text, FILE *out)
{
    for (const char *c = text; *c; c++) {
        if (*c == '&')
            fputs("&amp;", out);
        else if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '>')
            fputs("&gt;", out);
        else if (*c == '"')
            fputs("&quot;", out);
        else
            fputc(*c, out);
    }
}

void slip_page_begin(const char *title, const char *heading, FILE *out)
{
    fputs(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>",
        out);
    put_text(title, out);
    fprintf(out, "</title>\n%s</head><body>\n<h1>", style);
    put_text(heading, out);
    fputs("</h1>\n", out);
}

void slip_page_table(const char *text, FILE *out)
{
    fputs("<pre>", out);
    put_text(text, out);
    fputs("</pre>\n", out);
}

void slip_page_end(FILE *out)
{
    fputs("</body></html>\n", out);
}

static slip_status failed(const char *path)
{
    return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", path, strerror(errno));
}

slip_status slip_page_write(const char *path, slip_status (*put)(const void *context, FILE *out), const void *context)
{
    FILE *page = fopen(path, "we");
    slip_status status = page ? put(context, page) : failed(path);
    if (page && (fflush(page) != 0 || ferror(page)) && status == SLIP_OK)
        status = failed(path);
    if (page && fclose(page) != 0 && status == SLIP_OK)
        status = failed(path);
    return status;
}

/* make_pages FOLDER: the man pages and the completion for bash, from the table that makes the parser and --help. The build runs it.
 *
 * FOLDER gets slipstream.1, slipstream-COMMAND.1 and `slipstream`, the completion.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/version.h"
#include "jobs/options/table.h"
#include "ranks/model/family.h"

/* Examples are for a checkout; whoever reads a page has installed, and has files of his own. */
static const char *const checkout[] = {"build/", "jobs/demo/", "jobs/train/"};

static bool belongs(const option_row *row, int command)
{
    return (row->commands & 1u << command) != 0;
}

static size_t checkout_prefix(const char *text)
{
    for (size_t i = 0; i < sizeof checkout / sizeof checkout[0]; i++)
        if (strncmp(text, checkout[i], strlen(checkout[i])) == 0)
            return strlen(checkout[i]);
    return 0;
}

/* ---- man pages ---- */

/* Text into roff: dashes and backslashes are letters, a line that begins with a dot or a quote is no request. */
static void put_roff(FILE *file, const char *text)
{
    bool start = true;
    for (const char *c = text; *c != '\0'; c++) {
        if (start && (*c == '.' || *c == '\''))
            fputs("\\&", file);
        c += checkout_prefix(c);
        start = *c == '\n';
        if (*c == '\\')
            fputs("\\e", file);
        else if (*c == '-')
            fputs("\\-", file);
        else
            fputc(*c, file);
    }
}

static void put_option(FILE *file, const option_row *row)
{
    fputs(".TP\n", file);
    if (row->letter != 0)
        fprintf(file, "\\fB\\-%c\\fR, ", row->letter);
    fputs("\\fB\\-\\-", file);
    put_roff(file, row->name);
    fputs("\\fR", file);
    if (row->argument != NULL) {
        fputs(" \\fI", file);
        put_roff(file, row->argument);
        fputs("\\fR", file);
    }
    fputc('\n', file);
    put_roff(file, row->help);
    if (row->preset != NULL) {
        fputs(" (default: ", file);
        put_roff(file, row->preset);
        fputc(')', file);
    }
    fputc('\n', file);
}

static void put_commands(FILE *file)
{
    fputs(".SH COMMANDS\n", file);
    for (int command = 1; command < SLIP_COMMANDS; command++) {
        const command_row *row = &slip_command_rows[command];
        fprintf(file, ".TP\n\\fB%s\\fR\n", row->name);
        put_roff(file, row->purpose);
        fprintf(file, "; see \\fBslipstream\\-%s\\fR(1)\n", row->name);
    }
}

static void put_status(FILE *file)
{
    fputs(
        ".SH EXIT STATUS\n"
        ".TP\n0\ndone; of \\fBbatch\\fR: every request has its answer\n"
        ".TP\n1\nfailed\n"
        ".TP\n2\nwrong use or bad input\n"
        ".TP\n3\n\\fBbatch\\fR is done, but some requests were refused; with \\fB\\-\\-ok\\-if\\-some\\-fail\\fR this is 0\n"
        ".TP\n75\nstopped early on a signal; \\fBbatch\\fR has saved everything finished so far: run it again with \\fB\\-\\-resume\\fR\n",
        file);
}

static void put_man(FILE *file, int command)
{
    const command_row *row = &slip_command_rows[command];
    const char *dash = command == SLIP_COMMAND_NONE ? "" : "-", *gap = command == SLIP_COMMAND_NONE ? "" : " ";
    fprintf(file, ".TH SLIPSTREAM%s", dash);
    for (const char *c = row->name; *c != '\0'; c++)
        fputc(toupper((unsigned char)*c), file);
    fprintf(file, " 1 \"\" \"slipstream %s\"\n", slip_version());
    fprintf(file, ".SH NAME\nslipstream%s%s \\- ", dash, row->name);
    put_roff(file, row->purpose);
    fprintf(file, "\n.SH SYNOPSIS\n%s\\fBslipstream%s%s\\fR ",
            slip_command_runs_alone(command) ? "" : "[\\fBmpirun \\-n\\fR \\fIRANKS\\fR] ", gap, row->name);
    put_roff(file, row->usage);
    fprintf(file, "%s\n", command == SLIP_COMMAND_NONE ? "" : " [options]");
    if (command == SLIP_COMMAND_NONE)
        put_commands(file);
    fputs(".SH OPTIONS\n", file);
    for (size_t i = 0; i < slip_option_row_count; i++)
        if (belongs(&slip_option_rows[i], command))
            put_option(file, &slip_option_rows[i]);
    fputs(".SH EXAMPLES\n.nf\n", file);
    put_roff(file, row->examples);
    fputs(".fi\n", file);
    put_status(file);
    if (command != SLIP_COMMAND_NONE)
        fputs(".SH SEE ALSO\n\\fBslipstream\\fR(1)\n", file);
}

/* ---- completion ---- */

/* Words with bars between them. */
static void put_words(FILE *file, const char *words)
{
    for (const char *c = words; *c != '\0'; c++)
        fputc(*c == '|' ? ' ' : *c, file);
}

static void put_templates(FILE *file)
{
    for (const slip_family *const *family = slip_families; *family != NULL; family++)
        for (const slip_chat_template *t = (*family)->chat_templates; t != NULL && t->name != NULL; t++)
            fprintf(file, "%s ", t->name);
}

/* What an option takes, where that is one of some words. */
static void put_choices(FILE *file, int command, const option_row *row)
{
    bool templates = strcmp(row->name, "chat-template") == 0, known = row->kind == OPTION_CHOICE || row->kind == OPTION_SHAPE;
    if (!templates && !known && row->kind != OPTION_COUNT)
        return;
    fprintf(file, "    '%s --%s') words='", slip_command_rows[command].name, row->name);
    if (templates)
        put_templates(file);
    else
        put_words(file, known ? slip_option_argument(row) : "auto");
    fputs("' ;;\n", file);
}

static void put_completion(FILE *file)
{
    fputs("# bash completion for slipstream\n"
          "_slipstream() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= words=\n"
          "    [ \"$COMP_CWORD\" -gt 1 ] && command=${COMP_WORDS[1]}\n"
          "    case \"$command $previous\" in\n",
          file);
    for (int command = 1; command < SLIP_COMMANDS; command++)
        for (size_t i = 0; i < slip_option_row_count; i++)
            if (belongs(&slip_option_rows[i], command))
                put_choices(file, command, &slip_option_rows[i]);
    fputs("    *)\n        case $command in\n", file);
    for (int command = 0; command < SLIP_COMMANDS; command++) {
        fprintf(file, "        '%s') words='", slip_command_rows[command].name);
        for (int other = 1; command == SLIP_COMMAND_NONE && other < SLIP_COMMANDS; other++)
            fprintf(file, "%s ", slip_command_rows[other].name);
        for (size_t i = 0; i < slip_option_row_count; i++)
            if (belongs(&slip_option_rows[i], command))
                fprintf(file, "--%s ", slip_option_rows[i].name);
        fputs("' ;;\n", file);
    }
    fputs("        esac ;;\n"
          "    esac\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
          "}\n"
          "complete -o default -F _slipstream slipstream\n",
          file);
}

static FILE *open_page(const char *folder, const char *name, const char *command, const char *ending)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s%s%s", folder, name, *command ? "-" : "", command, ending);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        fprintf(stderr, "make_pages: %s: %s\n", path, strerror(errno));
    return file;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_pages FOLDER\n");
        return 2;
    }
    for (int command = 0; command < SLIP_COMMANDS; command++) {
        FILE *file = open_page(argv[1], "slipstream", slip_command_rows[command].name, ".1");
        if (file == NULL)
            return 1;
        put_man(file, command);
        if (fclose(file) != 0)
            return 1;
    }
    FILE *file = open_page(argv[1], "slipstream", "", "");
    if (file == NULL)
        return 1;
    put_completion(file);
    return fclose(file) != 0;
}

/* --help, from the tables of commands and options. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "jobs/options/table.h"

enum { COLUMN = 40 }; /* where the explanations begin */

static void help_commands(FILE *stream)
{
    fputs("\nCommands:\n", stream);
    for (int command = 1; command < SLIP_COMMANDS; command++)
        fprintf(stream, "  %-10s %s\n", slip_command_rows[command].name, slip_command_rows[command].purpose);
    fputs("\nslipstream COMMAND --help explains a command.\n", stream);
}

static void help_option(const option_row *row, FILE *stream)
{
    char left[64];
    int width = row->letter != 0 ? snprintf(left, sizeof left, "  -%c, --%s", row->letter, row->name)
                                 : snprintf(left, sizeof left, "      --%s", row->name);
    if (row->argument != NULL)
        snprintf(left + width, sizeof left - (size_t)width, " %s", slip_option_argument(row));
    fprintf(stream, "%-*s", COLUMN, left);
    for (const char *c = row->help; *c != '\0'; c++) {
        fputc(*c, stream);
        if (*c == '\n')
            fprintf(stream, "%*s", COLUMN, "");
    }
    if (row->preset != NULL)
        fprintf(stream, " (default: %s)", row->preset);
    fputc('\n', stream);
}

void slip_options_help(slip_command command, FILE *stream)
{
    const command_row *row = &slip_command_rows[command];
    const char *gap = command == SLIP_COMMAND_NONE ? "" : " ";
    fprintf(stream, "slipstream%s%s: %s\n\n", gap, row->name, row->purpose);
    const char *launcher = slip_command_runs_alone(command) ? "" : "[mpirun -n RANKS] ";
    fprintf(stream, "Usage: %sslipstream%s%s %s%s\n", launcher, gap, row->name, row->usage,
            command == SLIP_COMMAND_NONE ? "" : " [options]");
    if (command == SLIP_COMMAND_NONE)
        help_commands(stream);
    fputs("\nOptions:\n", stream);
    for (size_t i = 0; i < slip_option_row_count; i++)
        if ((slip_option_rows[i].commands & 1u << command) != 0)
            help_option(&slip_option_rows[i], stream);
    fprintf(stream, "\nExamples:\n%s", row->examples);
}

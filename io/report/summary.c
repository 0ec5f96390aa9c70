#include "io/report/summary.h"

#include <stdbool.h>
#include <stdio.h>

#include "io/base/file/stdout.h"
#include "io/base/version.h"

json_t *slip_summary_begin(const char *command, int argc, char **argv)
{
    json_t *words = json_array();
    for (int i = 0; i < argc; i++) { /* a word that is not UTF-8 keeps its place */
        json_t *word = json_string(argv[i]);
        json_array_append_new(words, word ? word : json_null());
    }
    return json_pack("{s:i,s:s,s:s,s:s,s:o}", "schema", 1, "version", slip_version(), "commit", slip_commit(), "command", command, "argv",
                     words);
}

slip_status slip_summary_print(json_t *object)
{
    bool made = object && (json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0 || ferror(stdout));
    json_decref(object);
    putchar('\n');
    return made ? slip_stdout_flush() : slip_fail(SLIP_ERR_FAILED, "out of memory for the figures");
}

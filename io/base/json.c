#include "io/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* jansson goes on without the bytes that it had no memory for: a text comes out shorter or "invalid", a member absent, and its parser may read
 * beyond a string's end. */
static void *allocate(size_t size)
{
    static const char why[] = "slipstream: out of memory for JSON\n";
    void *memory = malloc(size);
    if (memory != NULL)
        return memory;
    _exit(write(STDERR_FILENO, why, sizeof why - 1) < 0 ? 1 : slip_exit_status(SLIP_ERR_FAILED));
}

/* Before anybody uses jansson: it cannot change its mind later. */
__attribute__((constructor)) static void see_allocations(void)
{
    json_set_alloc_funcs(allocate, free);
}

slip_status slip_json_refuse(const char *source, const char *where, const json_error_t *error)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: %sline %d, column %d: %s", source, where, error->line, error->column, error->text);
}

/* Bytes of the UTF-8 character at `text`, 0 when there is none. jansson is the judge, so that what passes
 * here passes there. */
static size_t character(const char *text, size_t left)
{
    for (size_t size = 1; size <= 4 && size <= left; size++) {
        json_t *one = json_stringn(text, size);
        if (one != NULL) {
            json_decref(one);
            return size;
        }
    }
    return 0;
}

json_t *slip_json_text(const char *text)
{
    json_t *whole = json_string(text);
    if (whole != NULL)
        return whole;
    char *copy = strdup(text);
    if (copy == NULL)
        return NULL;
    size_t size = strlen(copy);
    for (size_t i = 0; i < size;) {
        size_t step = character(copy + i, size - i);
        if (step == 0)
            copy[i] = '?';
        i += step == 0 ? 1 : step;
    }
    whole = json_string(copy);
    free(copy);
    return whole;
}

json_t *slip_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

char *slip_json_line(const json_t *object, size_t *size)
{
    enum { FLAGS = JSON_COMPACT | JSON_REAL_PRECISION(9) };
    size_t needed = json_dumpb(object, NULL, 0, FLAGS);
    char *line = needed == 0 ? NULL : malloc(needed + 1);
    if (line == NULL)
        return NULL;
    if (json_dumpb(object, line, needed, FLAGS) != needed) {
        free(line);
        return NULL;
    }
    line[needed] = '\n';
    *size = needed + 1;
    return line;
}

const char *slip_json_fault(const json_error_t *error)
{
    return strstr(error->text, "JSON_ALLOW_NUL") != NULL ? "\\u0000 cannot stand in a text" : error->text;
}

json_t *slip_json_given(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

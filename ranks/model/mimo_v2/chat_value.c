#include "ranks/model/mimo_v2/chat_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void slip_chat_put_string(slip_text *text, const char *bytes, size_t size)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    slip_text_puts(text, "\"");
    for (size_t i = 0; i < size; i++) {
        char escape[8];
        const char *name = bytes[i] != '\0' ? strchr(named, bytes[i]) : NULL;
        if (name != NULL) {
            const char pair[2] = {'\\', letters[name - named]};
            slip_text_add(text, pair, 2);
        } else if ((unsigned char)bytes[i] < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)bytes[i]);
            slip_text_puts(text, escape);
        } else {
            slip_text_add(text, bytes + i, 1);
        }
    }
    slip_text_puts(text, "\"");
}

/* Python's repr of a double: the fewest digits that read back as the same number, an exponent below 1e-4 and
 * from 1e16. */
static void put_real(slip_text *text, double number)
{
    char shortest[40], fixed[40];
    for (int digits = 0; digits <= 16; digits++) {
        snprintf(shortest, sizeof shortest, "%.*e", digits, number);
        if (strtod(shortest, NULL) != number)
            continue;
        int exponent = atoi(strchr(shortest, 'e') + 1);
        if (exponent < -4 || exponent >= 16)
            break;
        int decimals = digits - exponent > 1 ? digits - exponent : 1;
        snprintf(fixed, sizeof fixed, "%.*f", decimals, number);
        slip_text_puts(text, fixed);
        return;
    }
    slip_text_puts(text, shortest);
}

static void put_number(slip_text *text, const json_t *value)
{
    char digits[32];
    if (json_is_real(value)) {
        put_real(text, json_real_value(value));
        return;
    }
    snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    slip_text_puts(text, digits);
}

static void put_array(slip_text *text, const json_t *array)
{
    slip_text_puts(text, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        slip_text_puts(text, i > 0 ? ", " : "");
        slip_chat_put_json(text, json_array_get(array, i));
    }
    slip_text_puts(text, "]");
}

static void put_object(slip_text *text, json_t *object)
{
    const char *key, *comma = "";
    json_t *member;
    slip_text_puts(text, "{");
    json_object_foreach (object, key, member) {
        slip_text_puts(text, comma);
        slip_chat_put_string(text, key, strlen(key));
        slip_text_puts(text, ": ");
        slip_chat_put_json(text, member);
        comma = ", ";
    }
    slip_text_puts(text, "}");
}

void slip_chat_put_json(slip_text *text, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_object(text, (json_t *)value); break;
    case JSON_ARRAY: put_array(text, value); break;
    case JSON_STRING: slip_chat_put_string(text, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
    case JSON_REAL: put_number(text, value); break;
    case JSON_TRUE: slip_text_puts(text, "true"); break;
    case JSON_FALSE: slip_text_puts(text, "false"); break;
    case JSON_NULL: slip_text_puts(text, "null"); break;
    }
}

void slip_chat_put_value(slip_text *text, const json_t *value)
{
    if (json_is_string(value))
        slip_text_add(text, json_string_value(value), json_string_length(value));
    else if (json_is_boolean(value))
        slip_text_puts(text, json_is_true(value) ? "True" : "False");
    else if (json_is_null(value))
        slip_text_puts(text, "None");
    else
        slip_chat_put_json(text, value);
}

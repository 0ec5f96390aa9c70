#include "ranks/model/mimo_v2/chat_argument.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat_value.h"

/* A value's text without white space around it. */
typedef struct {
    const char *bytes;
    size_t size;
} word;

static word trim(const char *bytes, size_t size)
{
    static const char space[] = " \t\r\n";
    while (size > 0 && memchr(space, bytes[0], sizeof space - 1) != NULL) {
        bytes++;
        size--;
    }
    while (size > 0 && memchr(space, bytes[size - 1], sizeof space - 1) != NULL)
        size--;
    return (word){bytes, size};
}

static word unpythonic(word text)
{
    static const char *const pairs[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (text.size == strlen(pairs[i][0]) && memcmp(text.bytes, pairs[i][0], text.size) == 0)
            return (word){pairs[i][1], strlen(pairs[i][1])};
    return text;
}

static bool is_kind(const json_t *value, const char *type)
{
    if (type == NULL)
        return false;
    if (strcmp(type, "integer") == 0)
        return json_is_integer(value) || (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value));
    return (strcmp(type, "number") == 0 && json_is_number(value)) || (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(type, "null") == 0 && json_is_null(value)) || (strcmp(type, "object") == 0 && json_is_object(value)) ||
           (strcmp(type, "array") == 0 && json_is_array(value));
}

static bool allows(const json_t *schema, const json_t *value);

static bool one_allows(const json_t *schemas, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(schemas); i++)
        if (allows(json_array_get(schemas, i), value))
            return true;
    return false;
}

static bool allows(const json_t *schema, const json_t *value)
{
    const json_t *type = json_object_get(schema, "type");
    for (size_t i = 0; i < json_array_size(type); i++)
        if (is_kind(value, json_string_value(json_array_get(type, i))))
            return true;
    return is_kind(value, json_string_value(type)) || one_allows(json_object_get(schema, "anyOf"), value) ||
           one_allows(json_object_get(schema, "oneOf"), value);
}

/* The JSON that the text spells, if the schema allows it; a new JSON string, or NULL. */
static json_t *typed(const json_t *schema, const char *bytes, size_t size)
{
    word text = unpythonic(trim(bytes, size));
    json_t *value = json_loadb(text.bytes, text.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    bool fine = value != NULL && allows(schema, value);
    json_decref(value);
    return fine ? json_stringn(text.bytes, text.size) : NULL;
}

static json_t *quoted(const char *bytes, size_t size)
{
    slip_text text = {0};
    slip_chat_put_string(&text, bytes, size);
    json_t *string = text.failed ? NULL : json_stringn(text.bytes, text.size);
    slip_text_free(&text);
    return string;
}

bool slip_chat_argument_set(json_t *arguments, const json_t *function, const char *key, size_t key_size, const char *value, size_t size)
{
    char *name = strndup(key, key_size);
    if (name == NULL)
        return false;
    const json_t *properties = json_object_get(json_object_get(function, "parameters"), "properties");
    json_t *text = typed(json_object_get(properties, name), value, size);
    bool fine = json_object_set_new(arguments, name, text != NULL ? text : quoted(value, size)) == 0;
    free(name);
    return fine;
}

json_t *slip_chat_argument_text(json_t *arguments)
{
    const char *key;
    json_t *value;
    slip_text text = {0};
    slip_text_puts(&text, "{");
    json_object_foreach (arguments, key, value) {
        slip_text_puts(&text, text.size > 1 ? ", " : "");
        slip_chat_put_string(&text, key, strlen(key));
        slip_text_puts(&text, ": ");
        slip_text_add(&text, json_string_value(value), json_string_length(value));
    }
    slip_text_puts(&text, "}");
    json_t *string = text.failed ? NULL : json_stringn(text.bytes, text.size);
    slip_text_free(&text);
    return string;
}

#include "ranks/model/mimo_v2/chat_tools.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat_value.h"
#include "io/base/json.h"
#include "io/base/utf8.h"

static const char OPENING[] = "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                              "You have access to the following functions:\n\n<tools>";

static const char INSTRUCTIONS[] =
    "\n</tools>\n\nFor each function call, output the function name and arguments in the following format:\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>value_1</parameter>\n"
    "<parameter=example_parameter_2>This is the value for the second parameter\nthat can span\nmultiple lines"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested "
    "within <tool_call></tool_call> XML tags\n"
    "- DO NOT use function calls inside <think></think> tags.\n"
    "- The value enclosed between parameter tags is preserved exactly as-is, including newlines and spaces.\n"
    "</IMPORTANT>";

/* Where a value stands: the field for messages. */
typedef struct {
    char name[200];
} place;

static place inside(const place *outer, const char *member)
{
    place made;
    snprintf(made.name, sizeof made.name, "%.120s.%.70s", outer->name, member);
    return made;
}

static slip_status refuse(const place *where, const char *member, const char *should)
{
    place field = inside(where, member);
    return slip_fail(SLIP_ERR_INPUT, "%s %s", field.name, should);
}

static void put_tag(slip_text *text, const char *prefix, const char *tag, const char *suffix)
{
    slip_text_puts(text, prefix);
    slip_text_puts(text, tag);
    slip_text_puts(text, suffix);
}

/* "\n<tag>value</tag>" */
static void put_element(slip_text *text, const char *tag, const json_t *value)
{
    put_tag(text, "\n<", tag, ">");
    slip_chat_put_value(text, value);
    put_tag(text, "</", tag, ">");
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* The text without the white space about it, as Python's str.strip() has it. */
static void put_trimmed(slip_text *text, const char *bytes, size_t size)
{
    size_t begin = 0, end = 0;
    bool begun = false;
    for (size_t at = 0; at < size;) {
        uint32_t c;
        size_t start = at;
        at += slip_utf8_get(bytes + at, &c);
        if (is_space(c))
            continue;
        begin = begun ? begin : start;
        begun = true;
        end = at;
    }
    slip_text_add(text, bytes + begin, end - begin);
}

static slip_status put_description(slip_text *text, const place *where, const json_t *object)
{
    const json_t *value = slip_json_given(object, "description");
    if (value == NULL)
        return SLIP_OK;
    if (!json_is_string(value))
        return refuse(where, "description", "is not a string");
    slip_text_puts(text, "\n<description>");
    put_trimmed(text, json_string_value(value), json_string_length(value));
    slip_text_puts(text, "</description>");
    return SLIP_OK;
}

/* A JSON schema's type is a word or an array of words; Python prints the latter as ['string', 'null']. */
static slip_status put_type(slip_text *text, const place *where, const json_t *value)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    slip_text_puts(text, json_is_array(value) ? "\n<type>[" : "\n<type>");
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_is_array(value) ? json_array_get(value, i) : value);
        if (word == NULL || word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_ ")] != '\0')
            return refuse(where, "type", "is not the name of a type, or an array of names");
        slip_text_puts(text, i > 0 ? ", " : "");
        put_tag(text, json_is_array(value) ? "'" : "", word, json_is_array(value) ? "'" : "");
    }
    slip_text_puts(text, json_is_array(value) ? "]</type>" : "</type>");
    return SLIP_OK;
}

/* The members that have no form of their own; `handled` ends in NULL. */
static void put_others(slip_text *text, json_t *object, const char *const *handled)
{
    const char *key;
    json_t *value;
    json_object_foreach (object, key, value) {
        size_t i = 0;
        while (handled[i] != NULL && strcmp(handled[i], key) != 0)
            i++;
        if (handled[i] == NULL)
            put_element(text, key, value);
    }
}

static slip_status put_parameter(slip_text *text, const place *where, const char *name, json_t *schema)
{
    static const char *const handled[] = {"name", "type", "description", NULL};
    slip_status status = SLIP_OK;
    if (!json_is_object(schema))
        return slip_fail(SLIP_ERR_INPUT, "%s is not an object", where->name);
    put_tag(text, "\n<parameter>\n<name>", name, "</name>");
    if (slip_json_given(schema, "type") != NULL)
        status = put_type(text, where, json_object_get(schema, "type"));
    if (status == SLIP_OK)
        status = put_description(text, where, schema);
    put_others(text, schema, handled);
    slip_text_puts(text, "\n</parameter>");
    return status;
}

static slip_status put_parameters(slip_text *text, const place *where, json_t *schema)
{
    static const char *const handled[] = {"type", "properties", NULL};
    json_t *properties = slip_json_given(schema, "properties"), *property;
    const char *name;
    if (schema != NULL && !json_is_object(schema))
        return slip_fail(SLIP_ERR_INPUT, "%s is not an object", where->name);
    if (properties != NULL && !json_is_object(properties))
        return refuse(where, "properties", "is not an object");
    slip_text_puts(text, "\n<parameters>");
    json_object_foreach (properties, name, property) {
        place outer = inside(where, "properties"), field = inside(&outer, name);
        slip_status status = put_parameter(text, &field, name, property);
        if (status != SLIP_OK)
            return status;
    }
    put_others(text, schema, handled);
    slip_text_puts(text, "\n</parameters>");
    return SLIP_OK;
}

/* The function of a tool, and where it stands. */
static slip_status take_function(size_t index, const json_t *tool, place *where, json_t **function, const char **name)
{
    const char *type = json_string_value(json_object_get(tool, "type"));
    json_t *found = json_object_get(tool, "function");
    snprintf(where->name, sizeof where->name, "tools[%zu]", index);
    if (type == NULL || strcmp(type, "function") != 0)
        return refuse(where, "type", "is not \"function\", the one kind of tool there is");
    if (!json_is_object(found))
        return refuse(where, "function", "is not an object");
    *where = inside(where, "function");
    *name = json_string_value(json_object_get(found, "name"));
    if (*name == NULL || (*name)[0] == '\0')
        return refuse(where, "name", "is not a name");
    *function = found;
    return SLIP_OK;
}

static slip_status put_tool(slip_text *text, size_t index, const json_t *tool)
{
    static const char *const handled[] = {"type", "name", "description", "parameters", NULL};
    place where;
    json_t *function;
    const char *name;
    slip_status status = take_function(index, tool, &where, &function, &name);
    if (status != SLIP_OK)
        return status;
    put_tag(text, "\n<function>\n<name>", name, "</name>");
    status = put_description(text, &where, function);
    if (status != SLIP_OK)
        return status;
    place parameters = inside(&where, "parameters");
    status = put_parameters(text, &parameters, slip_json_given(function, "parameters"));
    put_others(text, function, handled);
    slip_text_puts(text, "\n</function>");
    return status;
}

static slip_status put_tool_as_json(slip_text *text, size_t index, const json_t *tool)
{
    place where;
    json_t *function;
    const char *name;
    slip_text_puts(text, "\n");
    slip_chat_put_json(text, tool);
    return take_function(index, tool, &where, &function, &name);
}

static slip_status put_all(slip_text *text, const json_t *tools, const char *before, const char *behind,
                           slip_status (*put)(slip_text *text, size_t index, const json_t *tool))
{
    if (tools == NULL || json_is_null(tools))
        return SLIP_OK;
    if (!json_is_array(tools))
        return slip_fail(SLIP_ERR_INPUT, "tools is not an array");
    slip_status status = SLIP_OK;
    size_t count = json_array_size(tools);
    slip_text_puts(text, count > 0 ? before : "");
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        status = put(text, i, json_array_get(tools, i));
    slip_text_puts(text, count > 0 ? behind : "");
    return status;
}

slip_status slip_chat_put_tools(slip_text *text, const json_t *tools)
{
    return put_all(text, tools, OPENING, INSTRUCTIONS, put_tool);
}

slip_status slip_chat_put_tools_as_json(slip_text *text, const json_t *tools)
{
    return put_all(text, tools, "You are provided with the following tools:\n\n<tools>", "\n</tools>", put_tool_as_json);
}

#include "io/openai/request_scan.h"

#include <string.h>

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

/* Behind the string whose opening quote is at `at`; NULL when it does not end. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if (*at == '\\' && at + 1 < end)
            at++;
    }
    return NULL;
}

/* Behind the array or object that opens at `at`; NULL when it does not end. Which bracket closes which is the parser's to
 * check. */
static const char *skip_nest(const char *at, const char *end)
{
    size_t depth = 0;
    while (at != NULL && at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return NULL;
}

static const char *skip_word(const char *at, const char *end)
{
    while (at < end && memchr(",}] \t\r\n", *at, 7) == NULL)
        at++;
    return at;
}

static const char *skip_value(const char *at, const char *end)
{
    if (at == end)
        return NULL;
    if (*at == '"')
        return skip_string(at, end);
    return *at == '{' || *at == '[' ? skip_nest(at, end) : skip_word(at, end);
}

void slip_scan_start(slip_scan *scan, const char *text, size_t size)
{
    *scan = (slip_scan){.at = text, .end = text + size};
}

static bool broken(slip_scan *scan)
{
    scan->broken = true;
    return false;
}

/* From a key's quote to the end of its value. */
static bool take_member(slip_scan *scan, slip_member *member)
{
    const char *key = scan->at, *behind = skip_string(key, scan->end);
    if (behind == NULL)
        return broken(scan);
    slip_member found = {.key = key, .key_size = (size_t)(behind - key)};
    scan->broken_in = found;
    const char *colon = skip_space(behind, scan->end);
    if (colon == scan->end || *colon != ':')
        return broken(scan);
    found.value = skip_space(colon + 1, scan->end);
    const char *value_end = skip_value(found.value, scan->end);
    if (value_end == NULL || value_end == found.value)
        return broken(scan);
    found.value_size = (size_t)(value_end - found.value);
    scan->broken_in = (slip_member){0};
    scan->at = value_end;
    *member = found;
    return true;
}

bool slip_scan_next(slip_scan *scan, slip_member *member)
{
    bool first = !scan->begun;
    scan->at = skip_space(scan->at, scan->end);
    if (scan->at == scan->end || (first && *scan->at != '{'))
        return broken(scan);
    if (first) {
        scan->begun = true;
        scan->at = skip_space(scan->at + 1, scan->end);
    }
    if (scan->at < scan->end && *scan->at == '}') {
        scan->at++;
        return false;
    }
    if (!first) {
        if (*scan->at != ',')
            return broken(scan);
        scan->at = skip_space(scan->at + 1, scan->end);
    }
    if (scan->at == scan->end || *scan->at != '"')
        return broken(scan);
    return take_member(scan, member);
}

bool slip_scan_at_end(const slip_scan *scan)
{
    return skip_space(scan->at, scan->end) == scan->end;
}

json_t *slip_member_key(const slip_member *member)
{
    return json_loadb(member->key, member->key_size, JSON_DECODE_ANY, NULL);
}

bool slip_member_is(const slip_member *member, const char *name)
{
    size_t size = strlen(name);
    if (memchr(member->key, '\\', member->key_size) == NULL)
        return member->key_size == size + 2 && memcmp(member->key + 1, name, size) == 0;
    json_t *key = slip_member_key(member);
    const char *text = json_string_value(key);
    bool same = text != NULL && strcmp(text, name) == 0;
    json_decref(key);
    return same;
}

json_t *slip_member_value(const slip_member *member, json_error_t *error)
{
    return json_loadb(member->value, member->value_size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, error);
}

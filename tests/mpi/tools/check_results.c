/* What the scripts of this folder ask about files of results (io/openai/result/result.h) and about --json.
 *
 *   check_results same A B             the same custom_ids with the same answers, in any order
 *   check_results part A B             every answer of A is in B, the same
 *   check_results whole FILE           every line is whole and a result; prints how many there are
 *   check_results outcome FILE ID      prints "200 FINISH_REASON TOKENS", "4xx CODE" or "never CODE"
 *   check_results table FILE           prints of every line its custom_id as JSON, a tab, and "200 REASON", "4xx CODE PARAM" or "never CODE"
 *   check_results text FILE ID         prints the text of an answer, and a newline
 *   check_results bits FILE ID         prints the tokens of an answer with logprobs, and their bits
 *   check_results acceptance FILE      prints the mean acceptance length over all answers, with 4 decimals
 *   check_results keys FILE KEY...     FILE is one JSON object and nothing else, with these keys ("step_ms.p99")
 *   check_results agree A B KEY[=KEY]...  two such objects have the same value there, floats but for rounding; of B under the second name
 *
 * Two answers are the same when everything is, ids and hashes too, but for when it was made, how long it took and how
 * many drafts were accepted. Exit status: 0 yes, 1 no (standard error says why), 2 wrong use.
 */
#include <jansson.h>
#include <stdbool.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MIN = 3 };

typedef struct {
    json_t *by_id; /* custom_id -> line */
    size_t count;
    bool sound;
} results;

static bool complain(const char *what, const char *path, size_t line)
{
    fprintf(stderr, "%s: line %zu %s\n", path, line, what);
    return false;
}

static json_t *body_of(const json_t *line)
{
    return json_object_get(json_object_get(line, "response"), "body");
}

/* One line into the table; false when it is not a whole result or its custom_id was there before. */
static bool add_line(results *r, const char *path, const char *text, size_t size)
{
    size_t number = r->count + 1;
    if (size == 0 || text[size - 1] != '\n')
        return complain("does not end in a newline", path, number);
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const char *id = json_string_value(json_object_get(line, "custom_id"));
    const json_t *response = json_object_get(line, "response"), *error = json_object_get(line, "error");
    bool ran = json_is_object(body_of(line)) && json_is_null(error);
    bool never = json_is_null(response) && json_is_object(error);
    if (!id || (!ran && !never)) {
        json_decref(line);
        return complain("is not a result", path, number);
    }
    if (json_object_get(r->by_id, id)) {
        json_decref(line);
        return complain("answers a custom_id for the second time", path, number);
    }
    r->count++;
    return json_object_set_new(r->by_id, id, line) == 0;
}

static results read_results(const char *path)
{
    results r = {.by_id = json_object(), .sound = true};
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    ssize_t size;
    if (!file) {
        perror(path);
        r.sound = false;
        return r;
    }
    while (r.sound && (size = getline(&text, &room, file)) > 0)
        r.sound = add_line(&r, path, text, (size_t)size);
    free(text);
    fclose(file);
    return r;
}

/* Take out what may differ between two runs. */
static void forget_circumstances(json_t *line)
{
    json_t *body = body_of(line), *origin = json_object_get(body, "slipstream");
    json_object_del(body, "created");
    json_object_del(origin, "acceptance");
    json_object_del(origin, "time_to_first_token_ms");
    json_object_del(origin, "total_ms");
}

static void show_difference(const char *id, const json_t *a, const json_t *b)
{
    char *left = json_dumps(a, JSON_SORT_KEYS), *right = json_dumps(b, JSON_SORT_KEYS);
    fprintf(stderr, "%s differs:\n  %.1000s\n  %.1000s\n", id, left, right);
    free(left);
    free(right);
}

/* Is every answer of `a` in `b`? What never ran has none; it counts only if `all` lines do. */
static bool contained(const results *a, const results *b, bool all)
{
    const char *id;
    json_t *line;
    json_object_foreach (a->by_id, id, line) {
        if (!all && !body_of(line))
            continue;
        json_t *other = json_object_get(b->by_id, id);
        if (!other) {
            fprintf(stderr, "%s has no counterpart\n", id);
            return false;
        }
        forget_circumstances(line);
        forget_circumstances(other);
        if (!json_equal(line, other)) {
            show_difference(id, line, other);
            return false;
        }
    }
    return true;
}

static bool compare(const char *path, const char *other_path, bool all)
{
    results a = read_results(path), b = read_results(other_path);
    bool same = a.sound && b.sound && contained(&a, &b, all);
    if (same && all && a.count != b.count) {
        fprintf(stderr, "%s has %zu results, %s has %zu\n", path, a.count, other_path, b.count);
        same = false;
    }
    json_decref(a.by_id);
    json_decref(b.by_id);
    return same;
}

static bool print_outcome(const json_t *line)
{
    const json_t *body = body_of(line), *choice = json_array_get(json_object_get(body, "choices"), 0);
    if (!body)
        return printf("never %s\n", json_string_value(json_object_get(json_object_get(line, "error"), "code"))) > 0;
    json_int_t status = json_integer_value(json_object_get(json_object_get(line, "response"), "status_code"));
    if (!choice)
        return printf("%lld %s\n", (long long)status, json_string_value(json_object_get(json_object_get(body, "error"), "code"))) > 0;
    return printf("%lld %s %lld\n", (long long)status, json_string_value(json_object_get(choice, "finish_reason")),
                  (long long)json_integer_value(json_object_get(json_object_get(body, "usage"), "completion_tokens"))) > 0;
}

static void print_row(const json_t *line)
{
    const json_t *response = json_object_get(line, "response"), *body = body_of(line), *error = json_object_get(body, "error");
    char *id = json_dumps(json_object_get(line, "custom_id"), JSON_ENCODE_ANY);
    printf("%s\t", id);
    free(id);
    if (!body)
        printf("never %s\n", json_string_value(json_object_get(json_object_get(line, "error"), "code")));
    else if (error)
        printf("%lld %s %s\n", (long long)json_integer_value(json_object_get(response, "status_code")),
               json_string_value(json_object_get(error, "code")),
               json_is_null(json_object_get(error, "param")) ? "-" : json_string_value(json_object_get(error, "param")));
    else
        printf("200 %s\n", json_string_value(json_object_get(json_array_get(json_object_get(body, "choices"), 0), "finish_reason")));
}

/* Lines may share a custom_id here. */
static bool print_table(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    ssize_t size;
    bool sound = file != NULL;
    while (sound && (size = getline(&text, &room, file)) > 0) {
        json_t *line = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        sound = json_is_string(json_object_get(line, "custom_id"));
        if (sound)
            print_row(line);
        json_decref(line);
    }
    free(text);
    if (file)
        fclose(file);
    return sound;
}

static bool print_text(const json_t *line)
{
    const json_t *choice = json_array_get(json_object_get(body_of(line), "choices"), 0);
    const json_t *text = json_object_get(choice, "text");
    if (!text)
        text = json_object_get(json_object_get(choice, "message"), "content");
    if (!text)
        return false;
    fwrite(json_string_value(text), 1, json_string_length(text), stdout);
    return putchar('\n') != EOF;
}

/* Bits of a completion's answer by its logprobs: each token's, which must also be what top_logprobs says of it. */
static bool print_bits(const json_t *line)
{
    const json_t *choice = json_array_get(json_object_get(body_of(line), "choices"), 0), *logprobs = json_object_get(choice, "logprobs");
    const json_t *tokens = json_object_get(logprobs, "tokens");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        double mine = json_number_value(json_array_get(json_object_get(logprobs, "token_logprobs"), i));
        const json_t *tops = json_array_get(json_object_get(logprobs, "top_logprobs"), i);
        const json_t *again = json_object_get(tops, json_string_value(json_array_get(tokens, i)));
        if (!json_is_real(again) || json_real_value(again) != mine)
            return false;
        sum -= mine / log(2);
    }
    return json_array_size(tokens) > 0 && printf("%zu %.4f\n", json_array_size(tokens), sum) > 0;
}

static bool print_of(const char *path, const char *id, bool (*print)(const json_t *line))
{
    results r = read_results(path);
    const json_t *line = json_object_get(r.by_id, id);
    bool printed = line && print(line);
    if (!printed)
        fprintf(stderr, "%s: nothing to print of %s\n", path, id);
    json_decref(r.by_id);
    return printed;
}

static bool print_acceptance(const char *path)
{
    results r = read_results(path);
    const char *id;
    json_t *line;
    json_int_t steps = 0, accepted = 0;
    json_object_foreach (r.by_id, id, line) {
        const json_t *record = json_object_get(json_object_get(body_of(line), "slipstream"), "acceptance");
        steps += json_integer_value(json_object_get(record, "num_spec_steps"));
        accepted += json_integer_value(json_object_get(record, "num_accepted_draft_tokens"));
    }
    printf("%.4f\n", steps ? 1 + (double)accepted / (double)steps : 1.0);
    json_decref(r.by_id);
    return r.sound;
}

static bool count_whole(const char *path)
{
    results r = read_results(path);
    if (r.sound)
        printf("%zu\n", r.count);
    json_decref(r.by_id);
    return r.sound;
}

/* "a.b" -> object.a.b */
static const json_t *member(const json_t *object, const char *key)
{
    char name[64];
    size_t size = strcspn(key, ".");
    snprintf(name, sizeof name, "%.*s", (int)size, key);
    object = json_object_get(object, name);
    return key[size] == '.' ? member(object, key + size + 1) : object;
}

static bool has_keys(const char *path, char *const *keys, int count)
{
    json_error_t error;
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &error); /* refuses anything after the object, too */
    bool all = json_is_object(object);
    if (!all)
        fprintf(stderr, "%s: not one JSON object: %s\n", path, error.text);
    for (int i = 0; all && i < count; i++)
        if (!member(object, keys[i])) {
            fprintf(stderr, "%s: no %s\n", path, keys[i]);
            all = false;
        }
    json_decref(object);
    return all;
}

static bool agrees(const json_t *a, const json_t *b)
{
    if (!json_is_real(a) && !json_is_real(b))
        return a != NULL && json_equal(a, b);
    double x = json_number_value(a), y = json_number_value(b);
    return json_is_number(a) && json_is_number(b) && fabs(x - y) <= 1e-5 * fabs(x);
}

static bool agree(const char *first, const char *second, char *const *keys, int count)
{
    json_t *a = json_load_file(first, 0, NULL), *b = json_load_file(second, 0, NULL);
    bool all = true;
    for (int i = 0; i < count; i++) {
        char key[64];
        const char *other = strchr(keys[i], '=');
        snprintf(key, sizeof key, "%.*s", (int)strcspn(keys[i], "="), keys[i]);
        if (agrees(member(a, key), member(b, other ? other + 1 : key)))
            continue;
        char *x = json_dumps(member(a, key), JSON_ENCODE_ANY), *y = json_dumps(member(b, other ? other + 1 : key), JSON_ENCODE_ANY);
        fprintf(stderr, "%s: %s, and %s\n", keys[i], x ? x : "nothing", y ? y : "nothing");
        free(x);
        free(y);
        all = false;
    }
    json_decref(a);
    json_decref(b);
    return all;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
    bool yes;
    if (argc == 4 && strcmp(what, "same") == 0)
        yes = compare(path, argv[3], true);
    else if (argc == 4 && strcmp(what, "part") == 0)
        yes = compare(path, argv[3], false);
    else if (argc == 3 && strcmp(what, "whole") == 0)
        yes = count_whole(path);
    else if (argc == 4 && strcmp(what, "outcome") == 0)
        yes = print_of(path, argv[3], print_outcome);
    else if (argc == 4 && strcmp(what, "text") == 0)
        yes = print_of(path, argv[3], print_text);
    else if (argc == 4 && strcmp(what, "bits") == 0)
        yes = print_of(path, argv[3], print_bits);
    else if (argc == 3 && strcmp(what, "table") == 0)
        yes = print_table(path);
    else if (argc == 3 && strcmp(what, "acceptance") == 0)
        yes = print_acceptance(path);
    else if (argc > ARGUMENTS_MIN && strcmp(what, "keys") == 0)
        yes = has_keys(path, argv + 3, argc - 3);
    else if (argc > 4 && strcmp(what, "agree") == 0)
        yes = agree(path, argv[3], argv + 4, argc - 4);
    else
        return fprintf(stderr, "check_results: wrong use; see the head of its source\n"), 2;
    return yes ? 0 : 1;
}

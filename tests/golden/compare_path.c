/* compare_path ids RESULTS.jsonl ID                  prints the request's prompt and answer as one JSON array of token ids
 * compare_path check RESULTS.jsonl ID LOGITS.h5 GAP  is every token of the answer the arg max of the logits behind the tokens before it?
 *
 * RESULTS.jsonl is what `slipstream batch` wrote of greedy requests with return_token_ids; LOGITS.h5 has /logits of `slipstream score`
 * over the ids. A token may lie GAP below the highest logit; with GAP 0 it must be the arg max, the lower id among equals.
 * Exit status: 0 yes; 1 no; 2 could not compare.
 */
#include <hdf5.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

/* The first choice of the answer to `id`; NULL when there is none. The caller releases *line. */
static const json_t *find_choice(const char *path, const char *id, json_t **line)
{
    FILE *file = fopen(path, "r");
    const json_t *choice = NULL;
    json_t *one;
    while (file && !choice && (one = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL))) {
        const char *name = json_string_value(json_object_get(one, "custom_id"));
        const json_t *body = json_object_get(json_object_get(one, "response"), "body");
        if (name && strcmp(name, id) == 0)
            choice = json_array_get(json_object_get(body, "choices"), 0);
        if (choice)
            *line = one;
        else
            json_decref(one);
    }
    if (file)
        fclose(file);
    if (!choice)
        fprintf(stderr, "compare_path: %s: no answer to %s\n", path, id);
    return choice;
}

static bool print_ids(const json_t *prompt, const json_t *answer)
{
    json_t *all = json_array();
    json_array_extend(all, (json_t *)prompt);
    json_array_extend(all, (json_t *)answer);
    bool ok = json_dumpf(all, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
    json_decref(all);
    return ok;
}

/* Does the token follow from `row`? Comparisons are written so that what is not a number never does. */
static bool follows(const matrix *logits, hsize_t row, hsize_t token, double gap)
{
    const float *values = logits->values + row * logits->columns;
    hsize_t most = best(values, logits->columns);
    if (token < logits->columns && (token == most || (gap > 0 && (double)values[most] - values[token] <= gap)))
        return true;
    printf("behind %llu tokens: %llu (%g), and the arg max is %llu (%g)\n", (unsigned long long)row + 1, (unsigned long long)token,
           token < logits->columns ? (double)values[token] : 0, (unsigned long long)most, (double)values[most]);
    return false;
}

static int check(const json_t *prompt, const json_t *answer, const char *path, double gap)
{
    matrix logits = {0};
    size_t first = json_array_size(prompt), count = json_array_size(answer), wrong = 0;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0 || !read_matrix(file, "/logits", &logits) || first == 0 || logits.rows < first + count) {
        fprintf(stderr, "compare_path: %s: no /logits of %zu tokens\n", path, first + count);
        return 2;
    }
    for (size_t i = 0; i < count; i++)
        wrong += !follows(&logits, first + i - 1, (hsize_t)json_integer_value(json_array_get(answer, i)), gap);
    printf("%zu of %zu tokens behind %zu of the prompt\n", count - wrong, count, first);
    free(logits.values);
    H5Fclose(file);
    return count == 0 || wrong > 0;
}

int main(int argc, char **argv)
{
    bool ids = argc == 4 && strcmp(argv[1], "ids") == 0;
    if (!ids && (argc != 6 || strcmp(argv[1], "check") != 0)) {
        fprintf(stderr, "usage: compare_path ids RESULTS.jsonl ID | check RESULTS.jsonl ID LOGITS.h5 GAP\n");
        return 2;
    }
    json_t *line = NULL;
    const json_t *choice = find_choice(argv[2], argv[3], &line);
    if (!choice)
        return 2;
    const json_t *prompt = json_object_get(choice, "prompt_token_ids"), *answer = json_object_get(choice, "token_ids");
    int status = ids ? 2 * !print_ids(prompt, answer) : check(prompt, answer, argv[4], strtod(argv[5], NULL));
    json_decref(line);
    return status;
}

/* show_results REQUESTS RESULTS: print each prompt and its continuation, so that a person can read a demo. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The result line of a custom_id; NULL where there is none. The caller decrefs it. */
static json_t *find_result(FILE *results, const char *custom_id)
{
    char *line = NULL;
    size_t room = 0;
    json_t *found = NULL;
    rewind(results);
    while (!found && getline(&line, &room, results) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        const char *id = json_string_value(json_object_get(object, "custom_id"));
        if (id && strcmp(id, custom_id) == 0)
            found = object;
        else
            json_decref(object);
    }
    free(line);
    return found;
}

static void show(const json_t *request, const json_t *result)
{
    const char *on = isatty(STDOUT_FILENO) ? "\033[1m" : "", *off = isatty(STDOUT_FILENO) ? "\033[0m" : "";
    const json_t *body = json_object_get(json_object_get(result, "response"), "body");
    const json_t *choice = json_array_get(json_object_get(body, "choices"), 0);
    const char *text = json_string_value(json_object_get(choice, "text"));
    const char *refusal = json_string_value(json_object_get(json_object_get(body, "error"), "message"));
    const char *prompt = json_string_value(json_object_get(json_object_get(request, "body"), "prompt"));
    const char *id = json_string_value(json_object_get(request, "custom_id"));
    printf("---- %s\n%s%s%s%s\n", id ? id : "?", prompt ? prompt : "", on, text ? text : refusal ? refusal : "(no result)", off);
}

int main(int argc, char **argv)
{
    FILE *requests = argc == 3 ? fopen(argv[1], "r") : NULL, *results = argc == 3 ? fopen(argv[2], "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    if (!requests || !results) {
        fprintf(stderr, "usage: show_results REQUESTS.jsonl RESULTS.jsonl\n");
        return 2;
    }
    while (getline(&line, &room, requests) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        const char *id = json_string_value(json_object_get(request, "custom_id"));
        json_t *result = id ? find_result(results, id) : NULL;
        if (result)
            show(request, result);
        json_decref(result);
        json_decref(request);
    }
    free(line);
    fclose(requests);
    fclose(results);
    return 0;
}

/* Prompts of thousands of random conversations against those that transformers makes of the templates in tests/golden/chat, and the
 * hashes by which these templates are known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "io/base/file/lines.h"
#include "io/openai/request.h"
#include "ranks/model/chat/sha256.h"

enum { LINE_MAX_SIZE = 1 << 20 };

/* make.py says which text is where. */
static const struct {
    const char *file;
    int64_t least;
} goldens[] = {{"conversations", 3000}, {"mimo-v2.6", 1500}, {"mimo-v2.5", 1500}};

/* The texts that are kept here. */
static const char *const transcribed[] = {"mimo-v2.5", "mimo-v2-flash"};

/* The line as a request that only the template beside it renders. */
static void check_line(const slip_lines *lines)
{
    json_t *root = json_loadb(lines->line, lines->size, 0, NULL);
    assert_non_null(root);
    const slip_family *family = slip_families[0];
    slip_request_defaults defaults = {.sampling = {.temperature = 1, .top_p = 1}};
    const char *published = json_string_value(json_object_get(root, "text_sha256"));
    defaults.chat = slip_chat_template_find(family->chat_templates, json_string_value(json_object_get(root, "template")));
    assert_non_null(defaults.chat);
    if (published != NULL)
        assert_ptr_equal(slip_chat_template_of(family->chat_templates, family->chat_texts, published), defaults.chat);
    json_t *line = json_pack("{s:s, s:s, s:s, s:O}", "custom_id", "a", "method", "POST", "url", "/v1/chat/completions", "body",
                             json_object_get(root, "body"));
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)), hex[SLIP_SHA256_HEX];
    slip_request request;
    assert_int_equal(slip_request_parse(text, strlen(text), 1, &defaults, &request), SLIP_OK);
    if (request.refusal.status_code != 0)
        fail_msg("line %lld: %s", (long long)lines->number, request.refusal.message);
    slip_sha256(request.prompts->text, request.prompts->size, hex);
    if (strncmp(hex, json_string_value(json_object_get(root, "sha256")), 16) != 0)
        fail_msg("line %lld: make.py --show %lld prints what it should be; it is\n%s", (long long)lines->number, (long long)lines->number,
                 request.prompts->text);
    slip_request_free(&request);
    free(text);
    json_decref(line);
    json_decref(root);
}

static void check_file(const char *name, int64_t least)
{
    slip_lines lines;
    bool found = true;
    int64_t count = 0;
    char path[120];
    snprintf(path, sizeof path, "tests/golden/chat/%s.jsonl.gz", name);
    assert_int_equal(slip_lines_open(path, LINE_MAX_SIZE, &lines), SLIP_OK);
    while (slip_lines_next(&lines, &found) == SLIP_OK && found) {
        check_line(&lines);
        count++;
    }
    slip_lines_close(&lines);
    assert_true(count >= least);
}

static void conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++)
        check_file(goldens[i].file, goldens[i].least);
}

static void hashes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } published[] = {
        /* FIPS 180-2, appendix B, and the empty text */
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    };
    char hex[SLIP_SHA256_HEX];
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        slip_sha256(published[i].text, strlen(published[i].text), hex);
        assert_string_equal(hex, published[i].hex);
    }
    const slip_family *family = slip_families[0];
    for (size_t i = 0; i < sizeof transcribed / sizeof *transcribed; i++) {
        char path[120];
        size_t size;
        snprintf(path, sizeof path, "tests/golden/chat/%s.jinja", transcribed[i]);
        char *jinja = folder_read(path, &size);
        slip_sha256(jinja, size, hex);
        assert_ptr_equal(slip_chat_template_of(family->chat_templates, family->chat_texts, hex),
                         slip_chat_template_find(family->chat_templates, transcribed[i]));
        free(jinja);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(conversations), cmocka_unit_test(hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

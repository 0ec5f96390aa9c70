/* What a folder's generation_config.json and tokenizer_config.json say beside config.json and tokenizer.json, and contradict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "jobs/convert/generation.h"

static folder *f;
static slip_tokenizer *tokenizer; /* <|endoftext|> is 4090, <|im_end|> 4092 */

static void put(const char *name, const char *text)
{
    folder_write(f, name, text, strlen(text));
}

static slip_model read_folder(slip_status expected, const char *text)
{
    slip_model model = {.vocabulary = 4096, .eos_count = 0};
    slip_clear();
    slip_status status = slip_convert_generation(f->path, false, tokenizer, &model);
    if (status != expected)
        fail_msg("%s: status %d, \"%s\"", text, status, slip_cause());
    return model;
}

static void tokenizer_configs(void **state)
{
    (void)state;
    static const struct {
        const char *text, *cause; /* NULL: it is taken */
    } cases[] = {
        {"{\"added_tokens_decoder\":{\"4092\":{\"content\":\"<|im_end|>\",\"special\":true}}}", NULL},
        {"{\"added_tokens_decoder\":{\"4092\":{\"content\":\"<|im_end|>\",\"special\":true,\"lstrip\":false}}}", NULL},
        {"{\"added_tokens_decoder\":{\"5000\":{\"content\":\"<|later|>\",\"special\":true}}}", NULL}, /* warned of */
        {"{\"added_tokens_decoder\":null,\"add_bos_token\":null,\"eos_token\":null}", NULL},
        {"{\"added_tokens_decoder\":{\"4093\":{\"content\":\"<|im_end|>\"}}}",
         "added_tokens_decoder: 4093 is <|im_end|>, and in tokenizer.json that token has another id"},
        {"{\"added_tokens_decoder\":{\"4092\":{\"content\":\"<|im_over|>\"}}}",
         "added_tokens_decoder: 4092 is <|im_over|>, and in tokenizer.json that id is not that added token's"},
        {"{\"added_tokens_decoder\":{\"4092\":{\"content\":\"<|im_end|>\",\"special\":false}}}",
         "4092, <|im_end|>: special is false, and the contrary in tokenizer.json"},
        {"{\"added_tokens_decoder\":{\"4092\":{\"content\":\"<|im_end|>\",\"special\":true,\"rstrip\":true}}}", "rstrip is true"},
        {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"<|im_end|>\"}}}", "added_tokens_decoder: x: it is not an id"},
        {"{\"added_tokens_decoder\":{\"-1\":{\"content\":\"<|im_end|>\"}}}", "added_tokens_decoder: -1: it is not an id"},
        {"{\"added_tokens_decoder\":{\"4092\":7}}", "added_tokens_decoder: 4092: it is not an id with a token's content"},
        {"{\"added_tokens_decoder\":[]}", "added_tokens_decoder is a list of 0: it must be an object"},
        {"{\"add_bos_token\":true}", "add_bos_token is true: it contradicts tokenizer.json"},
        {"{\"add_eos_token\":true}", "add_eos_token is true: it contradicts tokenizer.json"},
        {"{\"add_prefix_space\":true}", "add_prefix_space is true: it contradicts tokenizer.json"},
        {"{\"add_bos_token\":\"no\"}", "add_bos_token is \"no\": it must be true or false"},
        {"{\"eos_token\":4092}", "eos_token is 4092: it must be a string"},
        {"{\"eos_token\":\"<|no|>\"}", "eos_token is <|no|>: it is not a token of tokenizer.json"},
        {"{\"eos_token\":\"a\",\"eos_token\":\"b\"}", "duplicate object key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("tokenizer_config.json", cases[i].text);
        read_folder(cases[i].cause == NULL ? SLIP_OK : SLIP_ERR_INPUT, cases[i].text);
        if (cases[i].cause != NULL && strstr(slip_cause(), cases[i].cause) == NULL)
            fail_msg("%s: \"%s\"", cases[i].text, slip_cause());
    }
    slip_clear();
}

/* Who says where an answer ends. */
static void ends(void **state)
{
    (void)state;
    put("tokenizer_config.json", "{}");
    slip_model model = read_folder(SLIP_OK, "no end");
    assert_int_equal(model.eos_count, 1);
    assert_int_equal(model.eos[0], 4092);
    put("tokenizer_config.json", "{\"eos_token\":\"<|endoftext|>\"}");
    assert_int_equal(read_folder(SLIP_OK, "eos_token").eos[0], 4090);
    put("generation_config.json", "{\"eos_token_id\":[7,4092]}");
    model = read_folder(SLIP_OK, "both");
    assert_int_equal(model.eos_count, 2);
    assert_int_equal(model.eos[0], 7);
    assert_int_equal(model.eos[1], 4092);
}

static int set_up(void **state)
{
    (void)state;
    size_t size;
    char *text = folder_read("tests/data/cases/checkpoints/eos-none/tokenizer.json", &size);
    f = folder_make();
    int status = slip_tokenizer_parse(text, size, "tokenizer.json", 4096, &tokenizer);
    free(text);
    return status;
}

static int tear_down(void **state)
{
    (void)state;
    slip_tokenizer_free(tokenizer);
    folder_remove(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokenizer_configs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where a folder keeps its chat template, and what a checkpoint keeps of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "jobs/convert/chat.h"
#include "ranks/model/config/settings.h"
#include "ranks/model/family.h"

/* echo -n "{{ x }}" | sha256sum, and of "other" */
static const char X[] = "e52c737297f7dad622da7e58f5a16e7437f2716daccb4da859fc567ccd75c9a4",
                  OTHER[] = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

static folder *f;

static void put(const char *name, const char *text)
{
    folder_write(f, name, text, strlen(text));
}

static slip_model read_folder(slip_status expected)
{
    slip_model model = {.family = slip_families[0]};
    slip_clear();
    assert_int_equal(slip_convert_chat(f->path, &model), expected);
    return model;
}

/* Each file comes before those that were there already. */
static void places(void **state)
{
    (void)state;
    assert_string_equal(read_folder(SLIP_OK).chat_template, "");
    put("tokenizer_config.json", "{\"eos_token\":\"<|im_end|>\",\"chat_template\":null}");
    assert_string_equal(read_folder(SLIP_OK).chat_template, "");
    put("tokenizer_config.json",
        "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"other\"},{\"name\":\"default\",\"template\":\"{{ x }}\"}]}");
    assert_string_equal(read_folder(SLIP_OK).chat_template, X);
    put("tokenizer_config.json", "{\"chat_template\":\"other\"}");
    assert_string_equal(read_folder(SLIP_OK).chat_template, OTHER);
    put("chat_template.json", "{\"chat_template\":\"{{ x }}\"}");
    assert_string_equal(read_folder(SLIP_OK).chat_template, X);
    put("chat_template.jinja", "other");
    assert_string_equal(read_folder(SLIP_OK).chat_template, OTHER);
}

static void refused(void **state)
{
    (void)state;
    put("tokenizer_config.json", "{\"chat_template\":7}");
    read_folder(SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "tokenizer_config.json: chat_template"));
    put("tokenizer_config.json", "{");
    read_folder(SLIP_ERR_INPUT);
}

/* A text that is known, and what settings keep of it. */
static void known_and_kept(void **state)
{
    (void)state;
    size_t size;
    char *text = folder_read("tests/golden/chat/mimo-v2-flash.jinja", &size);
    folder_write(f, "chat_template.jinja", text, size);
    free(text);
    slip_model model = read_folder(SLIP_OK), again = {.family = slip_families[0]};
    const slip_chat_template *found = slip_chat_template_of(model.family->chat_templates, model.family->chat_texts, model.chat_template);
    assert_non_null(found);
    assert_string_equal(found->name, "mimo-v2-flash");
    assert_null(slip_chat_template_of(model.family->chat_templates, model.family->chat_texts, X));
    char *settings = slip_settings_text(&model);
    assert_int_equal(slip_settings_apply(settings, strlen(settings), "settings", &again), SLIP_OK);
    assert_string_equal(again.chat_template, model.chat_template);
    free(settings);
    static const char bad[] = "{\"chat_template\":\"C9EA\"}";
    assert_int_equal(slip_settings_apply(bad, strlen(bad), "settings", &again), SLIP_ERR_INPUT);
    slip_clear();
}

static int make_folder(void **state)
{
    (void)state;
    f = folder_make();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    folder_remove(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(places, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(refused, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(known_and_kept, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

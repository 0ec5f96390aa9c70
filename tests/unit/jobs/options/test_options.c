/* The command line: defaults, ranges, what must and must not go together, and its help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "jobs/options/options.h"
#include "jobs/options/table.h"

enum { WORDS = 40 };

/* Parse a line of words separated by single spaces; "''" is an empty word. The options point into `copy`. */
static slip_status parse(const char *line, slip_options *options)
{
    static char copy[512];
    char *words[WORDS] = {"slipstream"};
    int count = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word != NULL && count < WORDS - 1; word = strtok(NULL, " "))
        words[count++] = strcmp(word, "''") == 0 ? "" : word;
    words[count] = NULL;
    slip_clear();
    return slip_options_parse(count, words, options);
}

static slip_options accept(const char *line)
{
    slip_options options;
    if (parse(line, &options) != SLIP_OK)
        fail_msg("%s -> %s", line, slip_cause());
    return options;
}

static void assert_refused(const char *line, const char *cause)
{
    slip_options options = {.ranks = 77};
    assert_int_equal(parse(line, &options), SLIP_ERR_INPUT);
    if (strstr(slip_cause(), cause) == NULL || strstr(slip_cause(), "--help") == NULL)
        fail_msg("%s -> %s", line, slip_cause());
    assert_int_equal(options.ranks, 77); /* set only on success */
}

static void test_generate(void **state)
{
    (void)state;
    slip_options options = accept("generate -m m.h5 -p x");
    assert_int_equal(options.command, SLIP_COMMAND_GENERATE);
    assert_string_equal(options.model, "m.h5");
    assert_string_equal(options.prompt, "x");
    assert_int_equal(options.max_tokens, 256);
    assert_true(options.sampling.temperature == 0 && options.sampling.top_p == 1 && options.deadline == 120);
    assert_int_equal(options.sampling.seed, 1);
    assert_int_equal(options.device, 0);
    assert_false(options.no_draft || options.json || options.quiet);
    options = accept("generate --model=m.h5 -n32 --prompt=-x --temperature 0.7 --top-p 0.9 --seed "
                     "9223372036854775807 --no-draft "
                     "--device cuda --deadline 1.5 --context 16777216 "
                     "--expert-slices 2 -q --json");
    assert_string_equal(options.prompt, "-x");
    assert_int_equal(options.max_tokens, 32);
    assert_true(options.sampling.temperature == 0.7 && options.sampling.top_p == 0.9 && options.deadline == 1.5);
    assert_true(options.sampling.seed == INT64_MAX);
    assert_true(accept("generate -m m -p x --seed -9223372036854775808").sampling.seed == (uint64_t)INT64_MIN);
    assert_true(options.no_draft && options.json && options.quiet);
    assert_int_equal(options.device, SLIP_DEVICE_CUDA);
    assert_int_equal(options.context, 16777216);
    assert_int_equal(options.expert_slices, 2);
}

/* Each is refused by its name, and what is in range arrives. */
static void test_sampling(void **state)
{
    (void)state;
    slip_options options = accept("generate -m m -p x --temperature 1 --top-k 40 --min-p 0.05");
    assert_true(options.sampling.top_k == 40 && options.sampling.min_p == 0.05);
    assert_true(accept("generate -m m -p x --temperature 1e-320").sampling.temperature == 1e-320);
    options = accept("batch -m m -i i -o o --top-k -1 --min-p 1");
    assert_true(options.sampling.top_k == -1 && options.sampling.min_p == 1);
    options = accept("generate -m m -p x");
    assert_true(options.sampling.top_k == 0 && options.sampling.min_p == 0);
    assert_refused("generate -m m -p x --top-k -2", "--top-k must be an integer from -1 to 2147483647");
    assert_refused("generate -m m -p x --top-k 1.5", "--top-k must be an integer");
    assert_refused("batch -m m -i i -o o --min-p 1.5", "--min-p must be a number from 0 to 1");
    assert_refused("batch -m m -i i -o o --min-p -0.5", "--min-p must be a number from 0 to 1");
    assert_refused("generate -m m -p x --top-p 0", "--top-p must be a number above 0, up to 1");
    assert_refused("score -m m -f t --top-k 4", "no option here");
}

static void test_batch(void **state)
{
    (void)state;
    slip_options options = accept("batch -m m.h5 -i in -o out");
    assert_true(options.sampling.temperature == 1 && options.sampling.top_p == 1);
    assert_int_equal(options.sampling.seed, 0);
    assert_int_equal(options.max_tokens, 0);
    assert_true(options.sequences == 0 && options.kv_tokens == 0 && !slip_options_given(&options, "sequences"));
    assert_false(options.resume);
    options = accept("batch -m m.h5 -i in -o out --resume --trace run.h5 --sequences 8");
    assert_true(options.resume);
    assert_string_equal(options.trace, "run.h5");
    assert_int_equal(options.sequences, 8);
    options = accept("batch -m m.h5 -i in -o out --sequences auto --kv-tokens 4096");
    assert_true(options.sequences == 0 && slip_options_given(&options, "sequences") && options.kv_tokens == 4096);
    assert_true(options.step_budget == 0 && accept("batch -m m.h5 -i in -o out --step-budget 12.5").step_budget == 12.5);
    assert_string_equal(accept("batch -m m.h5 -i in -o -").output, "-");
    assert_true(options.drain == 0 && accept("batch -m m -i i -o o --drain 2.5").drain == 2.5);
    assert_refused("batch -m m -i i -o o --shard 3/3", "--shard must be i/N");
    assert_refused("batch -m m -i i -o o --shard -1/3", "--shard must be i/N");
    assert_refused("merge -i i -o o", "RESULTS... is missing");
    assert_refused("batch -m m -i i -o o --drain 0", "--drain must be a number from 0.1 to 86400");
}

static void test_others(void **state)
{
    (void)state;
    slip_options options =
        accept("bench --shape pro --shard-of 8 --acceptance 6.3 --distinct-experts 40 --json --layers 9 --prompt-tokens 700");
    assert_int_equal(options.layers, 9);
    assert_true(options.lengths.count == 1 && options.lengths.value[0] == 700);
    assert_string_equal(options.shape, "pro");
    assert_int_equal(options.shard_of, 8);
    assert_int_equal(options.distinct_experts, 40);
    assert_true(options.batches.count == 1 && options.batches.value[0] == 1);
    assert_true(options.acceptance == 6.3);
    assert_int_equal(accept("bench -m m.h5 --tokens 5").max_tokens, 5);
    options = accept("bench -m m --sequences 1,2,64 --prompt-tokens 32,4096");
    assert_true(options.batches.count == 3 && options.batches.value[0] == 1 && options.batches.value[2] == 64);
    assert_true(options.lengths.count == 2 && options.lengths.value[1] == 4096);
    assert_int_equal(accept("bench -m m --sequences 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16").batches.count, SLIP_LIST_MAX);
    assert_string_equal(accept("score -m m.h5 -f t").text, "t");
    assert_string_equal(accept("score -m m.h5 --ids i --logits l").logits, "l");
    options = accept("convert folder m.h5 --draft d");
    assert_string_equal(options.source, "folder");
    assert_string_equal(options.model, "m.h5");
    assert_string_equal(options.draft, "d");
    assert_int_equal(options.experts, SLIP_EXPERTS_KEEP);
    assert_int_equal(accept("convert --experts mxfp4 folder m.h5").experts, SLIP_EXPERTS_MXFP4);
    assert_string_equal(accept("inspect m.h5").model, "m.h5");
    assert_string_equal(accept("inspect -- -m.h5").model, "-m.h5");
    options = accept("plan --shape flash --ranks 8");
    assert_string_equal(options.shape, "flash");
    assert_int_equal(options.ranks, 8);
    options = accept("plan -m m --ranks 2 --context 4096 --sequences 8 --memory 80");
    assert_string_equal(options.model, "m");
    assert_true(options.context == 4096 && options.sequences == 8 && options.memory == 80);
    assert_refused("plan -m m --shape pro --ranks 2", "-m and --shape exclude each other");
    assert_int_equal(accept("bench --device cpu -m m").device, SLIP_DEVICE_CPU);
    assert_int_equal(accept("bench -m m").engine, SLIP_ENGINE_PERSISTENT);
    assert_int_equal(accept("bench -m m").draft_ranks, 0); /* by the device */
    assert_int_equal(accept("batch -m m -i i -o o --draft-ranks all").draft_ranks, SLIP_DRAFT_ON_ALL);
    assert_int_equal(accept("generate -m m -p x --no-draft --draft-ranks 1").draft_ranks, SLIP_DRAFT_ON_ONE);
    assert_int_equal(accept("bench --shape pro --shard-of 8 --draft-ranks all").draft_ranks, SLIP_DRAFT_ON_ALL);
    assert_refused("generate -m m -p a\xff", "-p is not UTF-8");
    assert_refused("bench -m m -p \xc3", "-p is not UTF-8");
    assert_refused("generate -m m -p x --no-draft --always-draft", "exclude each other");
    assert_refused("bench --shape pro --engine launch --profile p", "not supported with --engine launch");
    options = accept("generate -m m -p x -n 256");
    assert_true(slip_options_given(&options, "max-tokens") && !slip_options_given(&options, "engine"));
    options = accept("generate -m m -p x");
    assert_false(slip_options_given(&options, "max-tokens"));
    assert_int_equal(accept("batch -m m -i i -o o --engine launch --device cuda").engine, SLIP_ENGINE_LAUNCH);
    assert_string_equal(accept("bench --shape flash --profile p.json").profile, "p.json");
    options = accept("score -m m -f t --trace-ops ops.h5 --round-activations --device cpu");
    assert_string_equal(options.trace_ops, "ops.h5");
    assert_true(options.round_activations);
    assert_true(accept("generate -m m -p x --round-activations").round_activations);
}

static void test_help_and_version(void **state)
{
    (void)state;
    assert_true(accept("--help").help && accept("--version").version && accept("-h").help);
    assert_int_equal(accept("--help").command, SLIP_COMMAND_NONE);
    slip_options options = accept("bench --help");
    assert_true(options.help && options.command == SLIP_COMMAND_BENCH);
    assert_true(accept("generate -m m.h5 --version").version);
}

static void test_wrong_use(void **state)
{
    (void)state;
    static const struct {
        const char *line, *cause;
    } wrong[] = {
        {"", "no command"},
        {"frobnicate", "\"frobnicate\" is no command"},
        {"-m m.h5 generate", "-m is no option"},
        {"generate", "-m MODEL.h5 is missing"},
        {"generate -m m", "-p TEXT is missing"},
        {"generate -m", "-m needs a value"},
        {"generate -m m -p x --seed", "--seed needs a value"},
        {"generate -m m -p x --seed 9223372036854775808", "--seed must be an integer of 64 bits, not \"9223372036854775808\""},
        {"batch -m m -i in -o out --seed -9223372036854775809", "--seed must be an integer of 64 bits"},
        {"generate -m m -p x --seed 1.5", "--seed must be an integer of 64 bits"},
        {"generate -m m -p x --seed=-", "--seed must be an integer of 64 bits"},
        {"generate -m m -p x --seed=", "--seed must be an integer of 64 bits"},
        {"generate -m m -p x --temperature 1e400", "--temperature must be a number from 0 to 2"},
        {"generate -m m -p x --no-draft=1", "takes no value"},
        {"generate -m m -p x --bogus", "--bogus is no option"},
        {"generate -m m -p x -z", "-z is no option"},
        {"bench -m m --s 1", "--s is no option here, or not a clear one"},
        {"generate -m m -p x y", "\"y\" is one word too many"},
        {"generate -m '' -p x", "--model must be something"},
        {"generate -m m -p x --prompt y", "--prompt is given twice"},
        {"batch -m m -i a -i b -o o", "--input is given twice"},
        {"score -m m -f a -f b", "--file is given twice"},
        {"generate -m m -p ''", "--prompt must be something"},
        {"generate -m m -p x --resume", "--resume is no option"},
        {"batch -m m -i in", "-o FILE is missing"},
        {"batch -m m -o out", "-i FILE is missing"},
        {"batch -m m -i in -o - --resume", "--resume needs a file"},
        {"batch -m m -i in -o - --json", "standard output"},
        {"bench", "-m MODEL.h5 or --shape is missing"},
        {"bench -m m --shape pro", "exclude"},
        {"bench -m m --no-draft --acceptance 3", "exclude"},
        {"bench -m m --shard-of 8", "--shard-of needs --shape"},
        {"bench -m m --distinct-experts 8", "--distinct-experts needs --shape"},
        {"bench -m m --layers 8", "--layers needs --shape"},
        {"bench --shape pro -p x", "--prompt-tokens instead of -p"},
        {"bench -m m -p x --prompt-tokens 4", "exclude"},
        {"bench --shape pro --device cpu --profile p", "not supported with --device cpu"},
        {"score -m m -f t --device cpu --engine launch", "not supported with --device cpu"},
        {"score -m m -f t --device cuda --round-activations", "not supported with --device cuda"},
        {"score -m m -f t --profile p", "--profile is no option"},
        {"generate -m m -p x --draft-ranks 2", "--draft-ranks must be 1|all, not \"2\""},
        {"generate -m m -p x --no-draft --draft-ranks all", "exclude"},
        {"batch -m m -i i -o o --coordinator dedicated", "no option here"},
        {"score -m m -f t --draft-ranks all", "--draft-ranks is no option"},
        {"bench -m m --trace-ops o", "--trace-ops is no option"},
        {"bench -m m --engine fast", "--engine must be persistent|launch"},
        {"batch -m m -i i -o o --sequences all", "from 1 to 64, or auto, not \"all\""},
        {"bench -m m --sequences 1,65", "from 1 to 64, or a list of up to 16 with commas between them, not \"1,65\""},
        {"bench -m m --sequences 1,", "--sequences must be"},
        {"bench -m m --sequences ,1", "--sequences must be"},
        {"bench -m m --sequences 1,,2", "--sequences must be"},
        {"bench -m m --sequences 1;2", "--sequences must be"},
        {"bench -m m --sequences 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "--sequences must be"},
        {"bench -m m --prompt-tokens 8,0", "--prompt-tokens must be"},
        {"bench -m m --prompt-tokens 99999999999999999999999999999999999999", "--prompt-tokens must be"},
        {"batch -m m -i i -o o --sequences 1,2", "--sequences must be an integer"},
        {"batch -m m -i i -o o --step-budget 0", "--step-budget must be"},
        {"bench -m m --step-budget 5", "--step-budget is no option"},
        {"bench --shape mini", "--shape must be flash|pro, not \"mini\""},
        {"bench --shape fl", "--shape must be"},
        {"bench --shape flash|pro", "--shape must be"},
        {"bench --shape ''", "--shape"},
        {"score -m m", "-f TEXT or --ids IDS.json is missing"},
        {"score -m m -f t --ids i", "exclude"},
        {"convert folder", "HF_FOLDER MODEL.h5 are both needed"},
        {"convert a b c", "\"c\" is one word too many"},
        {"convert '' b", "cannot be empty"},
        {"inspect", "MODEL.h5 is missing"},
        {"convert a b --expert-slices 2", "--expert-slices wants --for-gpus N"},
        {"plan --ranks 8", "--shape flash|pro is missing"},
        {"plan --shape pro", "--ranks N is missing"},
        {"plan --shape pro --ranks 0", "--ranks must be an integer from 1 to 4096"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i].line, wrong[i].cause);
}

/* Every number of every command: its bounds are in, everything beyond and everything that is not a number is
 * out. */
static void test_number_ranges(void **state)
{
    (void)state;
    static const char *const garbage[] = {
        "x", "1x", "0x10", "inf", "nan", "1e", "+", "-", "--5", "1,5", "''", "99999999999999999999999", "1e999", "-1e999"};
    static const char *const base[SLIP_COMMANDS] = {
        [SLIP_COMMAND_GENERATE] = "generate -m m -p x",      [SLIP_COMMAND_BATCH] = "batch -m m -i i -o o",
        [SLIP_COMMAND_BENCH] = "bench --shape pro",          [SLIP_COMMAND_SCORE] = "score -m m -f t",
        [SLIP_COMMAND_CONVERT] = "convert a b --for-gpus 1", [SLIP_COMMAND_INSPECT] = "inspect m --ranks 1",
        [SLIP_COMMAND_PLAN] = "plan --shape pro --ranks 1"};
    char line[256];
    int checked = 0;
    for (size_t i = 0; i < slip_option_row_count; i++) {
        const option_row *row = &slip_option_rows[i];
        bool whole = row->kind == OPTION_INT || row->kind == OPTION_COUNT;
        if (!whole && row->kind != OPTION_REAL)
            continue;
        double step = whole ? row->max > 1e15 ? 2 : 1 : fabs(row->min) * 0.5 + 1e-7;
        for (int command = 1; command < SLIP_COMMANDS; command++) {
            if ((row->commands & 1u << command) == 0)
                continue;
            const double in[] = {row->min, row->max}, out[] = {row->min - step, row->max + (whole ? step : 1)};
            for (int k = 0; k < 2; k++) {
                snprintf(line, sizeof line, "%s --%s %.17g", base[command], row->name, in[k]);
                accept(line);
                snprintf(line, sizeof line, "%s --%s=%.17g", base[command], row->name, out[k]);
                assert_refused(line, row->name);
            }
            for (size_t k = 0; k < sizeof garbage / sizeof *garbage; k++) {
                snprintf(line, sizeof line, "%s --%s %s", base[command], row->name, garbage[k]);
                assert_refused(line, row->name);
            }
            if (whole) {
                snprintf(line, sizeof line, "%s --%s 1.5", base[command], row->name);
                assert_refused(line, row->name);
            }
            checked++;
        }
    }
    assert_true(checked > 20);
}

/* The table itself: no command has a name or a letter twice, and the longest line of help fits a terminal. */
static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < slip_option_row_count; i++) {
        const option_row *a = &slip_option_rows[i];
        assert_true((a->kind == OPTION_FLAG) == (a->argument == NULL));
        assert_true(a->offset < sizeof(slip_options));
        for (size_t j = i + 1; j < slip_option_row_count; j++) {
            const option_row *b = &slip_option_rows[j];
            if ((a->commands & b->commands) != 0)
                assert_true(strcmp(a->name, b->name) != 0 && (a->letter == 0 || a->letter != b->letter));
        }
    }
}

static void test_help_text(void **state)
{
    (void)state;
    for (int command = 0; command < SLIP_COMMANDS; command++) {
        char *text;
        size_t size;
        FILE *stream = open_memstream(&text, &size);
        assert_non_null(stream);
        slip_options_help((slip_command)command, stream);
        fclose(stream);
        assert_non_null(strstr(text, slip_command_rows[command].purpose));
        for (size_t i = 0; i < slip_option_row_count; i++) {
            char name[64];
            snprintf(name, sizeof name, "--%s ", slip_option_rows[i].name);
            if ((slip_option_rows[i].commands & 1u << command) != 0)
                assert_non_null(strstr(text, name));
        }
        for (char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
            if (strcspn(line, "\n") > 125)
                fail_msg("too wide: %.*s", (int)strcspn(line, "\n"), line);
        free(text);
    }
}

/* The examples of every --help are parsed by the parser that they explain. */
static void test_examples_parse(void **state)
{
    (void)state;
    int parsed = 0;
    for (int command = 0; command < SLIP_COMMANDS; command++) {
        const char *line = slip_command_rows[command].examples;
        int own = 0;
        for (; *line != '\0'; line += strcspn(line, "\n") + 1) {
            char text[300], *program;
            snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n"), line);
            if ((program = strstr(text, "slipstream ")) == NULL)
                continue;
            char *open = strchr(program, '"'), *close = open != NULL ? strchr(open + 1, '"') : NULL;
            for (char *c = open; c != NULL && c < close; c++) /* one word to parse() */
                *c = *c == ' ' ? '_' : *c;
            slip_options options = accept(program + strlen("slipstream "));
            own += (int)options.command == command; /* a report needs a trace, a merge needs shards */
            parsed++;
        }
        assert_true(command == SLIP_COMMAND_NONE || own > 0);
    }
    assert_true(parsed >= 2 * (SLIP_COMMANDS - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_help_and_version),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_number_ranges),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_help_text),
        cmocka_unit_test(test_examples_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "jobs/options/options.h"

#include <errno.h>
#include <math.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/range.h"
#include "io/base/utf8.h"
#include "jobs/options/table.h"
#include "ranks/model/family.h"

enum { ROWS_MAX = 64, VALUE_BASE = 256 }; /* getopt_long returns VALUE_BASE + row, beyond every letter */

const char *slip_command_name(slip_command command)
{
    return slip_command_rows[command].name;
}

/* Refuse, and point to the help. */
static slip_status wrong_use(slip_command command, const char *what, const char *value, const char *why)
{
    return slip_fail(SLIP_ERR_INPUT, "%s%.200s%s; see slipstream%s%s --help", what, value, why, command == SLIP_COMMAND_NONE ? "" : " ",
                     slip_command_name(command));
}

static slip_status wrong_value(slip_command command, const option_row *row, const char *value, const char *expected)
{
    return slip_fail(SLIP_ERR_INPUT, "--%s must be %s, not \"%.200s\"; see slipstream %s --help", row->name, expected, value,
                     slip_command_name(command));
}

static slip_status wrong_number(slip_command command, const option_row *row, const char *value)
{
    char range[SLIP_RANGE_WORDS], expected[SLIP_RANGE_WORDS + 64];
    slip_range_words(row->kind != OPTION_REAL, row->min, row->max, range);
    if (row->kind == OPTION_LIST)
        snprintf(expected, sizeof expected, "%s, or a list of up to %d with commas between them", range, SLIP_LIST_MAX);
    else
        snprintf(expected, sizeof expected, "%s%s", range, row->kind == OPTION_COUNT ? ", or auto" : "");
    return wrong_value(command, row, value, expected);
}

static bool parse_seed(const char *text, uint64_t *seed)
{
    char *end;
    errno = 0;
    *seed = (uint64_t)strtoll(text, &end, 10);
    return text[0] != '\0' && strspn(text, "0123456789+-") == strlen(text) && *end == '\0' && errno == 0;
}

/* strtoll and strtod take more than a number (spaces, hexadecimal, "inf") and stop silently where it ends. */
static bool parse_number(const option_row *row, const char *text, void *field)
{
    bool real = row->kind == OPTION_REAL;
    if (text[0] == '\0' || strspn(text, real ? "0123456789.eE+-" : "0123456789+-") != strlen(text))
        return false;
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (real && errno == ERANGE && fabs(number) < 1)
        errno = 0; /* nearer to 0 than a double has all its digits for: a number all the same */
    long long whole = real ? 0 : strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0 || !(number >= row->min && number <= row->max))
        return false;
    if (!real && whole > (long long)row->max) /* which `number` may have been rounded to */
        return false;
    if (real)
        *(double *)field = number;
    else
        *(int64_t *)field = whole;
    return true;
}

/* "N,N,...", each as parse_number() takes a whole number. */
static bool parse_list(const option_row *row, const char *text, slip_list *list)
{
    char number[32];
    for (*list = (slip_list){0}; list->count < SLIP_LIST_MAX; text += strlen(number) + 1) {
        size_t size = strcspn(text, ",");
        if (size >= sizeof number)
            return false;
        memcpy(number, text, size);
        number[size] = '\0';
        if (!parse_number(row, number, &list->value[list->count++]))
            return false;
        if (text[size] == '\0')
            return true;
    }
    return false;
}

/* The place of `text` among words separated by '|', from 1; 0 when it is not there. */
static int find_word(const char *words, const char *text)
{
    size_t size = strlen(text);
    for (int place = 1;; place++) {
        size_t word = strcspn(words, "|");
        if (word == size && memcmp(words, text, size) == 0)
            return place;
        if (words[word] == '\0')
            return 0;
        words += word + 1;
    }
}

/* "i/N", digits alone: a sign or a space is no shard. */
static bool parse_shard(const option_row *row, const char *text, slip_shard *shard)
{
    const char *digits = "0123456789";
    size_t first = strspn(text, digits), second = text[first] == '/' ? strspn(text + first + 1, digits) : 0;
    if (first == 0 || second == 0 || text[first + 1 + second] != '\0' || first > 9 || second > 9)
        return false;
    *shard = (slip_shard){strtoll(text, NULL, 10), strtoll(text + first + 1, NULL, 10)};
    return shard->index < shard->count && (double)shard->count <= row->max;
}

/* Store the value of one option; defaults come this way too, so that --help says what happens. */
static slip_status set_option(slip_command command, const option_row *row, const char *text, slip_options *options)
{
    void *field = (char *)options + row->offset;
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)field = true; return SLIP_OK;
    case OPTION_TEXT:
    case OPTION_SOURCE:
        if (text[0] == '\0')
            return wrong_value(command, row, text, "something");
        *(const char **)field = text;
        return SLIP_OK;
    case OPTION_CHOICE:
        if ((*(int *)field = find_word(row->argument, text)) == 0)
            return wrong_value(command, row, text, row->argument);
        return SLIP_OK;
    case OPTION_SHAPE:
        if (find_word(slip_shape_names(), text) == 0)
            return wrong_value(command, row, text, slip_shape_names());
        *(const char **)field = text;
        return SLIP_OK;
    case OPTION_SHARD:
        return parse_shard(row, text, field) ? SLIP_OK : wrong_value(command, row, text, "i/N with i from 0 to N - 1, N at most 1000000");
    case OPTION_SEED: return parse_seed(text, field) ? SLIP_OK : wrong_value(command, row, text, "an integer of 64 bits");
    case OPTION_COUNT:
        if (strcmp(text, "auto") == 0) {
            *(int64_t *)field = 0;
            return SLIP_OK;
        }
        break;
    case OPTION_INT:
    case OPTION_LIST:
    case OPTION_REAL: break;
    }
    if (row->kind == OPTION_LIST ? parse_list(row, text, field) : parse_number(row, text, field))
        return SLIP_OK;
    return wrong_number(command, row, text);
}

/* The command's rows in getopt_long's form: `longs` ends with zeros, `letters` begins with ':' to tell a
 * missing argument. */
static void make_getopt(slip_command command, struct option longs[static ROWS_MAX + 1], char letters[static 3 * ROWS_MAX])
{
    int count = 0;
    *letters++ = ':';
    for (size_t i = 0; i < slip_option_row_count; i++) {
        const option_row *row = &slip_option_rows[i];
        if ((row->commands & 1u << command) == 0 || count == ROWS_MAX)
            continue;
        longs[count++] = (struct option){row->name, row->argument != NULL, NULL, VALUE_BASE + (int)i};
        if (row->letter == 0)
            continue;
        *letters++ = row->letter;
        if (row->argument != NULL)
            *letters++ = ':';
    }
    longs[count] = (struct option){0};
    *letters = '\0';
}

static const option_row *find_row(slip_command command, int value)
{
    if (value >= VALUE_BASE)
        return &slip_option_rows[value - VALUE_BASE];
    for (size_t i = 0; i < slip_option_row_count; i++)
        if (slip_option_rows[i].letter == value && (slip_option_rows[i].commands & 1u << command) != 0)
            return &slip_option_rows[i];
    return NULL;
}

/* Read the options; argv[optind..] are the operands afterwards. */
static slip_status read_options(slip_command command, int argc, char **argv, slip_options *options)
{
    struct option longs[ROWS_MAX + 1];
    char letters[3 * ROWS_MAX];
    make_getopt(command, longs, letters);
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    int value;
    while ((value = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        char letter[3] = {'-', (char)optopt, '\0'};
        const char *culprit = optopt > 0 && optopt < VALUE_BASE ? letter : argv[optind - 1];
        if (value == ':')
            return wrong_use(command, "", culprit, " needs a value");
        if (value == '?')
            return wrong_use(command, "", culprit, optopt >= VALUE_BASE ? " takes no value" : " is no option here, or not a clear one");
        const option_row *row = find_row(command, value);
        if (row->kind == OPTION_SOURCE && slip_options_given(options, row->name))
            return wrong_use(command, "--", row->name, " is given twice");
        slip_status status = set_option(command, row, optarg, options);
        options->given[(row - slip_option_rows) / 64] |= UINT64_C(1) << (row - slip_option_rows) % 64;
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}

bool slip_options_given(const slip_options *options, const char *name)
{
    for (size_t i = 0; i < slip_option_row_count; i++)
        if ((slip_option_rows[i].commands & 1u << options->command) != 0 && strcmp(slip_option_rows[i].name, name) == 0)
            return options->given[i / 64] >> i % 64 & 1;
    return false;
}

static slip_status read_operands(slip_command command, int count, char **operands, slip_options *options)
{
    const command_row *row = &slip_command_rows[command];
    bool many = row->operand_count < 0;
    if (count > row->operand_count && !many)
        return wrong_use(command, "\"", operands[row->operand_count], "\" is one word too many");
    for (int i = 0; i < count; i++)
        if (operands[i][0] == '\0')
            return wrong_use(command, row->operands, "", " cannot be empty");
    if (count < row->operand_count || (many && count == 0))
        return wrong_use(command, row->operands, "", row->operand_count != 2 ? " is missing" : " are both needed");
    options->operands = operands;
    options->operand_count = count;
    if (row->operand_count == 2)
        options->source = operands[0];
    if (row->operand_count > 0)
        options->model = operands[row->operand_count - 1];
    return SLIP_OK;
}

/* What a benchmark's options exclude; NULL when they go together. */
static const char *bench_clash(const slip_options *options)
{
    if (options->model != NULL && options->shape != NULL)
        return "-m and --shape exclude each other";
    if (options->no_draft && options->acceptance != 0)
        return "--no-draft and --acceptance exclude each other";
    if (options->shard_of != 0 && options->shape == NULL)
        return "--shard-of needs --shape";
    if (options->distinct_experts != 0 && options->shape == NULL)
        return "--distinct-experts needs --shape";
    if (options->layers != 0 && options->shape == NULL)
        return "--layers needs --shape";
    if (options->prompt != NULL && options->shape != NULL)
        return "--shape has no tokenizer: --prompt-tokens instead of -p";
    if (options->prompt != NULL && options->lengths.count != 0)
        return "-p and --prompt-tokens exclude each other";
    return NULL;
}

/* What any run's options exclude. Without --device it is chosen later, and what it excludes is met then (jobs/device.c). */
static const char *run_clash(const slip_options *options)
{
    if (options->prompt != NULL && slip_utf8_valid(options->prompt, strlen(options->prompt)) != strlen(options->prompt))
        return "-p is not UTF-8";
    if (options->device == SLIP_DEVICE_CPU && options->engine == SLIP_ENGINE_LAUNCH)
        return "--engine launch is not supported with --device cpu";
    if (options->device == SLIP_DEVICE_CPU && options->profile != NULL)
        return "--profile is not supported with --device cpu";
    if (options->device == SLIP_DEVICE_CUDA && options->round_activations)
        return "--round-activations is not supported with --device cuda";
    if (options->engine == SLIP_ENGINE_LAUNCH && options->profile != NULL)
        return "--profile is not supported with --engine launch";
    if (options->no_draft && options->always_draft)
        return "--no-draft and --always-draft exclude each other";
    if (options->no_draft && options->draft_ranks == SLIP_DRAFT_ON_ALL)
        return "--no-draft and --draft-ranks all exclude each other";
    return NULL;
}

/* What must be given, and what cannot go together. */
static slip_status check(const slip_options *options)
{
    const char *missing = NULL, *clash = NULL;
    switch (options->command) {
    case SLIP_COMMAND_GENERATE: missing = options->model == NULL ? "-m MODEL.h5" : options->prompt == NULL ? "-p TEXT" : NULL; break;
    case SLIP_COMMAND_BATCH:
        missing = options->model == NULL ? "-m MODEL.h5" : options->input == NULL ? "-i FILE" : options->output == NULL ? "-o FILE" : NULL;
        if (options->output != NULL && strcmp(options->output, "-") == 0)
            clash = options->resume ? "--resume needs a file, not -o -"
                    : options->json ? "--json and -o - both want standard output"
                                    : NULL;
        break;
    case SLIP_COMMAND_BENCH:
        missing = options->model == NULL && options->shape == NULL ? "-m MODEL.h5 or --shape" : NULL;
        clash = bench_clash(options);
        break;
    case SLIP_COMMAND_SCORE:
        missing = options->model == NULL                          ? "-m MODEL.h5"
                  : options->text == NULL && options->ids == NULL ? "-f TEXT or --ids IDS.json"
                                                                  : NULL;
        clash = options->text != NULL && options->ids != NULL ? "-f and --ids exclude each other" : NULL;
        break;
    case SLIP_COMMAND_MERGE:
        missing = options->input == NULL ? "-i FILE" : options->output == NULL ? "-o FILE" : NULL;
        clash = options->output != NULL && strcmp(options->output, "-") == 0 ? "-o must be a file, which is there whole or not at all"
                                                                             : NULL;
        break;
    case SLIP_COMMAND_INSPECT:
        if (options->ranks == 0 && options->memory > 0)
            clash = "--memory wants --ranks N";
        else if (options->ranks == 0 && slip_options_given(options, "device"))
            clash = "--device wants --ranks N";
        break;
    case SLIP_COMMAND_CONVERT:
        clash = options->expert_slices > 0 && options->for_gpus == 0 ? "--expert-slices wants --for-gpus N" : NULL;
        break;
    case SLIP_COMMAND_PLAN:
        if (options->model == NULL && options->shape == NULL)
            return wrong_use(options->command, "-m MODEL.h5 or --shape ", slip_shape_names(), " is missing");
        missing = options->ranks == 0 ? "--ranks N" : NULL;
        clash = options->model != NULL && options->shape != NULL ? "-m and --shape exclude each other" : NULL;
        break;
    default: break;
    }
    if (missing != NULL)
        return wrong_use(options->command, missing, "", " is missing");
    if (clash == NULL)
        clash = run_clash(options);
    return clash != NULL ? wrong_use(options->command, clash, "", "") : SLIP_OK;
}

static slip_status find_command(const char *word, slip_command *command)
{
    for (int i = 1; i < SLIP_COMMANDS; i++) {
        if (strcmp(word, slip_command_rows[i].name) == 0) {
            *command = (slip_command)i;
            return SLIP_OK;
        }
    }
    return wrong_use(SLIP_COMMAND_NONE, "\"", word, "\" is no command");
}

slip_status slip_options_parse(int argc, char **argv, slip_options *options)
{
    slip_options parsed = {0};
    slip_status status;
    bool named = argc > 1 && argv[1][0] != '-';
    if (named && (status = find_command(argv[1], &parsed.command)) != SLIP_OK)
        return status;
    for (size_t i = 0; i < slip_option_row_count; i++) {
        const option_row *row = &slip_option_rows[i];
        if (row->preset != NULL && (row->commands & 1u << parsed.command) != 0 &&
            (status = set_option(parsed.command, row, row->preset, &parsed)) != SLIP_OK)
            return status;
    }
    /* getopt passes over argv[0], which is the command's name then. */
    argc -= named;
    argv += named;
    if ((status = read_options(parsed.command, argc, argv, &parsed)) != SLIP_OK)
        return status;
    if (!parsed.help && !parsed.version) {
        if (!named)
            return wrong_use(SLIP_COMMAND_NONE, "no command given", "", "");
        if ((status = read_operands(parsed.command, argc - optind, argv + optind, &parsed)) != SLIP_OK ||
            (status = check(&parsed)) != SLIP_OK)
            return status;
    }
    *options = parsed;
    return SLIP_OK;
}

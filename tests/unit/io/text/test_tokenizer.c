/* The tokenizer against the golden data of tests/golden/tokenizer/make_golden.py, what it refuses, and its
 * speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/text/nfc.h"
#include "io/text/tokenizer.h"
#include "io/base/utf8.h"

#define FOLDER "tests/golden/tokenizer/"

enum { VOCABULARY = 4096, FILE_MAX = 4 << 20 };

static char *read_file(const char *path, size_t *size)
{
    char *text = NULL;
    assert_int_equal(slip_file_read(path, FILE_MAX, &text, size), SLIP_OK);
    return text;
}

static slip_tokenizer *load(const char *path)
{
    size_t size;
    slip_tokenizer *tokenizer = NULL;
    char *json = read_file(path, &size);
    slip_clear();
    slip_status status = slip_tokenizer_parse(json, size, path, VOCABULARY, &tokenizer);
    assert_string_equal(slip_cause(), "");
    assert_int_equal(status, SLIP_OK);
    free(json);
    return tokenizer;
}

/* ---- golden data ---- */

typedef struct {
    const char *at, *end;
} cursor;

static const void *take(cursor *in, size_t size)
{
    assert_true(size <= (size_t)(in->end - in->at));
    in->at += size;
    return in->at - size;
}

static uint32_t take_u32(cursor *in)
{
    uint32_t value;
    memcpy(&value, take(in, sizeof value), sizeof value);
    return value;
}

static char *decode(const slip_tokenizer *tokenizer, const int32_t *ids, size_t count, size_t *size)
{
    size_t room = 1;
    for (size_t i = 0; i < count; i++) {
        size_t piece;
        assert_non_null(slip_tokenizer_bytes(tokenizer, ids[i], &piece));
        room += piece;
    }
    char *text = malloc(room);
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t piece;
        const char *bytes = slip_tokenizer_bytes(tokenizer, ids[i], &piece);
        memcpy(text + *size, bytes, piece);
        *size += piece;
    }
    return text;
}

/* decode(encode(s)) is NFC(s) where the tokenizer normalises and added tokens are their own normal form. */
static void check_round_trip(const slip_tokenizer *tokenizer, const char *text, size_t size, const int32_t *ids, size_t count)
{
    char *repaired, *normal;
    size_t repaired_size, normal_size, decoded_size;
    char *decoded = decode(tokenizer, ids, count, &decoded_size);
    assert_int_equal(slip_utf8_repair(text, size, &repaired, &repaired_size), SLIP_OK);
    assert_int_equal(slip_nfc(repaired, repaired_size, &normal, &normal_size), SLIP_OK);
    assert_int_equal(decoded_size, normal_size);
    assert_memory_equal(decoded, normal != NULL ? normal : repaired, normal_size);
    free(repaired);
    free(normal);
    free(decoded);
}

static size_t check_golden(const char *name, bool round_trip)
{
    char path[100];
    size_t size, records = 0;
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    slip_tokenizer *tokenizer = load(path);
    snprintf(path, sizeof path, FOLDER "%s.bin", name);
    char *data = read_file(path, &size);
    for (cursor in = {data, data + size}; in.at < in.end; records++) {
        int special = *(const char *)take(&in, 1);
        uint32_t text_size = take_u32(&in);
        const char *text = take(&in, text_size);
        uint32_t expected = take_u32(&in);
        const char *golden = take(&in, expected * sizeof(uint16_t));
        int32_t *ids;
        size_t count;
        assert_int_equal(slip_tokenizer_encode(tokenizer, text, text_size, special, &ids, &count), SLIP_OK);
        for (size_t i = 0; i < count && i < expected; i++) {
            uint16_t id;
            memcpy(&id, golden + i * sizeof id, sizeof id);
            if (ids[i] != id)
                fail_msg("%s: record %zu, token %zu of \"%.*s\": %d, not %d", name, records, i, (int)text_size, text, (int)ids[i], (int)id);
        }
        assert_int_equal(count, expected);
        if (round_trip)
            check_round_trip(tokenizer, text, text_size, ids, count);
        free(ids);
    }
    free(data);
    slip_tokenizer_free(tokenizer);
    return records;
}

static void golden_qwen2(void **state)
{
    (void)state;
    assert_true(check_golden("qwen2", true) >= 5000);
}

static void golden_gpt2(void **state)
{
    (void)state;
    assert_true(check_golden("gpt2", false) >= 1000);
}

static void golden_added(void **state)
{
    (void)state;
    assert_true(check_golden("added", false) >= 1000);
}

static void golden_ties(void **state)
{
    (void)state;
    assert_true(check_golden("ties", true) >= 1000);
}

/* ---- the other questions ---- */

static void tokens_by_id(void **state)
{
    (void)state;
    slip_tokenizer *tokenizer = load(FOLDER "qwen2.json");
    size_t size = 1;
    int32_t end = slip_tokenizer_find(tokenizer, "<|im_end|>"), think = slip_tokenizer_find(tokenizer, "<think>");
    assert_true(end > 0 && think > 0);
    assert_memory_equal(slip_tokenizer_bytes(tokenizer, end, &size), "<|im_end|>", 10);
    assert_int_equal(size, 10);
    assert_true(slip_tokenizer_is_special(tokenizer, end));
    assert_false(slip_tokenizer_is_special(tokenizer, think));
    assert_false(slip_tokenizer_is_special(tokenizer, -1));
    assert_false(slip_tokenizer_is_special(tokenizer, INT32_MAX));
    assert_int_equal(slip_tokenizer_find(tokenizer, "<|im"), -1);
    assert_null(slip_tokenizer_bytes(tokenizer, -1, &size));
    assert_null(slip_tokenizer_bytes(tokenizer, VOCABULARY, &size));
    assert_int_equal(size, 0);
    slip_tokenizer_free(tokenizer);
}

/* One edit of a good file (a member of the object at `path` is set; "" removes it), and words of the refusal. */
static const struct {
    const char *path, *member, *value, *words;
} refusals[] = {
    {"", "normalizer", "{\"type\":\"NFKC\"}", "normalizer is {\"type\":\"NFKC\"}"},
    {"", "decoder", "null", "decoder is null"},
    {"", "post_processor", "{\"type\":\"TemplateProcessing\"}", "post_processor"},
    {"", "truncation", "{\"max_length\":5}", "truncation"},
    {"", "padding", "{}", "padding"},
    {"", "pre_tokenizer", "{\"type\":\"Whitespace\"}", "pre_tokenizer is"},
    {"", "pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "add_prefix_space"},
    {"", "pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "use_regex"},
    {"pre_tokenizer.pretokenizers.0", "behavior", "\"Removed\"", "Isolated"},
    {"pre_tokenizer.pretokenizers.0", "invert", "true", "not inverted"},
    {"pre_tokenizer.pretokenizers.0", "pattern", "{\"String\":\" \"}", "Split by a Regex"},
    {"pre_tokenizer.pretokenizers.0", "pattern", "{\"Regex\":\"(a\"}", "not a regular expression"},
    {"pre_tokenizer.pretokenizers.0", "pattern", "{\"Regex\":\"a*\"}", "matches the empty string"},
    {"pre_tokenizer.pretokenizers.1", "use_regex", "true", "use_regex"},
    {"model", "type", "\"Unigram\"", "model.type is \"Unigram\""},
    {"model", "dropout", "0.1", "model.dropout is 0.1"},
    {"model", "end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
    {"model", "vocab", "", "model.vocab is missing"},
    {"model", "merges", "{}", "model.merges"},
    {"model", "merges", "[\"a b c\"]", "model.merges[0] is \"a b c\""},
    {"model", "merges", "[[\"a\"]]", "model.merges[0]"},
    {"model", "merges", "[[\"a\",\"\\u00e9zz\"]]", "model.merges[0]"},
    {"model.vocab", "a", "4096", "below the vocabulary size, 4096"},
    {"model.vocab", "a", "-1", "the id of token \"a\" is -1"},
    {"model.vocab", "a", "1.5", "is 1.5"},
    {"model.vocab", "a", "1", "twice"},
    {"model.vocab", "a", "", "no token for the byte 0x61"},
    {"", "added_tokens", "7", "added_tokens is 7"},
    {"added_tokens.0", "content", "\"\"", "needs a content"},
    {"added_tokens.0", "lstrip", "true", "lstrip"},
    {"added_tokens.0", "normalized", "null", "normalized"},
    {"added_tokens.0", "id", "99999", "below the vocabulary size"},
    {"added_tokens.0", "id", "5", "belongs to another token"},
    {"added_tokens.0", "content", "\"ab\"", "twice"},
    {"added_tokens.0", "content", "\"a\"", "another in model.vocab"},
};

static json_t *go(json_t *at, const char *path)
{
    char step[40];
    for (size_t size; *path != '\0'; path += size + (path[size] == '.')) {
        size = strcspn(path, ".");
        snprintf(step, sizeof step, "%.*s", (int)size, path);
        at = json_is_array(at) ? json_array_get(at, strtoul(step, NULL, 10)) : json_object_get(at, step);
        assert_non_null(at);
    }
    return at;
}

static void refuses_what_it_does_not_support(void **state)
{
    (void)state;
    size_t size;
    char *good = read_file(FOLDER "added.json", &size);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        slip_tokenizer *tokenizer = NULL;
        json_t *root = json_loadb(good, size, 0, NULL), *part = go(root, refusals[i].path);
        if (refusals[i].value[0] == '\0')
            json_object_del(part, refusals[i].member);
        else
            json_object_set_new(part, refusals[i].member, json_loads(refusals[i].value, JSON_DECODE_ANY, NULL));
        char *edited = json_dumps(root, 0);
        slip_clear();
        slip_status status = slip_tokenizer_parse(edited, strlen(edited), "x.json", VOCABULARY, &tokenizer);
        assert_int_equal(status, SLIP_ERR_INPUT);
        assert_null(tokenizer);
        if (strncmp(slip_cause(), "x.json: ", 8) != 0 || strstr(slip_cause(), refusals[i].words) == NULL)
            fail_msg("refusal %zu says \"%s\", not \"%s\"", i, slip_cause(), refusals[i].words);
        free(edited);
        json_decref(root);
    }
    slip_clear();
    free(good);
}

static void refuses_torn_files(void **state)
{
    (void)state;
    size_t size;
    char *good = read_file(FOLDER "ties.json", &size);
    for (size_t cut = 0; cut < size - 2; cut += 41) {
        slip_tokenizer *tokenizer = NULL;
        slip_clear();
        assert_int_equal(slip_tokenizer_parse(good, cut, "torn.json", VOCABULARY, &tokenizer), SLIP_ERR_INPUT);
        assert_non_null(strstr(slip_cause(), "torn.json: line 1, column"));
    }
    slip_clear();
    free(good);
}

/* ---- size: quadratic work would run into the suite's time limit ---- */

static const char *letter(int byte)
{
    static char text[2];
    text[0] = (char)byte;
    return text;
}

/* A file of Qwen2's size: 256 bytes, then 151,000 tokens, each an earlier one and a letter: about 9 MB of
 * JSON. */
static char *big_file(int32_t tokens)
{
    json_t *root = json_pack("{s:n, s:{s:s, s:b}, s:{s:s}}", "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                             "decoder", "type", "ByteLevel");
    json_t *vocab = json_object(), *merges = json_array();
    char(*spelling)[24] = calloc((size_t)tokens, sizeof *spelling);
    for (int32_t i = 0, next = 0x100; i < 256; i++) {
        int visible = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i != 0xad);
        slip_utf8_put((uint32_t)(visible ? i : next++), spelling[i]);
        json_object_set_new(vocab, spelling[i], json_integer(i));
    }
    for (int32_t i = 256; i < tokens; i++) {
        int32_t left = i < 282 ? 'a' + i - 256 : 256 + (i - 282) / 26; /* a tree: 26 children to every node */
        const char *right = letter('a' + (i < 282 ? 0 : (i - 282) % 26));
        snprintf(spelling[i], sizeof spelling[i], "%.20s%s", spelling[left], right);
        json_object_set_new(vocab, spelling[i], json_integer(i));
        json_array_append_new(merges, json_pack("[s,s]", spelling[left], right));
    }
    json_object_set_new(root, "model", json_pack("{s:s, s:o, s:o}", "type", "BPE", "vocab", vocab, "merges", merges));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    free(spelling);
    return text;
}

/* The tokens' bytes, one after another, are the text. */
static void assert_round_trip(const slip_tokenizer *tokenizer, const char *text, size_t size)
{
    int32_t *ids;
    size_t count, decoded_size;
    assert_int_equal(slip_tokenizer_encode(tokenizer, text, size, 1, &ids, &count), SLIP_OK);
    char *decoded = decode(tokenizer, ids, count, &decoded_size);
    assert_int_equal(decoded_size, size);
    assert_memory_equal(decoded, text, size);
    free(decoded);
    free(ids);
}

static void large_vocabulary_and_long_pieces(void **state)
{
    (void)state;
    enum { TOKENS = 151256, LONG = 1000000 };
    slip_tokenizer *tokenizer = NULL;
    char *json = big_file(TOKENS);
    assert_int_equal(slip_tokenizer_parse(json, strlen(json), "big.json", TOKENS, &tokenizer), SLIP_OK);
    char *letters = malloc(LONG), *words = malloc(LONG);
    for (uint32_t i = 0, random = 1; i < LONG; i++, random = random * 1664525u + 1013904223u) {
        letters[i] = (char)('a' + (random >> 16) % 26);
        words[i] = i % 6 == 0 ? ' ' : letters[i];
    }
    assert_round_trip(tokenizer, letters, LONG);
    assert_round_trip(tokenizer, words, LONG);
    memset(letters, ' ', LONG);
    assert_round_trip(tokenizer, letters, LONG);
    free(letters);
    free(words);
    free(json);
    slip_tokenizer_free(tokenizer);
}

/* A hostile expression must end in an error, not in hours. */
static void hostile_expression_gives_up(void **state)
{
    (void)state;
    size_t size, count;
    int32_t *ids = NULL;
    char text[64], *good = read_file(FOLDER "added.json", &size);
    json_t *root = json_loadb(good, size, 0, NULL);
    json_object_set_new(go(root, "pre_tokenizer.pretokenizers.0.pattern"), "Regex", json_string("(?:x+x+)+[yz]"));
    char *edited = json_dumps(root, 0);
    slip_tokenizer *tokenizer = NULL;
    assert_int_equal(slip_tokenizer_parse(edited, strlen(edited), "x.json", VOCABULARY, &tokenizer), SLIP_OK);
    memset(text, 'x', sizeof text);
    assert_int_equal(slip_tokenizer_encode(tokenizer, text, sizeof text, 0, &ids, &count), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "gives up"));
    assert_null(ids);
    slip_clear();
    slip_tokenizer_free(tokenizer);
    free(edited);
    json_decref(root);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_qwen2),
        cmocka_unit_test(golden_gpt2),
        cmocka_unit_test(golden_added),
        cmocka_unit_test(golden_ties),
        cmocka_unit_test(tokens_by_id),
        cmocka_unit_test(refuses_what_it_does_not_support),
        cmocka_unit_test(refuses_torn_files),
        cmocka_unit_test(large_vocabulary_and_long_pieces),
        cmocka_unit_test(hostile_expression_gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

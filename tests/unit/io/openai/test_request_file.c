/* Files of request lines: names, what a strict parser would lose, where the lines come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "io/openai/request_file.h"

#define TEXT(custom_id, fields) "{\"custom_id\":\"" custom_id "\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{" fields "}}"

static char path[40];

static void write_file(const char *text, size_t size)
{
    strcpy(path, "/tmp/slip_request_XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, size), size);
    close(file);
}

static slip_request_file *open_file(const char *name)
{
    slip_request_file *file;
    if (slip_request_file_open(name, NULL, &file) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return file;
}

static slip_request next(slip_request_file *file)
{
    bool found;
    slip_request request;
    if (slip_request_file_next(file, &found) != SLIP_OK)
        fail_msg("%s", slip_cause());
    assert_true(found);
    assert_int_equal(slip_request_file_parse(file, &request), SLIP_OK);
    assert_string_equal(request.custom_id, slip_request_file_name(file));
    return request;
}

/* The next request has this name, and is refused so; code "" is for one that is not. */
static void assert_next(slip_request_file *file, const char *name, const char *code, const char *param)
{
    slip_request request = next(file);
    if (strcmp(request.custom_id, name) != 0 || strcmp(request.refusal.code, code) != 0 || strcmp(request.refusal.param, param) != 0)
        fail_msg("%s %s '%s' instead of %s %s '%s': %s", request.custom_id, request.refusal.code, request.refusal.param, name, code, param,
                 request.refusal.message);
    slip_request_free(&request);
}

static void assert_end(slip_request_file *file)
{
    bool found;
    assert_int_equal(slip_request_file_next(file, &found), SLIP_OK);
    assert_false(found);
}

static void test_read_file(void **state)
{
    (void)state;
    static const char text[] =
        TEXT("a", "\"prompt\":\"x\"") "\r\n\n  \t\njunk\n" TEXT("a", "\"prompt\":\"x\"") "\n" TEXT("a", "\"prompt\":\"x\"") "\na\0b\n" TEXT(
            "line-4", "\"prompt\":\"z\"") "\n[]\n" TEXT("line-9", "\"prompt\":\"z\"") "\n" TEXT("line-9.1", "\"prompt\":\"z\"");
    uint64_t hashes[3];
    write_file(text, sizeof text - 1);
    slip_request_file *file = open_file(path);
    assert_int_equal(slip_request_file_count(file), 9);
    for (int round = 0; round < 2; round++) {
        assert_next(file, "a", "", "");
        assert_next(file, "line-4.1", "invalid_json", "");
        for (int i = 1; i < 3; i++) {
            slip_request request = next(file);
            assert_string_equal(request.refusal.code, "duplicate_custom_id");
            assert_int_equal(request.index, i + 1);
            hashes[i] = request.hash;
            slip_request_free(&request);
        }
        assert_true(hashes[1] != hashes[2]);
        assert_next(file, "line-7", "invalid_json", "");
        assert_next(file, "line-4", "", "");
        assert_next(file, "line-9.2", "invalid_json", "");
        assert_next(file, "line-9", "", "");
        assert_next(file, "line-9.1", "", "");
        assert_end(file);
        assert_int_equal(slip_request_file_rewind(file), SLIP_OK);
    }
    slip_request_file_close(file);
    unlink(path);
}

/* A line's own hash is the same whatever the defaults, and however the line is written; it is another one when the line asks for something else. */
static void test_line_hash(void **state)
{
    (void)state;
    static const slip_request_defaults others = {.max_tokens = 7, .sampling = {.temperature = 0.5, .seed = 3}, .models = "nobody"};
    static const char text[] = TEXT("a", "\"model\":\"m\",\"prompt\":\"x\"") "\n" TEXT("b", "\"prompt\":\"x\"") "\n";
    static const char same[] = TEXT("a", " \"prompt\" : \"\\u0078\", \"model\":\"m\"") "\n" TEXT("b", "\"prompt\":\"y\"") "\n";
    uint64_t hashes[3][2];
    for (int i = 0; i < 3; i++) {
        slip_request_file *file;
        write_file(i < 2 ? text : same, i < 2 ? sizeof text - 1 : sizeof same - 1);
        assert_int_equal(slip_request_file_open(path, i == 1 ? &others : NULL, &file), SLIP_OK);
        for (int line = 0; line < 2; line++) {
            slip_request request = next(file);
            assert_true((request.refusal.status_code != 0) == (i == 1 && line == 0)); /* a model that nobody has */
            assert_int_equal(slip_request_file_line_hash(file, &hashes[i][line]), SLIP_OK);
            slip_request_free(&request);
        }
        slip_request_file_close(file);
        unlink(path);
    }
    assert_true(hashes[0][0] == hashes[1][0] && hashes[0][1] == hashes[1][1]);
    assert_true(hashes[0][0] == hashes[2][0] && hashes[0][1] != hashes[2][1]);
}

/* Whatever else is wrong, a line keeps its name, and the refusal says where. */
static void test_names_survive(void **state)
{
    (void)state;
    static const struct {
        const char *line, *name, *code, *param;
    } cases[] = {
        {"\xef\xbb\xbf" TEXT("mark", "\"prompt\":\"x\""), "mark", "", ""},
        {TEXT("nul", "\"prompt\":\"a\\u0000b\""), "nul", "invalid_json", "prompt"},
        {TEXT("lone", "\"prompt\":\"\\ud83d b\""), "lone", "invalid_json", "prompt"},
        {TEXT("pair", "\"prompt\":\"\\ud83d\\ude00\""), "pair", "", ""},
        {TEXT("byte", "\"prompt\":\"\xff\""), "byte", "invalid_json", "prompt"},
        {TEXT("big", "\"prompt\":\"x\",\"seed\":18446744073709551615"), "big", "invalid_json", "seed"},
        {TEXT("huge", "\"prompt\":\"x\",\"temperature\":1e999"), "huge", "invalid_json", "temperature"},
        {TEXT("nan", "\"prompt\":\"x\",\"temperature\":NaN"), "nan", "invalid_json", "temperature"},
        {TEXT("twice", "\"prompt\":\"x\",\"prompt\":\"x\""), "twice", "invalid_json", "prompt"},
        {TEXT("hidden twice", "\"prompt\":\"x\",\"pr\\u006fmpt\":\"x\""), "hidden twice", "invalid_json", "prompt"},
        {TEXT("deep twice", "\"prompt\":\"x\",\"logit_bias\":{\"1\":1,\"1\":2}"), "deep twice", "invalid_json", "logit_bias"},
        {TEXT("ignored", "\"prompt\":\"x\",\"metadata\":{\"a\":99999999999999999999,\"a\":1}"), "ignored", "", ""},
        {TEXT("comma", "\"prompt\":\"x\","), "comma", "invalid_json", "body"},
        {TEXT("quote", "\"prompt\":\"x"), "quote", "invalid_json", "body"},
        {TEXT("two", "\"prompt\":\"x\"") TEXT("second", "\"prompt\":\"x\""), "two", "invalid_json", ""},
        {"{\"custom_id\":\"torn\",\"method\":\"POST\",\"url\":\"/v1/comp", "torn", "invalid_json", "url"},
        {"{\"body\":{\"custom_id\":\"inner\",\"a\":\"}\\\"\"},\"custom_id\":\"outer\"", "outer", "invalid_json", ""},
        {"{\"custom\\u005fid\":\"esc\\u002d1\"}", "esc-1", "missing_field", "method"},
        {"{\"custom_id\":\"first\",\"custom_id\":\"second\"}", "first", "invalid_json", "custom_id"},
        {"{\"custom_id\":\"a\\u0000\"}", "line-21", "invalid_value", "custom_id"},
        {"{\"custom_id\":\"\"}", "line-22", "invalid_value", "custom_id"},
        {"{\"custom_id\":7}", "line-23", "invalid_value", "custom_id"},
        {"{\"custom_id\":null}", "line-24", "missing_field", "custom_id"},
        {"null", "line-25", "invalid_json", ""},
        {"{}", "line-26", "missing_field", "custom_id"},
    };
    /* The numbers in made-up names count from the deep line, which is the first. */
    char *text = malloc(1 << 16);
    size_t size = (size_t)sprintf(text, "{\"custom_id\":\"deep\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":");
    memset(text + size, '[', 3000);
    memset(text + size + 3000, ']', 3000);
    size += 6000;
    size += (size_t)sprintf(text + size, "}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        size += (size_t)sprintf(text + size, "\n%s", cases[i].line);
    write_file(text, size);
    free(text);
    slip_request_file *file = open_file(path);
    assert_next(file, "deep", "invalid_json", "prompt");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_next(file, cases[i].name, cases[i].code, cases[i].param);
    assert_end(file);
    slip_request_file_close(file);
    unlink(path);
}

static void write_gzip(const char *text)
{
    write_file("", 0);
    gzFile file = gzopen(path, "ab");
    assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
    gzclose(file);
}

static void test_gzip(void **state)
{
    (void)state;
    write_gzip(TEXT("a", "\"prompt\":\"x\"") "\n");
    gzFile joined = gzopen(path, "ab"); /* files of gzip may be joined */
    gzputs(joined, TEXT("b", "\"prompt\":\"x\""));
    gzclose(joined);
    slip_request_file *file = open_file(path);
    assert_int_equal(slip_request_file_count(file), 2);
    for (int round = 0; round < 2; round++) {
        assert_next(file, "a", "", "");
        assert_next(file, "b", "", "");
        assert_end(file);
        assert_int_equal(slip_request_file_rewind(file), SLIP_OK);
    }
    slip_request_file_close(file);
    unlink(path);
}

static void assert_no_file(const char *name, const char *cause)
{
    slip_request_file *file;
    slip_clear();
    assert_int_equal(slip_request_file_open(name, NULL, &file), SLIP_ERR_INPUT);
    if (strstr(slip_cause(), name) == NULL || strstr(slip_cause(), cause) == NULL)
        fail_msg("cause: %s", slip_cause());
    slip_clear();
}

static void test_bad_gzip(void **state)
{
    (void)state;
    struct stat info;
    write_gzip(TEXT("a", "\"prompt\":\"x\"") "\n");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 5), 0);
    assert_no_file(path, "ends inside of its gzip stream");
    unlink(path);
    write_gzip(TEXT("a", "\"prompt\":\"x\"") "\n");
    int file = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(file, "{}\n", 3), 3);
    close(file);
    assert_no_file(path, "is not gzip");
    file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "\xff\xff\xff", 3, 12), 3);
    close(file);
    assert_no_file(path, "no sound gzip file");
    unlink(path);
}

static void test_bad_files(void **state)
{
    (void)state;
    assert_no_file("no/such/folder/requests.jsonl", "No such file");
    assert_no_file("/", "directory");
    assert_no_file("/dev/null", "a device, not a regular file");
    write_file("", 0);
    assert_no_file(path, "no request");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_no_file(path, "a FIFO, not a regular file");
    unlink(path);
    write_file("\n \n\xef\xbb\xbf\n", 7);
    assert_no_file(path, "no request");
    unlink(path);
    write_file("\xff\xfe{\0", 4);
    assert_no_file(path, "is UTF-16");
    unlink(path);
    write_file("\x28\xb5\x2f\xfd....", 8);
    assert_no_file(path, "compressed with zstd");
    unlink(path);
    static const struct {
        const char *bytes, *is;
        size_t size;
    } foreign[] = {
        {"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file, as models and traces are, not text", 10},
        {"PK\3\4....", "is a zip archive, not text in UTF-8 or gzip: unzip -p makes it so", 8},
        {"PAR1\x15\x04", "is a Parquet file, not text", 6},
        {"ARROW1\0\0", "is an Arrow file, not text", 8},
        {"SQLite format 3\0\x10", "is an SQLite database, not text", 17},
        {"\x0a\x02\0\0\0\0\0\0{\"a\"", "is a safetensors file, not text", 12},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        write_file(foreign[i].bytes, foreign[i].size);
        assert_no_file(path, foreign[i].is);
        unlink(path);
    }
    write_file("PAR is none\n", 12); /* a bad line, in a file of lines */
    slip_request_file_close(open_file(path));
    unlink(path);
}

/* Standard input, from a pipe and from a file. */
static void test_standard_input(void **state)
{
    (void)state;
    static const char text[] = TEXT("a", "\"prompt\":\"x\"") "\n" TEXT("b", "\"prompt\":\"y\"") "\n";
    int own = dup(STDIN_FILENO), ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, sizeof text - 1), sizeof text - 1);
    close(ends[1]);
    write_file(text, sizeof text - 1);
    int source[2] = {ends[0], open(path, O_RDONLY)};
    for (int i = 0; i < 2; i++) {
        assert_true(dup2(source[i], STDIN_FILENO) >= 0);
        close(source[i]);
        slip_request_file *file = open_file("-");
        assert_int_equal(slip_request_file_count(file), 2);
        assert_next(file, "a", "", "");
        assert_int_equal(slip_request_file_rewind(file), SLIP_OK);
        assert_next(file, "a", "", "");
        assert_next(file, "b", "", "");
        assert_end(file);
        slip_request_file_close(file);
    }
    dup2(own, STDIN_FILENO);
    close(own);
    unlink(path);
}

/* A file that is edited meanwhile is noticed before a request of it gets a wrong name. */
static void test_changed_meanwhile(void **state)
{
    (void)state;
    bool found;
    write_file(TEXT("a", "\"prompt\":\"x\"") "\n", sizeof TEXT("a", "\"prompt\":\"x\""));
    slip_request_file *file = open_file(path);
    int writer = open(path, O_WRONLY);
    assert_int_equal(pwrite(writer, "b", 1, 14), 1);
    close(writer);
    assert_int_equal(slip_request_file_rewind(file), SLIP_OK);
    assert_int_equal(slip_request_file_next(file, &found), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "line 1 has changed"));
    slip_clear();
    slip_request_file_close(file);
    unlink(path);
}

/* More names than a table begins with, each known again. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    size_t size = 0;
    char *text = malloc(MANY * 100);
    for (int i = 0; i < MANY; i++)
        size += (size_t)sprintf(text + size, TEXT("r%d", "\"prompt\":\"x\"") "\n", i % (MANY - 1));
    write_file(text, size);
    free(text);
    slip_request_file *file = open_file(path);
    assert_int_equal(slip_request_file_count(file), MANY);
    for (int i = 0; i < MANY - 1; i++) {
        char name[20];
        snprintf(name, sizeof name, "r%d", i);
        assert_next(file, name, "", "");
    }
    assert_next(file, "r0", "duplicate_custom_id", "custom_id");
    assert_end(file);
    slip_request_file_close(file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_file),      cmocka_unit_test(test_line_hash), cmocka_unit_test(test_names_survive),
        cmocka_unit_test(test_gzip),           cmocka_unit_test(test_bad_gzip),  cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_standard_input), cmocka_unit_test(test_many),      cmocka_unit_test(test_changed_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

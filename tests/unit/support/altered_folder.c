#include "altered_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "folder.h"

static void shell(const char *format, const char *a, const char *b)
{
    char command[512];
    snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0); /* our own paths: NOLINT(cert-env33-c) */
}

altered_folder altered_copy(const char *fixture)
{
    altered_folder f = {.at = "/tmp/slipstream-test-XXXXXX"};
    assert_non_null(mkdtemp(f.at));
    snprintf(f.source, sizeof f.source, "%s/source", f.at);
    snprintf(f.model, sizeof f.model, "%s/model.h5", f.at);
    shell("cp -r tests/golden/forward/fixtures/%s %s", fixture, f.source);
    return f;
}

void altered_drop(altered_folder *f)
{
    shell("rm -rf %s%s", f->at, "");
}

const char *altered_path(const altered_folder *f, const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", f->source, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void altered_write(const altered_folder *f, const char *name, const void *bytes, size_t size)
{
    write_file(altered_path(f, name), bytes, size);
}

slip_status altered_convert(const altered_folder *f, slip_convert_experts experts, bool dry_run)
{
    slip_convert_options options = {
        .source_folder = f->source, .out_path = f->model, .experts = experts, .dry_run = dry_run, .quiet = true};
    slip_clear();
    return slip_convert_run(&options);
}

void altered_refuse(const altered_folder *f, slip_convert_experts experts, bool dry_run, const char *defect, const char *first,
                    const char *second)
{
    char partial[96];
    slip_status status = altered_convert(f, experts, dry_run);
    snprintf(partial, sizeof partial, "%s.partial", f->model);
    bool left = access(f->model, F_OK) == 0 || access(partial, F_OK) == 0;
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), first) == NULL || strstr(slip_cause(), second) == NULL || left)
        fail_msg("%s: status %d%s, \"%s\"; expected \"%s\" and \"%s\"", defect, status, left ? ", a file left" : "", slip_cause(), first,
                 second);
    slip_clear();
}

/* The header, 8 bytes of length and then its text, is put together anew; offsets count from its end and stay as they are. */
bool altered_header(const char *path, const char *after, const char *from, const char *to)
{
    size_t size, text = 0, cut = strlen(from), grown = strlen(to);
    char *bytes = folder_read(path, &size);
    for (int i = 7; i >= 0; i--)
        text = text << 8 | (unsigned char)bytes[i];
    assert_true(text <= size - 8);
    char *header = strndup(bytes + 8, text), *at = strstr(header, after), *made = malloc(size + grown);
    at = at != NULL ? strstr(at, from) : NULL;
    if (at != NULL) {
        size_t before = (size_t)(at - header);
        memcpy(made + 8, header, before);
        memcpy(made + 8 + before, to, grown);
        memcpy(made + 8 + before + grown, at + cut, size - 8 - before - cut > text - before - cut ? text - before - cut : 0);
        memcpy(made + 8 + text - cut + grown, bytes + 8 + text, size - 8 - text);
        for (int i = 0; i < 8; i++)
            made[i] = (char)((text - cut + grown) >> (8 * i));
        write_file(path, made, size - cut + grown);
    }
    free(made);
    free(header);
    free(bytes);
    return at != NULL;
}

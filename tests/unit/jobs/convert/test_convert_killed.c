/* A conversion that is killed at each of its system calls in turn, and started again: layers that were finished stay as they are, nothing
 * half made is taken for whole, and the end is byte for byte what an undisturbed run gives. While one run lives, no other takes its target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "convert_source.h"

enum { FILES = 8 };

/* ---- the calls, which the linker leads here ---- */

static int calls, last_call, last_signal; /* so many were made; with which one the process ends, and how */

ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t offset);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset);
int __wrap_rename(const char *from, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_fsync(int fd);

static bool is_last(void)
{
    return ++calls == last_call;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    if (is_last()) {
        __real_pwrite(fd, data, size / 2, offset); /* torn */
        raise(last_signal);
    }
    return __real_pwrite(fd, data, size, offset);
}

int __wrap_rename(const char *from, const char *to)
{
    if (is_last())
        raise(last_signal);
    int result = __real_rename(from, to);
    if (is_last())
        raise(last_signal);
    return result;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    int result = __real_mkdir(path, mode);
    if (is_last())
        raise(last_signal);
    return result;
}

/* A killed process leaves to the kernel what it wrote: nothing is to be waited for. */
int __wrap_fsync(int fd)
{
    (void)fd;
    if (is_last())
        raise(last_signal);
    return 0;
}

/* ---- a run ---- */

typedef struct {
    source s;
    slip_convert_files files;
    char model[256];
} scene;

static scene make_scene(slip_convert_files files)
{
    scene made = {make_source("BF16", "F8_E4M3"), files, ""};
    add_draft(&made.s, "");
    snprintf(made.model, sizeof made.model, "%s", folder_join(made.s.at, "m.h5"));
    return made;
}

static slip_status run(const scene *at, slip_convert_experts experts)
{
    slip_convert_options options = {
        .source_folder = at->s.at->path, .out_path = at->model, .experts = experts, .files = at->files, .quiet = true};
    slip_clear();
    return slip_convert_run(&options);
}

/* In a process of its own, which gets that signal at that call. */
static pid_t start(const scene *at, int call, int number)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        calls = 0, last_call = call, last_signal = number;
        _exit(run(at, SLIP_CONVERT_KEEP) == SLIP_OK ? 0 : 1);
    }
    return child;
}

/* False: it made fewer calls, and ended well. */
static bool kill_at(const scene *at, int call)
{
    int result;
    pid_t child = start(at, call, SIGKILL);
    assert_int_equal(waitpid(child, &result, 0), child);
    if (WIFEXITED(result))
        assert_int_equal(WEXITSTATUS(result), 0);
    return WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL;
}

/* ---- what is there ---- */

typedef struct {
    char name[FILES][32];
    char *bytes[FILES];
    size_t size[FILES];
    ino_t inode[FILES];
    int count;
} outcome;

static void take(outcome *o, const scene *at, const char *name)
{
    struct stat info;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", at->s.at->path, name);
    assert_true(o->count < FILES && stat(path, &info) == 0);
    snprintf(o->name[o->count], sizeof o->name[0], "%s", name);
    o->inode[o->count] = info.st_ino;
    o->bytes[o->count] = folder_read(path, &o->size[o->count]);
    o->count++;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(left, right);
}

/* The index, and the layers' files in the order of their names; `whole`: and nothing else. */
static outcome look(const scene *at, bool whole)
{
    outcome o = {.count = 0};
    char folder_path[300], names[FILES][32] = {""};
    int count = 0;
    snprintf(folder_path, sizeof folder_path, "%s.d", at->model);
    DIR *listed = opendir(folder_path);
    for (struct dirent *entry; listed != NULL && (entry = readdir(listed)) != NULL;) {
        bool is_part = strstr(entry->d_name, ".h5") != NULL && strstr(entry->d_name, ".partial") == NULL;
        if (whole && !is_part && entry->d_name[0] != '.')
            fail_msg("%s is left", entry->d_name);
        if (is_part && count < FILES)
            snprintf(names[count++], sizeof names[0], "m.h5.d/%.20s", entry->d_name);
    }
    if (listed != NULL)
        closedir(listed);
    qsort(names, (size_t)count, sizeof names[0], by_name);
    for (int i = 0; i < count; i++)
        take(&o, at, names[i]);
    if (access(at->model, F_OK) == 0)
        take(&o, at, "m.h5");
    return o;
}

static void drop(outcome *o)
{
    for (int i = 0; i < o->count; i++)
        free(o->bytes[i]);
    *o = (outcome){.count = 0};
}

static void clear(const scene *at)
{
    static const char *const names[] = {"m.h5.d/draft.h5",
                                        "m.h5.d/layer-000.h5",
                                        "m.h5.d/layer-001.h5",
                                        "m.h5.d/draft.h5.partial",
                                        "m.h5.d/layer-000.h5.partial",
                                        "m.h5.d/layer-001.h5.partial",
                                        "m.h5",
                                        "m.h5.partial",
                                        "m.h5.lock",
                                        "m.h5.d"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)remove(folder_join(at->s.at, names[i]));
}

/* ---- killed ---- */

/* What a kill left is whole, file by file. */
static void check_left(const outcome *left, const outcome *wanted, int call)
{
    for (int i = 0; i < left->count; i++) {
        int same = 0;
        while (same < wanted->count && strcmp(wanted->name[same], left->name[i]) != 0)
            same++;
        if (same == wanted->count || left->size[i] != wanted->size[same] || memcmp(left->bytes[i], wanted->bytes[same], left->size[i]) != 0)
            fail_msg("call %d: %s is not the one of an undisturbed run", call, left->name[i]);
    }
}

/* Those that were there have not been written again. */
static void check_end(const outcome *end, const outcome *left, const outcome *wanted, int call)
{
    if (end->count != wanted->count)
        fail_msg("call %d: %d files, not %d", call, end->count, wanted->count);
    check_left(end, wanted, call);
    for (int i = 0; i < left->count; i++)
        for (int k = 0; k < end->count; k++)
            if (strcmp(left->name[i], end->name[k]) == 0 && left->inode[i] != end->inode[k])
                fail_msg("call %d: %s was written again", call, left->name[i]);
}

static void check_kills(slip_convert_files files, int wanted_files)
{
    scene at = make_scene(files);
    const int stride = getenv("QUICK") != NULL ? 7 : 1;
    int killed = 0;
    last_call = 0;
    if (run(&at, SLIP_CONVERT_KEEP) != SLIP_OK)
        fail_msg("%s", slip_cause());
    outcome wanted = look(&at, true);
    assert_int_equal(wanted.count, wanted_files);
    clear(&at);
    for (int call = 1; kill_at(&at, call); call += stride, killed++) {
        outcome left = look(&at, false);
        check_left(&left, &wanted, call);
        if (access(at.model, F_OK) == 0) { /* killed after the last rename: all is done, and a second run says so */
            assert_int_equal(run(&at, SLIP_CONVERT_KEEP), SLIP_ERR_INPUT);
            assert_non_null(strstr(slip_cause(), "m.h5: exists already"));
        } else if (run(&at, SLIP_CONVERT_KEEP) != SLIP_OK) {
            fail_msg("call %d: started again: %s", call, slip_cause());
        }
        outcome end = look(&at, true);
        check_end(&end, &left, &wanted, call);
        drop(&left);
        drop(&end);
        clear(&at);
    }
    assert_true(killed * stride > 20); /* each is a write, a rename or the like */
    drop(&wanted);
    drop_source(&at.s);
}

static void test_layers(void **state)
{
    (void)state;
    check_kills(SLIP_CONVERT_LAYER_FILES, 4);
}

static void test_one_file(void **state)
{
    (void)state;
    check_kills(SLIP_CONVERT_ONE_FILE, 1);
}

/* ---- two runs ---- */

/* One run stands still in the middle, as a slow one would; the other one is kept out, with the same options or others, and so is every
 * other until the first has ended. */
static void test_two_runs(void **state)
{
    (void)state;
    scene at = make_scene(SLIP_CONVERT_LAYER_FILES);
    int result;
    last_call = 0;
    pid_t child = start(&at, 30, SIGSTOP);
    assert_int_equal(waitpid(child, &result, WUNTRACED), child);
    assert_true(WIFSTOPPED(result));
    outcome left = look(&at, false);
    for (int experts = SLIP_CONVERT_KEEP; experts <= SLIP_CONVERT_MXFP4; experts++) {
        assert_int_equal(run(&at, (slip_convert_experts)experts), SLIP_ERR_INPUT);
        assert_non_null(strstr(slip_cause(), experts == SLIP_CONVERT_KEEP ? "m.h5: is being written by process" : "m.h5"));
    }
    outcome after = look(&at, false);
    assert_true(after.count == left.count && left.count > 0 && after.count < 4);
    kill(child, SIGCONT);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    outcome first = look(&at, true);
    clear(&at);
    assert_int_equal(run(&at, SLIP_CONVERT_KEEP), SLIP_OK);
    outcome alone = look(&at, true);
    check_left(&first, &alone, 0);
    assert_int_equal(first.count, alone.count);
    drop(&left);
    drop(&after);
    drop(&first);
    drop(&alone);
    drop_source(&at.s);
}

/* A rank that outlived the one with the lock goes on writing its layer: whoever comes next may not write to the same file. */
static void test_orphan(void **state)
{
    (void)state;
    scene at = make_scene(SLIP_CONVERT_LAYER_FILES);
    int result;
    pid_t child = start(&at, 30, SIGSTOP);
    assert_int_equal(waitpid(child, &result, WUNTRACED), child);
    assert_true(WIFSTOPPED(result));
    assert_int_equal(unlink(folder_join(at.s.at, "m.h5.lock")), 0);
    last_call = 0;
    assert_int_equal(run(&at, SLIP_CONVERT_KEEP), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), ".h5.partial: another process is writing it"));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(run(&at, SLIP_CONVERT_KEEP), SLIP_OK);
    outcome end = look(&at, true);
    clear(&at);
    assert_int_equal(run(&at, SLIP_CONVERT_KEEP), SLIP_OK);
    outcome alone = look(&at, true);
    assert_int_equal(end.count, 4);
    check_left(&end, &alone, 30);
    drop(&end);
    drop(&alone);
    drop_source(&at.s);
}

/* What a killed run left of one conversion is not gone on with by another. */
static void test_other_options(void **state)
{
    (void)state;
    scene at = make_scene(SLIP_CONVERT_LAYER_FILES);
    assert_true(kill_at(&at, 60));
    outcome left = look(&at, false);
    assert_true(left.count > 0);
    assert_int_equal(run(&at, SLIP_CONVERT_MXFP4), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "finished by an earlier run from another source, or with other options"));
    outcome after = look(&at, false);
    check_end(&after, &left, &left, 60);
    drop(&left);
    drop(&after);
    drop_source(&at.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers), cmocka_unit_test(test_one_file),      cmocka_unit_test(test_two_runs),
        cmocka_unit_test(test_orphan), cmocka_unit_test(test_other_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

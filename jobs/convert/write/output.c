#include "jobs/convert/write/output.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/file/file.h"
#include "io/base/file/lock.h"
#include "io/checkpoint/parts.h"
#include "io/report/progress.h"

enum { SLACK = 8192 /* bytes that HDF5 may add to a dataset: its header, and an alignment */ };
static const int64_t LARGE = (int64_t)4 << 30;
static const double LAYER_SECONDS = 7200; /* ranks wait for each other after every layer, which a slow disk may take long for */

/* One file to write: a layer, the drafter, or all that an index keeps (`group` ""). */
typedef struct {
    char group[SLIP_PART_GROUP];
    int64_t bytes;
    bool finished; /* by an earlier run */
} unit;

typedef struct {
    const slip_convert_output *o;
    unit *units; /* [count] but the index; owned */
    int32_t count;
    int64_t bytes, done; /* of all ranks, without what was finished before */
    slip_progress progress;
} writing;

static int rank_of(const slip_convert_output *o)
{
    return o->comm != NULL ? slip_comm_rank(o->comm) : 0;
}

slip_status slip_convert_agree(slip_comm *comm, slip_status status)
{
    return comm != NULL ? slip_comm_agree(comm, status) : status;
}

bool slip_convert_is_large(const int64_t *bytes, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += bytes[i];
    return sum > LARGE;
}

/* ---- which files, and which are there ---- */

/* "" where the index keeps the weight. */
static void group_of(const slip_convert_output *o, size_t weight, char group[SLIP_PART_GROUP])
{
    if (!o->apart || !slip_part_of_weight(o->weights[weight].name, group))
        group[0] = '\0';
}

static slip_status list_units(writing *w)
{
    char group[SLIP_PART_GROUP];
    w->units = calloc(w->o->count + 1, sizeof *w->units);
    if (w->units == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for a list of %zu weights", w->o->count);
    for (size_t i = 0; i < w->o->count; i++) { /* a layer's weights follow each other */
        group_of(w->o, i, group);
        w->bytes += w->o->bytes[i];
        if (group[0] == '\0')
            continue;
        if (w->count == 0 || strcmp(w->units[w->count - 1].group, group) != 0)
            memcpy(w->units[w->count++].group, group, sizeof group);
        w->units[w->count - 1].bytes += w->o->bytes[i];
    }
    return SLIP_OK;
}

static slip_status check_finished(const slip_convert_output *o, const char *path, unit *u)
{
    slip_checkpoint part;
    slip_status status = slip_checkpoint_open_part(path, u->group, &part);
    if (status != SLIP_OK)
        return status;
    int64_t bytes = 0;
    for (int32_t i = 0; i < part.dataset_count; i++)
        bytes += part.datasets[i].bytes;
    if (strcmp(part.origin, o->origin) != 0)
        status = slip_fail(SLIP_ERR_INPUT,
                           "%s: finished by an earlier run from another source, or with other options; remove it or name another model",
                           path);
    else if (bytes != u->bytes)
        status = slip_fail(SLIP_ERR_INPUT, "%s: finished by an earlier run with %lld bytes of weights where there must be %lld; remove it",
                           path, (long long)bytes, (long long)u->bytes);
    slip_checkpoint_free(&part);
    u->finished = status == SLIP_OK;
    return status;
}

static slip_status find_finished(writing *w)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < w->count && status == SLIP_OK; i++) {
        unit *u = &w->units[i];
        char *path = slip_part_path(w->o->path, u->group);
        if (path == NULL)
            return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its path", w->o->path);
        if (access(path, F_OK) == 0)
            status = check_finished(w->o, path, u);
        if (u->finished)
            w->bytes -= u->bytes;
        free(path);
    }
    return status;
}

slip_status slip_convert_output_absent(const char *path)
{
    if (!slip_file_is_there(path)) /* a link to nothing is: its file may be on a disk that is not mounted */
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "%s: exists already; remove it or choose another name", path);
}

static slip_status check_room(const writing *w)
{
    const slip_convert_output *o = w->o;
    struct statvfs disk;
    int64_t needed = w->bytes + o->bytes_beside + (int64_t)o->texts.tokenizer_size + SLACK * (int64_t)(2 * o->count + 16);
    char *copy = strdup(o->path);
    const char *folder = copy != NULL ? dirname(copy) : ".";
    slip_status status = slip_convert_output_absent(o->path);
    if (status == SLIP_OK && statvfs(folder, &disk) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: cannot be created: %s: %s", o->path, folder, strerror(errno));
    else if (status == SLIP_OK && disk.f_bavail < (uint64_t)needed / disk.f_frsize)
        status = slip_fail(SLIP_ERR_FAILED, "%s: needs %lld bytes, and its file system has %llu left", o->path, (long long)needed,
                           (unsigned long long)disk.f_bavail * disk.f_frsize);
    free(copy);
    return status;
}

static slip_status prepare(writing *w)
{
    slip_status status = list_units(w);
    if (status == SLIP_OK)
        status = find_finished(w);
    return status == SLIP_OK ? check_room(w) : status;
}

slip_status slip_convert_output_check(const slip_convert_output *output)
{
    writing w = {.o = output};
    slip_status status = prepare(&w);
    free(w.units);
    return status;
}

/* ---- writing ---- */

static void report(writing *w)
{
    slip_progress_bytes(&w->progress, "converting", w->done, w->bytes, slip_now_s());
}

/* The weights of one file. */
static slip_status write_weights(writing *w, const char *group, slip_checkpoint_writer *writer)
{
    char of[SLIP_PART_GROUP];
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < w->o->count && status == SLIP_OK; i++) {
        group_of(w->o, i, of);
        if (strcmp(of, group) != 0)
            continue;
        status = w->o->write(w->o->context, i, writer);
        if (!w->o->apart)
            w->done += w->o->bytes[i];
        report(w);
    }
    return status;
}

static slip_status write_part(writing *w, const unit *u)
{
    const slip_convert_output *o = w->o;
    slip_checkpoint_writer *writer = NULL;
    char *path = slip_part_path(o->path, u->group), *rounding = NULL;
    slip_status status = path != NULL ? slip_checkpoint_create_part(path, u->group, o->origin, &writer)
                                      : slip_fail(SLIP_ERR_FAILED, "%s: no memory for its path", o->path);
    slip_rounding_clear(o->rounding);
    if (status == SLIP_OK)
        status = write_weights(w, u->group, writer);
    if (status == SLIP_OK)
        status = slip_rounding_text(o->rounding, &rounding);
    if (status == SLIP_OK)
        status = slip_checkpoint_add_rounding(writer, rounding);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(writer);
    slip_checkpoint_writer_free(writer);
    free(rounding);
    free(path);
    return status;
}

/* A layer a rank at a time. Ranks meet after each, so that a failure ends all of them soon. */
static slip_status write_parts(writing *w)
{
    int ranks = w->o->comm != NULL ? slip_comm_ranks(w->o->comm) : 1;
    slip_status status = SLIP_OK;
    int32_t next = 0;
    while (next < w->count && status == SLIP_OK) {
        int64_t bytes = 0;
        const unit *mine = NULL;
        for (int taken = 0; taken < ranks && next < w->count; next++) {
            if (w->units[next].finished)
                continue;
            if (taken++ == rank_of(w->o))
                mine = &w->units[next];
            bytes += w->units[next].bytes;
        }
        /* slip_convert_output_write() frees the units: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        status = slip_convert_agree(w->o->comm, mine != NULL ? write_part(w, mine) : SLIP_OK);
        w->done += bytes;
        report(w);
    }
    return status;
}

static slip_status link_parts(writing *w, slip_checkpoint_writer *writer)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < w->count && status == SLIP_OK; i++) {
        slip_checkpoint part = {0};
        char *path = slip_part_path(w->o->path, w->units[i].group);
        status = path != NULL ? slip_checkpoint_open_part(path, w->units[i].group, &part)
                              : slip_fail(SLIP_ERR_FAILED, "no memory for a path");
        if (status == SLIP_OK)
            status = slip_checkpoint_link(writer, w->units[i].group, &part);
        if (status == SLIP_OK && part.rounding != NULL)
            status = slip_rounding_parse(w->o->rounding, part.rounding, path);
        slip_checkpoint_free(&part);
        free(path);
    }
    return status;
}

/* The file itself: all of it, or the index, which is the last to be there. */
static slip_status write_main(writing *w)
{
    slip_checkpoint_texts texts = w->o->texts;
    slip_checkpoint_writer *writer = NULL;
    texts.index = w->o->apart;
    slip_status status = slip_checkpoint_create(w->o->path, &texts, &writer);
    slip_rounding_clear(w->o->rounding);
    if (status == SLIP_OK)
        status = write_weights(w, "", writer);
    if (status == SLIP_OK)
        status = link_parts(w, writer);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(writer);
    slip_checkpoint_writer_free(writer);
    return status;
}

/* Rank 0, with the lock. */
static slip_status make_folder(const slip_convert_output *o)
{
    char *folder = o->apart ? slip_part_folder(o->path) : NULL;
    slip_status status = SLIP_OK;
    if (o->apart && folder == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for its path", o->path);
    else if (o->apart && mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = slip_fail(slip_file_blame(errno), "%s: cannot be created: %s", folder, strerror(errno));
    free(folder);
    return status;
}

/* Layers of an earlier conversion, finished or not, beside a file that has all: they may be as large, and are not ours to remove. */
static void warn_of_folder(const slip_convert_output *o)
{
    char *folder = slip_part_folder(o->path);
    if (!o->apart && folder != NULL && access(folder, F_OK) == 0)
        fprintf(stderr, "warning: %s: left by an earlier conversion to a file a layer: nothing reads it beside this %s\n", folder, o->path);
    free(folder);
}

/* Every rank looks for finished layers with the lock held: all find the same ones. */
static slip_status write_all(writing *w)
{
    slip_status status = rank_of(w->o) == 0 ? make_folder(w->o) : SLIP_OK;
    status = slip_convert_agree(w->o->comm, status);
    if (status == SLIP_OK)
        status = slip_convert_agree(w->o->comm, prepare(w));
    slip_progress_start(&w->progress, w->o->quiet || rank_of(w->o) != 0 ? NULL : stderr, 0, 0, slip_now_s());
    if (status == SLIP_OK)
        status = write_parts(w);
    if (status == SLIP_OK && rank_of(w->o) == 0)
        status = write_main(w);
    slip_progress_clear(&w->progress);
    if (status == SLIP_OK && rank_of(w->o) == 0)
        warn_of_folder(w->o);
    return slip_convert_agree(w->o->comm, status);
}

slip_status slip_convert_output_write(const slip_convert_output *output)
{
    writing w = {.o = output};
    slip_lock *lock = NULL;
    if (output->comm != NULL)
        slip_comm_set_deadline(output->comm, LAYER_SECONDS);
    slip_status status = rank_of(output) == 0 ? slip_lock_take(output->path, &lock) : SLIP_OK;
    status = slip_convert_agree(output->comm, status);
    if (status == SLIP_OK)
        status = write_all(&w);
    free(w.units);
    slip_lock_release(lock);
    return status;
}

slip_status slip_convert_output_figures(const slip_convert_output *output, json_t *object)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < output->count; i++)
        bytes += output->bytes[i];
    if (object == NULL)
        return SLIP_OK;
    json_t *members = json_pack("{s:b,s:I,s:o}", "layer_files", output->apart, "converted_bytes", (json_int_t)bytes, "rounded_to_mxfp4",
                                slip_rounding_json(output->rounding));
    bool made = members != NULL && json_object_update(object, members) == 0;
    json_decref(members);
    return made ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for the figures");
}

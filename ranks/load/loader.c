#include "ranks/load/loader.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/base/memory/large.h"
#include "io/base/pool/pool.h"
#include "io/checkpoint/checksum.h"

enum {
    READ = 8 << 20,   /* whole blocks of checksums; two of them in flight keep a disk busy */
    PIECE = 64 << 20, /* experts or rows of a piece, together */
    PACK = 16 << 20,  /* rows that one thread packs at a time, of a weight that comes in pieces of its rows */
    PIECES = 2,       /* one is read, one is packed */
    PLACES = 64,      /* that a read fills; more, and it is sorted into them */
    MOST_THREADS = 8, /* more than a rank's disk can feed */
};
_Static_assert(READ % SLIP_CHECKSUM_BLOCK == 0, "a read begins and ends with a block");

typedef struct transfer transfer;

/* What one thread does at a time: check a read, and sort it into its piece where it was not read there; or pack an expert or some rows. */
typedef struct {
    slip_pool_job job;
    slip_loader *loader;
    transfer *transfer;
    unsigned char *data; /* [READ] */
    slip_strip_read read;
    struct iovec places[PLACES];
    int32_t place_count;
    bool sorted;                 /* it went to `data` whole */
    const slip_dataset *dataset; /* of the read, which goes with its piece */
    int64_t damaged;             /* the first block that is; -1: none */
    slip_pool_open_jobs open;
} read_job;

typedef struct {
    slip_pool_job job;
    transfer *transfer;
    int64_t expert;        /* of the piece */
    slip_range rows;       /* of the piece's */
    unsigned char *packed; /* NULL: nothing is on a way */
} pack_job;

/* A piece under way. */
struct transfer {
    slip_loader *loader;
    slip_piece piece;
    pack_job *packs;
    int64_t pack_count, pack_room;
    unsigned char *packed; /* all of it, on the way to a device */
    size_t packed_room, packed_bytes;
    bool by_rows;   /* each pack is stored by itself */
    int64_t unread; /* reads that are not sorted in yet, and one more until all have been made; atomic */
    bool given_up;  /* not all could be read */
    slip_pool_open_jobs open;
};

struct slip_loader {
    const slip_source *source;
    const slip_program *program;
    const slip_executor_kind *kind;
    slip_executor *executor;
    slip_pool *pool;
    read_job reads[MOST_THREADS + 2];
    int32_t read_count, next_read;
    transfer transfers[PIECES];
    int32_t next_transfer;
};

/* ---- in any thread ---- */

static void run_pack(void *context)
{
    const pack_job *pack = context;
    transfer *t = pack->transfer;
    slip_loader *loader = t->loader;
    slip_weight weight = slip_piece_rows(&t->piece, pack->expert, pack->rows);
    loader->kind->pack(loader->executor, t->piece.index, &weight, 0, t->piece.first + pack->expert, pack->packed);
}

/* One more read of the piece is sorted in; the last one has it packed. */
static void count_read(transfer *t)
{
    slip_pool *pool = t->loader->pool;
    if (__atomic_sub_fetch(&t->unread, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (int64_t i = 0; i < t->pack_count && !t->given_up; i++)
        slip_pool_submit(pool, &t->packs[i].job);
    slip_pool_release(pool, &t->open);
}

static void run_read(void *context)
{
    read_job *r = context;
    const slip_checkpoint *checkpoint = &r->loader->source->table;
    r->damaged = slip_checksum_find_damage_in(checkpoint, r->dataset, r->read.first, r->places, r->place_count);
    if (r->damaged < 0 && r->sorted)
        slip_strip_scatter(&r->read, r->data);
    count_read(r->transfer);
}

/* ---- in the main thread ---- */

/* The buffer is free again, and what was in it was whole. */
static slip_status retire_read(slip_loader *loader, read_job *r)
{
    slip_pool_wait(loader->pool, &r->open, "checking", loader->source->path);
    int64_t damaged = r->damaged;
    r->damaged = -1;
    if (damaged < 0)
        return SLIP_OK;
    const slip_dataset *dataset = r->dataset;
    return slip_checksum_damaged(loader->source->files.paths[dataset->file], dataset, damaged);
}

/* One weight may be far larger than pieces are: what it took does not stay until the end. */
static void drop_large(slip_loader *loader, transfer *t)
{
    if (t->piece.data.room > PIECE)
        slip_piece_free(&t->piece);
    if (t->packed_room <= PIECE)
        return;
    loader->kind->free_packed(loader->executor, t->packed);
    t->packed = NULL;
    t->packed_room = 0;
}

static slip_status store_experts(slip_loader *loader, const transfer *t)
{
    int64_t bytes = (int64_t)t->packed_bytes;
    return loader->kind->store(loader->executor, t->piece.index, t->piece.first * bytes, t->pack_count * bytes, t->packed);
}

static slip_status store_rows(slip_loader *loader, const transfer *t)
{
    slip_status status = SLIP_OK;
    for (int64_t i = 0; i < t->pack_count && status == SLIP_OK && loader->kind->store_rows; i++) {
        const pack_job *pack = &t->packs[i];
        status = loader->kind->store_rows(loader->executor, t->piece.index, t->piece.weight.first_row + pack->rows.first, pack->rows.count,
                                          pack->packed);
    }
    return status;
}

/* A piece is packed: to the device with it. */
static slip_status retire_transfer(slip_loader *loader, transfer *t)
{
    if (!t->piece.tensor)
        return SLIP_OK;
    slip_pool_wait(loader->pool, &t->open, "packing", loader->source->path);
    t->piece.tensor = NULL;
    slip_status status = t->by_rows ? store_rows(loader, t) : store_experts(loader, t);
    drop_large(loader, t);
    return status;
}

static size_t packed_bytes(const slip_loader *loader, const transfer *t, int64_t rows)
{
    return loader->kind->packed_bytes ? loader->kind->packed_bytes(loader->executor, t->piece.index, rows) : 0;
}

static slip_status reserve_packed(slip_loader *loader, transfer *t, size_t bytes)
{
    const slip_executor_kind *kind = loader->kind;
    if (bytes <= t->packed_room)
        return SLIP_OK;
    if (t->packed)
        kind->free_packed(loader->executor, t->packed);
    t->packed = NULL;
    t->packed_room = 0;
    slip_status status = kind->alloc_packed(loader->executor, bytes, &t->packed);
    t->packed_room = status == SLIP_OK ? bytes : 0;
    return status;
}

/* What is to be packed of a piece: its experts, or so many rows at a time. */
static slip_status plan_packs(slip_loader *loader, transfer *t, int64_t rows)
{
    const slip_weight *w = &t->piece.weight;
    int64_t bands = t->by_rows ? (w->rows + rows - 1) / rows : 1, count = w->experts * bands;
    if (count > t->pack_room) {
        free(t->packs);
        t->packs = malloc((size_t)count * sizeof *t->packs);
        t->pack_room = t->packs ? count : 0;
    }
    if (!t->packs)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    t->pack_count = count;
    t->packed_bytes = packed_bytes(loader, t, t->by_rows ? rows : w->rows);
    slip_status status = reserve_packed(loader, t, (size_t)count * t->packed_bytes);
    for (int64_t i = 0; i < count; i++) {
        int64_t first = i % bands * rows, left = w->rows - first;
        t->packs[i] = (pack_job){{run_pack, &t->packs[i], &t->open, NULL},
                                 t,
                                 i / bands,
                                 {first, t->by_rows && left > rows ? rows : left},
                                 t->packed ? t->packed + (size_t)i * t->packed_bytes : NULL};
    }
    return status;
}

/* Where the read goes: into its piece as far as that can be. */
static void place_read(read_job *r, const slip_strip_read *read)
{
    r->read = *read;
    r->dataset = read->strip->dataset;
    r->place_count = slip_strip_places(read, r->data, PLACES, r->places);
    r->sorted = r->place_count == 0;
    if (!r->sorted)
        return;
    r->places[0] = (struct iovec){r->data, (size_t)read->bytes};
    r->place_count = 1;
}

static slip_status read_next(slip_loader *loader, transfer *t, const slip_strip_read *read)
{
    read_job *r = &loader->reads[loader->next_read++ % loader->read_count];
    const slip_dataset *dataset = read->strip->dataset;
    const slip_checkpoint_files *files = &loader->source->files;
    struct iovec places[PLACES];
    slip_status status = retire_read(loader, r);
    if (status != SLIP_OK)
        return status;
    place_read(r, read);
    memcpy(places, r->places, sizeof places);
    status = slip_file_read_places(files->files[dataset->file], files->paths[dataset->file], places, r->place_count,
                                   dataset->offset + read->first);
    if (status != SLIP_OK)
        return status;
    r->transfer = t;
    __atomic_add_fetch(&t->unread, 1, __ATOMIC_RELAXED);
    slip_pool_submit(loader->pool, &r->job);
    return SLIP_OK;
}

/* What will be read after this: the disk can begin. */
static void ask_ahead(const slip_loader *loader, slip_strip_cursor cursor)
{
    slip_strip_read read;
    const slip_checkpoint_files *files = &loader->source->files;
    if (!slip_strip_next(&cursor, READ, &read))
        return;
    const slip_dataset *dataset = read.strip->dataset;
    slip_file_ask_ahead(files->files[dataset->file], files->paths[dataset->file], read.bytes, dataset->offset + read.first);
}

static slip_status read_piece(slip_loader *loader, transfer *t)
{
    slip_strip_cursor cursor = {.strips = t->piece.strips, .count = t->piece.strip_count};
    slip_strip_read read;
    slip_status status = SLIP_OK;
    t->unread = 1;
    t->given_up = false;
    slip_pool_hold(loader->pool, &t->open);
    while (status == SLIP_OK && slip_strip_next(&cursor, READ, &read)) {
        ask_ahead(loader, cursor);
        status = read_next(loader, t, &read);
    }
    t->given_up = status != SLIP_OK;
    count_read(t);
    return status;
}

/* Rows whose codes and scales have so many bytes: a multiple of the executor's. */
static int64_t rows_of(const slip_loader *loader, const slip_weight *form, int64_t bytes)
{
    int64_t unit = loader->kind->row_unit, row = ((int64_t)slip_piece_expert_bytes(form) + form->rows - 1) / form->rows;
    int64_t rows = bytes / row / unit * unit;
    return rows > unit ? rows : unit;
}

static slip_status load_piece(slip_loader *loader, int32_t index, const slip_weight *form, slip_range experts, slip_range rows,
                              int64_t pack_rows)
{
    transfer *t = &loader->transfers[loader->next_transfer++ % PIECES];
    slip_status status = retire_transfer(loader, t);
    if (status == SLIP_OK)
        status = slip_piece_begin(&t->piece, loader->source, loader->program, index, form, experts, rows);
    t->by_rows = pack_rows > 0;
    if (status == SLIP_OK)
        status = plan_packs(loader, t, pack_rows);
    return status == SLIP_OK ? read_piece(loader, t) : status;
}

static slip_status load_rows(slip_loader *loader, int32_t index, const slip_weight *form)
{
    int64_t at_once = rows_of(loader, form, PIECE), pack_rows = rows_of(loader, form, PACK);
    slip_status status = SLIP_OK;
    for (int64_t first = 0; first < form->rows && status == SLIP_OK; first += at_once) {
        int64_t left = form->rows - first;
        status = load_piece(loader, index, form, (slip_range){0, 1}, (slip_range){first, left < at_once ? left : at_once}, pack_rows);
    }
    return status;
}

slip_status slip_loader_tensor(slip_loader *loader, int32_t index, const slip_weight *form)
{
    slip_status status = SLIP_OK;
    int64_t bytes = (int64_t)slip_piece_expert_bytes(form), at_once = bytes > 0 && bytes < PIECE ? PIECE / bytes : 1;
    if (loader->program->tensors[index].experts.first < 0 && bytes > PIECE && loader->kind->row_unit > 0)
        return load_rows(loader, index, form);
    for (int64_t first = 0; first < form->experts && status == SLIP_OK; first += at_once) {
        int64_t left = form->experts - first;
        status = load_piece(loader, index, form, (slip_range){first, left < at_once ? left : at_once}, (slip_range){0, form->rows}, 0);
    }
    return status;
}

/* In the order in which they were made, so that the first damage is the one that is told. */
slip_status slip_loader_finish(slip_loader *loader)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < loader->read_count && status == SLIP_OK; i++)
        status = retire_read(loader, &loader->reads[loader->next_read++ % loader->read_count]);
    for (int32_t i = 0; i < PIECES && status == SLIP_OK; i++)
        status = retire_transfer(loader, &loader->transfers[loader->next_transfer++ % PIECES]);
    return status;
}

/* ---- how it is made ---- */

static slip_status make_reads(slip_loader *loader)
{
    int threads = slip_pool_threads(loader->pool);
    loader->read_count = threads > 0 ? threads + 2 : 1;
    for (int32_t i = 0; i < loader->read_count; i++) {
        read_job *r = &loader->reads[i];
        *r = (read_job){.job = {run_read, r, &r->open, NULL}, .loader = loader, .data = slip_large_alloc(READ), .damaged = -1};
        if (!r->data)
            return slip_fail(SLIP_ERR_FAILED, "out of memory to load a model");
    }
    return SLIP_OK;
}

slip_status slip_loader_open(const slip_source *source, const slip_program *program, const slip_executor_kind *kind,
                             slip_executor *executor, slip_loader **out)
{
    slip_loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    *loader = (slip_loader){.source = source, .program = program, .kind = kind, .executor = executor};
    for (int i = 0; i < PIECES; i++)
        loader->transfers[i].loader = loader;
    int threads = source->threads < MOST_THREADS ? source->threads : MOST_THREADS;
    slip_status status = slip_pool_create(threads, &loader->pool);
    if (status == SLIP_OK)
        status = make_reads(loader);
    if (status != SLIP_OK) {
        slip_loader_free(loader);
        return status;
    }
    *out = loader;
    return SLIP_OK;
}

void slip_loader_free(slip_loader *loader)
{
    for (int32_t i = 0; i < loader->read_count; i++) {
        slip_pool_wait(loader->pool, &loader->reads[i].open, "checking", loader->source->path);
        free(loader->reads[i].data);
    }
    for (int i = 0; i < PIECES; i++) {
        transfer *t = &loader->transfers[i];
        if (loader->pool)
            slip_pool_wait(loader->pool, &t->open, "packing", loader->source->path);
        slip_piece_free(&t->piece);
        free(t->packs);
        if (t->packed)
            loader->kind->free_packed(loader->executor, t->packed);
    }
    if (loader->pool)
        slip_pool_free(loader->pool);
    free(loader);
}

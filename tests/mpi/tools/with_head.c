/* A copy of a model whose drafter gets another in-block head:
 *
 *     with_head MODEL.h5 OUT.h5 RANK STRENGTH [TEXT]
 *
 * The head has seen TEXT: it adds about STRENGTH to the logit of a token that followed the previous one somewhere in it, and little to others. Each
 * token has a code of RANK random signs; a row of `following` is the sum of the codes of all tokens that its own followed. STRENGTH 0, or no
 * TEXT, makes a head that adds nothing, whose drafts are those of the drafter without it. A head that the model has is left out; with RANK 0 there is
 * none then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "io/base/file/file.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "io/text/tokenizer.h"
#include "ranks/model/family.h"
#include "ranks/model/mxfp4.h"

typedef struct {
    slip_checkpoint from;
    slip_checkpoint_files files;
    slip_model model;
    int32_t rank;
    float *previous, *following; /* [vocabulary][rank] */
    char *config;                /* the drafter's, which asks for the head */
} job;

static slip_status no_memory(void)
{
    return slip_fail(SLIP_ERR_FAILED, "out of memory");
}

static float sign_of(int32_t token, int32_t column)
{
    uint64_t x = (uint64_t)token * 4096 + (uint64_t)column + 1;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x >> 31 & 1 ? 1 : -1;
}

static void add_pair(job *j, int32_t before, int32_t token, float strength)
{
    for (int32_t c = 0; c < j->rank; c++)
        j->following[(size_t)token * (size_t)j->rank + (size_t)c] += strength / (float)j->rank * sign_of(before, c);
}

/* Each pair of neighbours once. */
static slip_status learn(job *j, const int32_t *ids, size_t count, float strength)
{
    const size_t vocabulary = (size_t)j->model.vocabulary;
    bool *known = calloc(vocabulary * vocabulary, sizeof *known);
    if (known == NULL)
        return no_memory();
    for (size_t i = 1; i < count; i++) {
        bool *pair = &known[(size_t)ids[i - 1] * vocabulary + (size_t)ids[i]];
        if (!*pair)
            add_pair(j, ids[i - 1], ids[i], strength);
        *pair = true;
    }
    free(known);
    return SLIP_OK;
}

static slip_status read_text(job *j, const char *path, float strength)
{
    slip_tokenizer *tokenizer = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t size = 0, count = 0;
    slip_status status = slip_file_read(path, 1 << 24, &text, &size);
    if (status == SLIP_OK)
        status = slip_tokenizer_parse(j->from.tokenizer, j->from.tokenizer_size, "tokenizer", j->model.vocabulary, &tokenizer);
    if (status == SLIP_OK)
        status = slip_tokenizer_encode(tokenizer, text, size, 0, &ids, &count);
    if (status == SLIP_OK)
        status = learn(j, ids, count, strength);
    if (tokenizer != NULL)
        slip_tokenizer_free(tokenizer);
    free(ids);
    free(text);
    return status;
}

static slip_status make_head(job *j, const char *path, float strength)
{
    const size_t values = (size_t)j->model.vocabulary * (size_t)j->rank;
    j->previous = calloc(values, sizeof(float));
    j->following = calloc(values, sizeof(float));
    if (j->previous == NULL || j->following == NULL)
        return no_memory();
    for (size_t i = 0; i < values; i++)
        j->previous[i] = sign_of((int32_t)(i / (size_t)j->rank), (int32_t)(i % (size_t)j->rank));
    return path != NULL && strength != 0 ? read_text(j, path, strength) : SLIP_OK;
}

static slip_status ask_for_head(job *j)
{
    json_t *config = json_loads(j->from.draft_config, 0, NULL), *dflash = json_object_get(config, "dflash_config");
    json_object_del(dflash, "markov");
    if (j->rank == 0 ? dflash != NULL : json_object_set_new(dflash, "markov", json_integer(j->rank)) == 0)
        j->config = json_dumps(config, 0);
    json_decref(config);
    return j->config != NULL ? SLIP_OK : slip_fail(SLIP_ERR_INPUT, "the drafter's config has no dflash_config");
}

static slip_status add_matrix(slip_checkpoint_writer *writer, const job *j, const char *name, const float *values)
{
    const int64_t rows = j->model.vocabulary, columns = j->rank;
    slip_dataset dataset = {.dtype = SLIP_BF16, .dims = 2, .shape = {rows, columns}, .bytes = rows * columns * 2};
    snprintf(dataset.name, sizeof dataset.name, "draft/%s", name);
    uint16_t *halves = malloc((size_t)dataset.bytes);
    if (halves == NULL)
        return no_memory();
    for (int64_t i = 0; i < rows * columns; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        halves[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    slip_status status = slip_checkpoint_add(writer, &dataset, halves);
    free(halves);
    return status;
}

static slip_status copy_all(slip_checkpoint_writer *writer, const job *j)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < j->from.dataset_count && status == SLIP_OK; i++) {
        const slip_dataset *dataset = &j->from.datasets[i];
        if (strncmp(dataset->name, "draft/markov_", strlen("draft/markov_")) == 0)
            continue;
        void *data = malloc((size_t)dataset->bytes);
        status = data != NULL ? slip_checksum_read(&j->from, &j->files, dataset, data) : no_memory();
        if (status == SLIP_OK)
            status = slip_checkpoint_add(writer, dataset, data);
        free(data);
    }
    return status;
}

static slip_status write_model(const job *j, const char *path)
{
    slip_checkpoint_writer *writer = NULL;
    const slip_checkpoint_texts texts = {j->from.config, j->config, j->from.settings, j->from.tokenizer, j->from.tokenizer_size, false};
    slip_status status = slip_checkpoint_create(path, &texts, &writer);
    if (status == SLIP_OK)
        status = copy_all(writer, j);
    if (status == SLIP_OK && j->rank > 0)
        status = add_matrix(writer, j, "markov_previous", j->previous);
    if (status == SLIP_OK && j->rank > 0)
        status = add_matrix(writer, j, "markov_following", j->following);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(writer);
    slip_checkpoint_writer_free(writer);
    return status;
}

static slip_status make(job *j, const char *from, const char *to, float strength, const char *text)
{
    slip_status status = slip_checkpoint_open(from, &j->from);
    if (status == SLIP_OK)
        status = slip_checkpoint_model(&j->from, from, &j->model);
    if (status == SLIP_OK)
        status = slip_checkpoint_files_open(&j->from, from, &j->files);
    if (status == SLIP_OK)
        status = ask_for_head(j);
    if (status == SLIP_OK && j->rank > 0)
        status = make_head(j, text, strength);
    return status == SLIP_OK ? write_model(j, to) : status;
}

int main(int argc, char **argv)
{
    job j = {.rank = argc > 3 ? atoi(argv[3]) : -1};
    if (argc < 5 || argc > 6 || j.rank < 0) {
        fprintf(stderr, "usage: with_head MODEL.h5 OUT.h5 RANK STRENGTH [TEXT]\n");
        return 2;
    }
    slip_status status = make(&j, argv[1], argv[2], (float)atof(argv[4]), argv[5]);
    if (status != SLIP_OK)
        fprintf(stderr, "with_head: %s\n", slip_cause());
    slip_checkpoint_files_close(&j.files);
    slip_checkpoint_free(&j.from);
    free(j.previous);
    free(j.following);
    free(j.config);
    return slip_exit_status(status);
}

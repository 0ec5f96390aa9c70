/* slipstream: one program for every rank. Errors are printed here and become the exit status here. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "comm/launcher.h"
#include "comm/signals.h"
#include "comm/version.h"
#include "io/base/file/stdout.h"
#include "io/base/json.h"
#include "io/checkpoint/hdf5_version.h"
#include "io/report/summary.h"
#include "jobs/convert/convert.h"
#include "jobs/inspect/inspect.h"
#include "jobs/job.h"
#include "kernels/version.h"

static void print_versions(void)
{
    static const struct {
        const char *name;
        void (*describe)(char text[SLIP_VERSION_TEXT]);
    } libraries[] = {{"MPI", slip_mpi_version}, {"HDF5", slip_hdf5_version}, {"CUDA", slip_cuda_version}, {"NCCL", slip_nccl_version}};
    char text[SLIP_VERSION_TEXT];
    printf("slipstream %s (%s)\n  compiler: %s\n", slip_version(), slip_commit(), slip_compiler());
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        libraries[i].describe(text);
        printf("  %s: %s\n", libraries[i].name, text);
    }
}

/* The most memory that a rank has held, on rank 0. Called by every rank. */
static slip_status most_memory(slip_comm *comm, int64_t *most)
{
    int ranks = slip_comm_ranks(comm);
    int64_t *bytes = calloc((size_t)ranks, sizeof *bytes);
    slip_status status = bytes ? slip_peak_memory(comm, bytes) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    *most = 0;
    for (int rank = 0; rank < ranks && status == SLIP_OK; rank++)
        *most = bytes[rank] > *most ? bytes[rank] : *most;
    free(bytes);
    return status;
}

/* convert --json: what was read, and the keys of inspect for what was written. */
static slip_status print_converted(const slip_options *options, json_t *object, double seconds, int64_t most)
{
    slip_status status = options->dry_run ? SLIP_OK : slip_inspect_add(options->model, object);
    json_t *members = json_pack("{s:o,s:o,s:b,s:f,s:I}", "source", slip_json_text(options->source), "model", slip_json_text(options->model),
                                "dry_run", options->dry_run, "seconds", seconds, "peak_memory_bytes", (json_int_t)most);
    if (status == SLIP_OK && (members == NULL || json_object_update(object, members) != 0))
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for the figures");
    json_decref(members);
    return status == SLIP_OK ? slip_summary_print(json_incref(object)) : status;
}

static slip_status convert(const slip_options *options, int argc, char **argv, slip_comm *comm)
{
    static const slip_convert_files files[] = {[SLIP_FILES_BY_SIZE] = SLIP_CONVERT_BY_SIZE,
                                               [SLIP_FILES_ONE] = SLIP_CONVERT_ONE_FILE,
                                               [SLIP_FILES_LAYERS] = SLIP_CONVERT_LAYER_FILES};
    slip_status status = slip_launcher_check(slip_comm_ranks(comm));
    if (status != SLIP_OK)
        return status;
    slip_convert_options made = {
        .source_folder = options->source,
        .out_path = options->model,
        .draft_folder = options->draft,
        .experts = options->experts == SLIP_EXPERTS_MXFP4 ? SLIP_CONVERT_MXFP4 : SLIP_CONVERT_KEEP,
        .window = (int32_t)options->window,
        .for_gpus = (int32_t)options->for_gpus,
        .expert_slices = (int32_t)options->expert_slices,
        .dry_run = options->dry_run,
        .quiet = options->quiet,
        .files = files[options->files],
        .comm = comm,
    };
    if (options->json && slip_comm_rank(comm) == 0 && (made.json = slip_summary_begin("convert", argc, argv)) == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    double started = slip_now_s();
    int64_t most = 0;
    status = slip_convert_run(&made);
    if (status == SLIP_OK && options->json)
        status = most_memory(comm, &most);
    if (status != SLIP_OK && slip_comm_lost(comm))
        slip_comm_abort(comm, status);
    if (status == SLIP_OK && made.json != NULL)
        status = print_converted(options, made.json, slip_now_s() - started, most);
    json_decref(made.json);
    return status;
}

/* How each command is run. */
static const struct {
    slip_status (*together)(slip_job *job);
    slip_status (*alone)(const slip_options *options, int argc, char **argv);
    slip_status (*spread)(const slip_options *options, int argc, char **argv, slip_comm *comm);
} commands[SLIP_COMMANDS] = {
#define TOGETHER(NAME, function) [SLIP_COMMAND_##NAME] = {.together = (function)},
#define ALONE(NAME, function) [SLIP_COMMAND_##NAME] = {.alone = (function)},
#define SPREAD(NAME)
    SLIP_COMMAND_TABLE(TOGETHER, ALONE, SPREAD)
#undef SPREAD
#undef ALONE
#undef TOGETHER
        [SLIP_COMMAND_CONVERT] = {.spread = convert},
};

/* What a signal that ends the process leaves to do. */
static const slip_signal_words *words_of(slip_command command)
{
    static const slip_signal_words
        batch = {" before decoding began: run again with --resume",
                 ", the second signal: ended at once, finished answers are saved: run again with --resume"},
        conversion = {": ended before the model was whole: run again; of a file a layer, those that are finished stay", NULL},
        others = {": ended before it was done", ", the second signal: ended at once"};
    return command == SLIP_COMMAND_BATCH ? &batch : command == SLIP_COMMAND_CONVERT ? &conversion : &others;
}

static slip_status run(const slip_options *options, int argc, char **argv, slip_comm *comm)
{
    if (commands[options->command].spread != NULL)
        return commands[options->command].spread(options, argc, argv, comm);
    if (commands[options->command].alone != NULL)
        return slip_comm_rank(comm) == 0 ? commands[options->command].alone(options, argc, argv) : SLIP_OK;
    slip_status status = options->dry_run ? SLIP_OK : slip_launcher_check(slip_comm_ranks(comm));
    if (status != SLIP_OK)
        return status;
    slip_job job = {.comm = comm, .options = options, .argc = argc, .argv = argv, .started_s = slip_now_s()};
    status = options->dry_run ? slip_batch_check(&job) : commands[options->command].together(&job);
    slip_job_settle_outputs(&job, status);
    if (status != SLIP_OK && (job.running || slip_comm_lost(comm)))
        slip_comm_abort(comm, status);
    slip_job_close(&job);
    return status;
}

/* MPI opens files of its own, and would get the numbers of streams that are closed: we would read and write those. What stands there
 * instead can neither be read nor written. */
static void hold_closed_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

int main(int argc, char **argv)
{
    slip_comm *comm;
    slip_options options = {0};
    /* A write to a closed pipe or beyond a size limit is an error to report, not a reason to vanish. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    hold_closed_streams();
    slip_status status = slip_comm_start(&argc, &argv, &comm);
    if (status != SLIP_OK) {
        fprintf(stderr, "slipstream: %s\n", slip_cause());
        return slip_exit_status(status);
    }
    bool speaks = slip_comm_rank(comm) == 0;
    status = slip_options_parse(argc, argv, &options);
    if (status == SLIP_OK && options.help) {
        if (speaks)
            slip_options_help(options.command, stdout);
    } else if (status == SLIP_OK && options.version) {
        if (speaks)
            print_versions();
    } else if (status == SLIP_OK) {
        slip_signals_catch(speaks ? words_of(options.command) : NULL);
        status = run(&options, argc, argv, comm);
        slip_signals_settle();
    }
    if (status == SLIP_OK)
        status = slip_stdout_flush();
    if (status != SLIP_OK && speaks)
        fprintf(stderr, "slipstream: %s\n", slip_cause());
    slip_comm_finish(comm);
    return slip_exit_status(status);
}

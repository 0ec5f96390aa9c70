#include "jobs/options/table.h"

#include "ranks/model/family.h"

#define FIELD(name) offsetof(slip_options, name)

enum {
#define BIT(NAME, ...) NAME = 1 << SLIP_COMMAND_##NAME,
    SLIP_COMMAND_TABLE(BIT, BIT, BIT)
#undef BIT
        RUNS = GENERATE | BATCH | BENCH | SCORE, /* they load a model and spread it over the ranks */
    DECODES = GENERATE | BATCH | BENCH,
    EVERY = (1 << SLIP_COMMANDS) - (1 << 1),
};

/* Bounds that keep later arithmetic in 32 bits with room to spare. */
#define TOKENS_MAX (1 << 24)
#define KV_TOKENS_MAX (1 << 28)
#define RANKS_MAX 4096
#define EXPERTS_MAX 65536
#define SHARDS_MAX 1000000

/* A field of sampling is an option of generate, and of batch for the requests that leave it out; where neither says, a model may have
 * a value of its own. A benchmark does as it is told. */
#define SAMPLING_ROWS(field, option, kind, argument, low, high, alone, many, help) \
    {option,        0, \
     OPTION_##kind, argument, \
     GENERATE,      FIELD(sampling.field), \
     low,           high, \
     alone,         help ".\nA value of the model's own comes before the default"}, \
        {option, 0, OPTION_##kind, argument, BENCH, FIELD(sampling.field), low, high, alone, help}, \
        {option,        0, \
         OPTION_##kind, argument, \
         BATCH,         FIELD(sampling.field), \
         low,           high, \
         many,          #field " of requests that do not say:\n" help ".\nA value of the model's own comes before the default"},

const option_row slip_option_rows[] = {
    {"model", 'm', OPTION_TEXT, "MODEL.h5", RUNS | PLAN, FIELD(model), 0, 0, NULL, "the model, as written by slipstream convert"},
    {"shape", 0, OPTION_SHAPE, "NAME", BENCH, FIELD(shape), 0, 0, NULL,
     "instead of a model: random weights in a published\nshape (needs a GPU); the figures say so"},
    {"layers", 0, OPTION_INT, "N", BENCH, FIELD(layers), 1, SLIP_MAX_LAYERS, NULL,
     "of --shape: only the first N layers; the figures say so"},
    {"shape", 0, OPTION_SHAPE, "NAME", PLAN, FIELD(shape), 0, 0, NULL, "instead of a model: a published shape"},
    {"ranks", 0, OPTION_INT, "N", PLAN, FIELD(ranks), 1, RANKS_MAX, NULL, "ranks, one GPU each"},
    {"ranks", 0, OPTION_INT, "N", INSPECT, FIELD(ranks), 1, RANKS_MAX, NULL,
     "also show what each of N ranks would own, and how many sequences\nof what length fit beside it"},
    {"sequences", 0, OPTION_INT, "N", PLAN, FIELD(sequences), 1, SLIP_MAX_SPANS, "1", "sequences to have memory for"},
    {"context", 0, OPTION_INT, "TOKENS", PLAN, FIELD(context), 1, TOKENS_MAX, "1024", "tokens of each, up to the model's limit"},
    {"memory", 0, OPTION_REAL, "GB", PLAN, FIELD(memory), 0.001, 1e6, NULL,
     "memory a rank has, in units of 1e9 bytes (default: the GPU's that\nwas measured); a warning says when it does not suffice"},

    {"device", 0, OPTION_CHOICE, "cpu|cuda|h100|h200", INSPECT, FIELD(device), 0, 0, "h200",
     "with --ranks: whose memory must suffice, and whose form K/V have:\na GPU of that name by its maker's data sheet, the first GPU "
     "here\n(cuda), or a share of this machine (cpu)"},
    {"memory", 0, OPTION_REAL, "GB", INSPECT, FIELD(memory), 0.001, 1e6, NULL,
     "with --ranks: memory a rank has, in units of 1e9 bytes (default:\nthe device's)"},
    {"prompt", 'p', OPTION_SOURCE, "TEXT", GENERATE, FIELD(prompt), 0, 0, NULL, "the text to continue"},
    {"prompt", 'p', OPTION_SOURCE, "TEXT", BENCH, FIELD(prompt), 0, 0, NULL, "the text to continue (default: one of its own)"},
    {"prompt-tokens", 0, OPTION_LIST, "N[,N...]", BENCH, FIELD(lengths), 1, TOKENS_MAX, NULL,
     "instead of a text: N token ids (default of --shape: so many that\nprompt and answer fill --context, or 1024 tokens); a list is "
     "measured\none after the other, and printed as a table"},
    {"input", 'i', OPTION_SOURCE, "FILE", BATCH, FIELD(input), 0, 0, NULL,
     "requests, OpenAI batch lines, packed with gzip or not;\n- is standard input. Special tokens in a prompt's text, chat\nmarkup for "
     "instance, become their ids"},
    {"output", 'o', OPTION_TEXT, "FILE", BATCH, FIELD(output), 0, 0, NULL,
     "results, a line each as it ends; - is standard output.\nA file that is not empty needs --resume"},
    {"input", 'i', OPTION_SOURCE, "FILE", MERGE, FIELD(input), 0, 0, NULL, "the requests that the shards have answered"},
    {"output", 'o', OPTION_TEXT, "FILE", MERGE, FIELD(output), 0, 0, NULL,
     "the results of all shards, in the requests' order; whole or not\nthere at all. A file that is not empty is refused"},
    {"shard", 0, OPTION_SHARD, "i/N", BATCH, FIELD(shard), 0, SHARDS_MAX, NULL,
     "only the requests i, i + N, i + 2N ... of the file, both counted\nfrom 0: i is SLURM_ARRAY_TASK_ID of --array=0-(N-1). Shards "
     "have\nfiles of their own, which slipstream merge joins"},
    {"resume", 0, OPTION_FLAG, NULL, BATCH, FIELD(resume), 0, 0, NULL, "repair the output of an interrupted run and do what is missing"},
    {"drain", 0, OPTION_REAL, "SECONDS", BATCH, FIELD(drain), 0.1, 86400, NULL,
     "stop what is still in flight so long after SIGUSR1, SIGTERM or\nSIGINT and keep it beside the output; --resume goes on there "
     "(default:\nfinish it)"},
    {"served-model-name", 0, OPTION_TEXT, "NAME", BATCH, FIELD(served_model_name), 0, 0, NULL,
     "names that requests may call the model by, with commas between\nthem, beside its file's name; others are refused"},
    {"chat-template", 0, OPTION_TEXT, "NAME", BATCH, FIELD(chat_template), 0, 0, NULL,
     "render chats by this template, one of those in docs/chat.md:\nneeded where the model's own is not known"},
    {"ok-if-some-fail", 0, OPTION_FLAG, NULL, BATCH | MERGE, FIELD(ok_if_some_fail), 0, 0, NULL,
     "exit status 0, not 3, when all is done but some requests were refused"},
    {"file", 'f', OPTION_SOURCE, "TEXT", SCORE, FIELD(text), 0, 0, NULL, "the text file to score"},
    {"ids", 0, OPTION_SOURCE, "IDS.json", SCORE, FIELD(ids), 0, 0, NULL, "instead of a text: one JSON array of token ids"},
    {"logits", 0, OPTION_TEXT, "OUT.h5", SCORE, FIELD(logits), 0, 0, NULL, "write /logits there, f32 [tokens, vocabulary]"},
    {"trace-ops", 0, OPTION_TEXT, "OPS.h5", GENERATE | SCORE, FIELD(trace_ops), 0, 0, NULL,
     "write what every op of every step computes on rank 0 there,\n/steps/N/OP/BUFFER; large and slow"},
    {"round-activations", 0, OPTION_FLAG, NULL, GENERATE | SCORE, FIELD(round_activations), 0, 0, NULL,
     "on CPUs: round activations as a GPU does, to compare with one"},
    {"draft", 0, OPTION_TEXT, "FOLDER", CONVERT, FIELD(draft), 0, 0, NULL,
     "folder of the DFlash drafter (default: dflash in HF_FOLDER, if any)"},
    {"experts", 0, OPTION_CHOICE, "mxfp4|keep", CONVERT, FIELD(experts), 0, 0, "keep",
     "round the experts to MXFP4, or keep them as they are"},
    {"files", 0, OPTION_CHOICE, "by-size|one|layers", CONVERT, FIELD(files), 0, 0, "by-size",
     "one file, or an index with a file a layer, which ranks write side by\nside; by-size: layers where the weights have more than 4 GiB"},
    {"window", 0, OPTION_INT, "KEYS", CONVERT, FIELD(window), 1, TOKENS_MAX, NULL,
     "keys that a query of a sliding layer sees, itself included\n(default: sliding_window; alone, sliding_window_size + 1)"},
    {"for-gpus", 0, OPTION_INT, "N", CONVERT, FIELD(for_gpus), 1, RANKS_MAX, NULL,
     "also write MODEL.h5.gpu/: the weights as each of N GPUs keeps them,\nso that loading copies them. Needs no GPU. With MODEL.h5 itself "
     "in\n"
     "HF_FOLDER's place it is only packed"},
    {"expert-slices", 0, OPTION_INT, "S", CONVERT, FIELD(expert_slices), 1, RANKS_MAX, NULL,
     "with --for-gpus: cut each expert over S ranks, as runs will that say\nso (default: what slipstream plan finds fastest)"},
    {"dry-run", 0, OPTION_FLAG, NULL, BATCH, FIELD(dry_run), 0, 0, NULL,
     "check options, model, requests and where results go, and begin\nnothing; the GPUs and memory of a run are its own to find"},
    {"dry-run", 0, OPTION_FLAG, NULL, CONVERT, FIELD(dry_run), 0, 0, NULL, "check the folder, and write nothing"},

    {"max-tokens", 'n', OPTION_INT, "N", GENERATE, FIELD(max_tokens), 1, TOKENS_MAX, "256", "stop after N tokens"},
    {"max-tokens", 'n', OPTION_INT, "N", BATCH, FIELD(max_tokens), 1, TOKENS_MAX, NULL,
     "max_tokens of requests that do not say\n(default: as many as the context leaves)"},
    {"tokens", 'n', OPTION_INT, "N", BENCH, FIELD(max_tokens), 1, TOKENS_MAX, "256", "tokens to decode in each sequence"},
    SLIP_SAMPLING_FIELDS(SAMPLING_ROWS){"seed", 0, OPTION_SEED, "N", GENERATE, FIELD(sampling.seed), 0, 0, "1",
                                        "the same seed gives the same text"},
    {"seed", 0, OPTION_SEED, "N", BATCH, FIELD(sampling.seed), 0, 0, "0", "requests without a seed take one made from this and custom_id"},

    {"sequences", 0, OPTION_COUNT, "N|auto", BATCH, FIELD(sequences), 1, SLIP_MAX_SPANS, NULL,
     "requests to decode at once; auto: as many as memory carries\n(default: auto on GPUs, 4 on CPUs)"},
    {"sequences", 0, OPTION_LIST, "N[,N...]", BENCH, FIELD(batches), 1, SLIP_MAX_SPANS, "1",
     "sequences to decode at once; a list is measured one after the other,\nat every length of prompt, and printed as a table"},
    {"step-budget", 0, OPTION_REAL, "MS", BATCH, FIELD(step_budget), 0.001, 1e6, NULL,
     "while requests decode, read no more of others' prompts in a step\nthan by measured times fits into MS milliseconds, but 8 tokens at "
     "least:\nevener answers, later first tokens (default: as many as a step holds)"},
    {"kv-tokens", 0, OPTION_INT, "TOKENS", BATCH, FIELD(kv_tokens), 1, KV_TOKENS_MAX, NULL,
     "tokens of K/V for all requests that decode at once, together, in\npages of 64: each takes its prompt and max_tokens, and waits in "
     "order\nuntil they are free (default: --sequences times the longest request,\nas far as there is memory)"},
    {"context", 0, OPTION_INT, "TOKENS", RUNS, FIELD(context), 1, TOKENS_MAX, NULL,
     "tokens a sequence may hold, its prompt included\n(default: what is asked for, up to the model's limit)"},
    {"no-draft", 0, OPTION_FLAG, NULL, DECODES, FIELD(no_draft), 0, 0, NULL,
     "decode without the draft model: the same text, one token a step"},
    {"always-draft", 0, OPTION_FLAG, NULL, DECODES, FIELD(always_draft), 0, 0, NULL,
     "draft in every step and verify whole blocks, even while measured times\nsay that it does not pay: the same text, a fair acceptance "
     "length"},
    {"draft-ranks", 0, OPTION_CHOICE, "1|all", DECODES, FIELD(draft_ranks), 0, 0, NULL,
     "the draft on rank 0 alone, or cut over all ranks as the model is:\nthe same text (default: all on GPUs, 1 on CPUs)"},
    {"acceptance", 0, OPTION_REAL, "X", BENCH, FIELD(acceptance), 1, SLIP_MAX_BLOCK, NULL,
     "force this mean acceptance length; the figures say so"},
    {"shard-of", 0, OPTION_INT, "N", BENCH, FIELD(shard_of), 1, RANKS_MAX, NULL,
     "of --shape: run one shard of N, and that of the draft, without its\npeers; the figures say so"},
    {"distinct-experts", 0, OPTION_INT, "N", BENCH, FIELD(distinct_experts), 1, EXPERTS_MAX, NULL,
     "of --shape: route so that a block's tokens touch N experts a layer\nin the mean, as those of real text do; the figures say so"},
    {"trace", 0, OPTION_TEXT, "RUN.h5", BATCH, FIELD(trace), 0, 0, NULL,
     "write every step, verified block and request there, as the run\ngoes; --resume appends; slipstream report shows it"},
    {"metrics", 0, OPTION_TEXT, "FILE.prom", BATCH, FIELD(metrics), 0, 0, NULL,
     "replace this file every 5 s by the state of the run, for the\ntextfile collector of Prometheus' node_exporter"},
    {"profile", 0, OPTION_TEXT, "FILE", BENCH, FIELD(profile), 0, 0, NULL,
     "cuda only: write a timeline of a step of rank 0 there, for Perfetto"},

    {"html", 0, OPTION_TEXT, "FILE.html", REPORT, FIELD(html), 0, 0, NULL,
     "write the tables and plots there, as one page that needs nothing else"},
    {"html", 0, OPTION_TEXT, "FILE.html", BENCH, FIELD(html), 0, 0, NULL,
     "write the table and plots there, as one page that needs nothing else"},

    {"device", 0, OPTION_CHOICE, "cpu|cuda", RUNS, FIELD(device), 0, 0, NULL,
     "what computes (default: cuda where a GPU and a build for it exist)"},
    {"engine", 0, OPTION_CHOICE, "persistent|launch", RUNS, FIELD(engine), 0, 0, "persistent",
     "cuda only: one kernel that stays for all steps of one sequence\n(those of more are launched), or a launch an op"},
    {"expert-slices", 0, OPTION_INT, "S", RUNS, FIELD(expert_slices), 1, RANKS_MAX, NULL,
     "cut each expert over S ranks; S divides the ranks\n(default: what slipstream plan finds fastest)"},
    {"deadline", 0, OPTION_REAL, "SECONDS", RUNS, FIELD(deadline), 0.1, 86400, "120",
     "give up on a rank that is silent so long, or in one call on a file"},
    {"json", 0, OPTION_FLAG, NULL, EVERY, FIELD(json), 0, 0, NULL, "print one JSON object with the figures on standard output"},
    {"quiet", 'q', OPTION_FLAG, NULL, RUNS | CONVERT, FIELD(quiet), 0, 0, NULL, "no progress and no figures on standard error"},
    {"help", 'h', OPTION_FLAG, NULL, EVERY | 1, FIELD(help), 0, 0, NULL, "print this and exit"},
    {"version", 0, OPTION_FLAG, NULL, EVERY | 1, FIELD(version), 0, 0, NULL, "print the versions and exit"},
};
const size_t slip_option_row_count = sizeof slip_option_rows / sizeof *slip_option_rows;

const char *slip_option_argument(const option_row *row)
{
    return row->kind == OPTION_SHAPE ? slip_shape_names() : row->argument;
}

bool slip_command_runs_alone(int command)
{
#define NO(...)
#define YES(NAME, ...) || command == SLIP_COMMAND_##NAME
    return false SLIP_COMMAND_TABLE(NO, YES, NO);
#undef YES
#undef NO
}

const command_row slip_command_rows[SLIP_COMMANDS] = {
    [SLIP_COMMAND_NONE] = {"", "", 0, "COMMAND ...", "decode large mixture-of-experts models, one rank a shard",
                           "  mpirun -n 3 build/slipstream generate -m jobs/demo/model.h5 -p \"def quicksort(\"\n"
                           "  mpirun -n 3 build/slipstream batch -m jobs/demo/model.h5 "
                           "-i jobs/demo/requests.jsonl -o results.jsonl\n"},
    [SLIP_COMMAND_GENERATE] = {"generate", "", 0, "-m MODEL.h5 -p TEXT", "continue one prompt; the text streams to standard output",
                               "  mpirun -n 3 build/slipstream generate -m jobs/demo/model.h5 -p \"def quicksort(\"\n"
                               "  mpirun -n 2 build/slipstream generate -m jobs/demo/model.h5 "
                               "-p \"class Stack:\" -n 64 --temperature 0.7 --seed 5\n"
                               "  mpirun -n 2 build/slipstream generate -m jobs/demo/model.h5 -p \"import os\" --no-draft\n"},
    [SLIP_COMMAND_BATCH] = {"batch", "", 0, "-m MODEL.h5 -i FILE -o FILE", "answer a file of OpenAI batch lines",
                            "  mpirun -n 3 build/slipstream batch -m jobs/demo/model.h5 "
                            "-i jobs/demo/requests.jsonl -o results.jsonl\n"
                            "  mpirun -n 3 build/slipstream batch -m jobs/demo/model.h5 "
                            "-i jobs/demo/requests.jsonl -o results.jsonl --resume\n"
                            "  mpirun -n 2 build/slipstream batch -m jobs/demo/model.h5 "
                            "-i jobs/demo/requests.jsonl -o - --temperature 0 -n 32\n"
                            "  mpirun -n 3 build/slipstream batch -m jobs/demo/model.h5 "
                            "-i jobs/demo/requests.jsonl -o traced.jsonl --trace run.h5\n"},
    [SLIP_COMMAND_BENCH] = {"bench", "", 0, "(-m MODEL.h5 | --shape NAME)", "measure decoding",
                            "  mpirun -n 2 build/slipstream bench -m jobs/demo/model.h5\n"
                            "  mpirun -n 2 build/slipstream bench -m jobs/demo/model.h5 --no-draft --sequences 4 --json\n"
                            "  build/slipstream bench -m jobs/demo/model.h5 -n 16 --sequences 1,2,4 --prompt-tokens 32,64\n"
                            "  build/slipstream bench --shape pro --shard-of 8 --acceptance 6.3\n"},
    [SLIP_COMMAND_SCORE] = {"score", "", 0, "-m MODEL.h5 (-f TEXT | --ids IDS.json)",
                            "how well the model predicts a text: tokens, bits per token and per byte",
                            "  mpirun -n 2 build/slipstream score -m jobs/demo/model.h5 -f jobs/train/train.py\n"
                            "  echo '[1, 2, 3]' > ids.json\n"
                            "  mpirun -n 2 build/slipstream score -m jobs/demo/model.h5 "
                            "--ids ids.json --logits logits.h5 --json\n"},
    [SLIP_COMMAND_CONVERT] = {"convert", "HF_FOLDER MODEL.h5", 2, "HF_FOLDER MODEL.h5",
                              "turn a Hugging Face folder, or a checkpoint of an earlier version, into one checkpoint",
                              "  build/slipstream convert MiMo-V2-Flash mimo.h5\n"
                              "  mpirun -n 4 build/slipstream convert MiMo-V2-Flash mimo.h5 "
                              "--draft MiMo-V2-Flash-DFlash --experts mxfp4\n"
                              "  mpirun -n 4 build/slipstream convert mimo.h5 mimo.h5 --for-gpus 8\n"},
    [SLIP_COMMAND_INSPECT] = {"inspect", "MODEL.h5", 1, "MODEL.h5", "show what is in a checkpoint",
                              "  build/slipstream inspect jobs/demo/model.h5\n"
                              "  build/slipstream inspect jobs/demo/model.h5 --ranks 2 --device h100\n"},
    [SLIP_COMMAND_PLAN] = {"plan", "", 0, "(-m MODEL.h5 | --shape NAME) --ranks N",
                           "bytes, memory and time a step for a number of ranks, without running anything",
                           "  build/slipstream plan --shape pro --ranks 8\n"
                           "  build/slipstream plan --shape flash --ranks 4 --json\n"
                           "  build/slipstream plan -m jobs/demo/model.h5 --ranks 2 --context 4096 --sequences 8 --memory 80\n"},
    [SLIP_COMMAND_REPORT] = {"report", "RUN.h5", 1, "RUN.h5",
                             "show what a trace of slipstream batch tells: rates, times, acceptance, expert load",
                             "  build/slipstream report run.h5 --html run.html\n"},
    [SLIP_COMMAND_MERGE] =
        {"merge", "RESULTS...", -1, "RESULTS... -i REQUESTS -o FILE",
         "join the results of batch --shard, after checking that every request has one",
         "  mpirun -n 2 build/slipstream batch -m jobs/demo/model.h5 -i jobs/demo/requests.jsonl -o shard-0.jsonl --shard 0/2\n"
         "  mpirun -n 2 build/slipstream batch -m jobs/demo/model.h5 -i jobs/demo/requests.jsonl -o shard-1.jsonl --shard 1/2\n"
         "  build/slipstream merge shard-0.jsonl shard-1.jsonl -i jobs/demo/requests.jsonl -o merged.jsonl\n"},
};

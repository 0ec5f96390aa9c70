/* The ranks of an exchange as the test sees them: their arenas, counters and outputs, and one launch of the kernel. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/window.h"
#include "exchange_kernel.cuh"

enum { MAX_ROWS = 64, MAX_HIDDEN = 6144 };

// The ranks of an exchange, as far as this process plays them.
struct world {
    slip_comm *comm;
    int ranks, first, here; // this process plays [first, first + here)
    int sms, khz;
    uint32_t epoch; // of the next exchange
    slip_windows *windows;
    size_t arena_bytes;
    test_rank *table; // device [here]
    test_rank host_table[SLIP_EXCHANGE_RANKS];
    test_words *words; // device [here]
    test_words seen[SLIP_EXCHANGE_RANKS];
    float *out; // device [here][MAX_ROWS][MAX_HIDDEN]
};

static void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "exchange: %s: %s\n", what, cudaGetErrorString(error));
    exit(1); // mpirun ends the others
}

static void must_be(slip_status status)
{
    if (status == SLIP_OK)
        return;
    fprintf(stderr, "exchange: %s\n", slip_cause());
    exit(slip_exit_status(status));
}

static size_t most_bytes(int ranks)
{
    size_t one = slip_exchange_plan(ranks, MAX_ROWS, MAX_HIDDEN, 0, SIZE_MAX, 0).bytes;
    size_t two = slip_exchange_plan(ranks, MAX_ROWS, MAX_HIDDEN, 0, 0, 0).bytes;
    return one > two ? one : two;
}

static void world_open(world *w, slip_comm *comm, int device, int emulated)
{
    cudaDeviceProp properties;
    memset(w, 0, sizeof *w);
    w->comm = comm;
    w->ranks = emulated ? emulated : slip_comm_ranks(comm);
    w->first = emulated ? 0 : slip_comm_rank(comm);
    w->here = emulated ? emulated : 1;
    w->epoch = SLIP_EXCHANGE_FIRST_EPOCH;
    w->arena_bytes = most_bytes(w->ranks);
    must_be(emulated ? slip_windows_emulate(device, emulated, w->arena_bytes, &w->windows)
                     : slip_windows_open(comm, device, w->arena_bytes, &w->windows));
    must(cudaGetDeviceProperties(&properties, device), "asking for the GPU");
    must(cudaDeviceGetAttribute(&w->khz, cudaDevAttrClockRate, device), "asking for the clock");
    w->sms = properties.multiProcessorCount;
    must(cudaMalloc(&w->table, sizeof w->host_table), "allocating");
    must(cudaMalloc(&w->words, sizeof w->seen), "allocating");
    must(cudaMalloc(&w->out, sizeof(float) * MAX_ROWS * MAX_HIDDEN * (size_t)w->here), "allocating");
}

static void world_close(world *w)
{
    cudaFree(w->out);
    cudaFree(w->words);
    cudaFree(w->table);
    must_be(slip_comm_agree(w->comm, SLIP_OK)); // nobody's kernel is using our arena
    slip_windows_close(w->windows);
}

static void set_layout(world *w, const slip_exchange_layout *layout)
{
    for (int i = 0; i < w->here; i++) {
        test_rank *t = &w->host_table[i];
        *t = (test_rank){{*layout, w->first + i, {}}, w->words + i, w->out + (size_t)i * MAX_ROWS * MAX_HIDDEN};
        for (int rank = 0; rank < w->ranks; rank++)
            t->x.peer[rank] = (unsigned char *)slip_windows_peers(w->windows)[rank];
    }
    must(cudaMemcpy(w->table, w->host_table, sizeof w->host_table, cudaMemcpyHostToDevice), "copying the table");
}

// As after an abort, or before epochs come round: nothing of the past may be left.
static void clear_arenas(world *w)
{
    must_be(slip_comm_agree(w->comm, SLIP_OK));
    for (int i = 0; i < w->here; i++)
        must(cudaMemset(slip_windows_peers(w->windows)[w->first + i], 0, w->arena_bytes), "clearing an arena");
    must(cudaDeviceSynchronize(), "clearing an arena");
}

// All ranks start together.
static void launch(world *w, test_run *run)
{
    run->rank = w->table;
    run->ctas = w->sms / w->here;
    run->first = w->epoch;
    must(cudaMemset(w->words, 0, sizeof w->seen), "clearing counters");
    must(cudaDeviceSynchronize(), "clearing counters");
    must_be(slip_comm_agree(w->comm, SLIP_OK));
    void *arguments[] = {run};
    dim3 ctas((unsigned)(run->ctas * w->here)), threads(TEST_THREADS);
    must(cudaLaunchCooperativeKernel((const void *)exchange_kernel, ctas, threads, arguments, 0, 0), "launching");
    must(cudaDeviceSynchronize(), "running");
    must(cudaMemcpy(w->seen, w->words, sizeof w->seen, cudaMemcpyDeviceToHost), "reading counters");
    w->epoch = slip_exchange_epoch_after(w->epoch, (uint32_t)run->exchanges);
}

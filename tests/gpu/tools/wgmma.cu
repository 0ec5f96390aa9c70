/* The products by wgmma whose operand lies in swizzled rows (sm90/wgmma.cuh), against those by mma, bit for bit, and against the host: attention of wide
 * steps has the former and that of all others the latter, and both must give a row the same. Prints a line a form; exit status 77 without a GPU. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/arch.cuh"

using namespace slip;

enum { SKIPPED = 77, ROWS = 64, DEPTH = 64, ROUNDS = 200, MOST = 128 };

static void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "wgmma: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

// a: [ROWS][DEPTH], b: [N][DEPTH] bf16; results [ROWS][N]. One warpgroup.
template <int N, bool TURNED>
__global__ void __launch_bounds__(128) both(const uint16_t *a, const uint16_t *b, float *by_wgmma, float *by_mma)
{
    __shared__ alignas(1024) unsigned char rows[MOST * DEPTH * 2];
    for (int i = threadIdx.x; i < N * DEPTH; i += 128) {
        const int n = i / DEPTH, k = i % DEPTH, row = TURNED ? k : n, column = TURNED ? n % 64 : k, plane = TURNED ? n / 64 : 0;
        *(uint16_t *)(rows + plane * DEPTH * 128 + swizzled_at(row, column / 8) + column % 8 * 2) = b[i];
    }
    fence_async_shared();
    __syncthreads();
    const int g = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
    uint32_t from[DEPTH / 16][4];
    for (int k = 0; k < DEPTH / 16; k++)
        for (int i = 0; i < 4; i++)
            from[k][i] = *(const uint32_t *)(a + (g + i % 2 * 8) * DEPTH + k * 16 + i / 2 * 8 + t);
    float c[SUMS<N>];
    matrix_fence();
    pin(c);
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++) {
        const uint64_t at = TURNED ? swizzled_descriptor(shared_address(rows) + k * 16 * 128, DEPTH * 128, 1024)
                                   : swizzled_descriptor(shared_address(rows) + k * 32, 16, 1024);
        k == 0 ? matrix_bf16_registers<N, true>(c, from[k], at) : matrix_bf16_registers<N, false>(c, from[k], at);
    }
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    for (int n = 0; n < N / 8; n++) {
        float d[4] = {};
        for (int k = 0; k < DEPTH / 16; k++) {
            const uint16_t *const column = b + (n * 8 + threadIdx.x % 32 / 4) * DEPTH + k * 16 + t;
            mma_16816(d, from[k], *(const uint32_t *)column, *(const uint32_t *)(column + 8));
        }
        for (int i = 0; i < 4; i++) {
            by_wgmma[(g + i / 2 * 8) * N + n * 8 + t + i % 2] = c[n * 4 + i];
            by_mma[(g + i / 2 * 8) * N + n * 8 + t + i % 2] = d[i];
        }
    }
}

static float value_of(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// Values whose exponents lie up to `spread` apart.
static void draw(uint16_t *to, int count, int spread)
{
    for (int i = 0; i < count; i++) {
        const float value = ldexpf((float)(rand() % 2001 - 1000) / 1000, spread > 0 ? rand() % spread : 0);
        uint32_t wide;
        memcpy(&wide, &value, sizeof wide);
        to[i] = (uint16_t)(wide >> 16);
    }
}

template <int N, bool TURNED>
static bool compare(const char *name)
{
    uint16_t *a, *b;
    float *x, *y;
    must(cudaMallocManaged(&a, ROWS * DEPTH * sizeof *a), "allocating");
    must(cudaMallocManaged(&b, N * DEPTH * sizeof *b), "allocating");
    must(cudaMallocManaged(&x, ROWS * N * sizeof *x), "allocating");
    must(cudaMallocManaged(&y, ROWS * N * sizeof *y), "allocating");
    long differ = 0, wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        draw(a, ROWS * DEPTH, round % 4 * 6);
        draw(b, N * DEPTH, round % 4 * 6);
        both<N, TURNED><<<1, 128>>>(a, b, x, y);
        must(cudaDeviceSynchronize(), "multiplying");
        for (int i = 0; i < ROWS * N; i++) {
            double sum = 0, size = 0;
            for (int k = 0; k < DEPTH; k++) {
                const double term = (double)value_of(a[i / N * DEPTH + k]) * value_of(b[i % N * DEPTH + k]);
                sum += term;
                size += fabs(term);
            }
            differ += memcmp(&x[i], &y[i], sizeof x[i]) != 0;
            wrong += !(fabs(x[i] - sum) <= 1e-5 * size);
        }
    }
    printf("%s %s: of %d sums %ld differ from those of mma, %ld are not what the host has\n", differ + wrong ? "FAIL" : "ok  ", name,
           ROUNDS * ROWS * N, differ, wrong);
    return differ + wrong == 0;
}

int main(void)
{
    int count;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0)
        return SKIPPED;
    srand(1);
    const bool good[] = {compare<8, false>("8 columns"), compare<64, false>("64 columns"), compare<80, false>("80 columns"),
                         compare<128, true>("128 columns, turned")};
    for (bool one : good)
        if (!one)
            return 1;
    return 0;
}

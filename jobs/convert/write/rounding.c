#include "jobs/convert/write/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"

slip_status slip_rounding_begin(slip_rounding *rounding, const char *name)
{
    slip_rounding_of *grown = realloc(rounding->weights, (rounding->count + 1) * sizeof *grown);
    if (grown == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for the error of rounding /%s", name);
    rounding->weights = grown;
    slip_rounding_of *of = &grown[rounding->count++];
    *of = (slip_rounding_of){.largest = 0};
    snprintf(of->name, sizeof of->name, "%s", name);
    return SLIP_OK;
}

static void add_block(slip_rounding_of *of, const float *values, const uint8_t *codes, uint8_t scale)
{
    float unit = slip_e8m0_to_f32(scale), largest = 0, squares = 0, errors = 0;
    for (int i = 0; i < SLIP_MXFP4_BLOCK; i++) {
        float stored = slip_e2m1_to_f32((uint8_t)(codes[i / 2] >> (i % 2 * 4))) * unit, error = fabsf(values[i] - stored);
        largest = fmaxf(largest, error);
        squares += values[i] * values[i];
        errors += error * error;
    }
    of->squares += squares;
    of->error_squares += errors;
    of->largest = fmax(of->largest, largest);
}

void slip_rounding_add(slip_rounding *rounding, const float *values, int64_t rows, int64_t columns, const uint8_t *codes,
                       const uint8_t *scales)
{
    slip_rounding_of *of = &rounding->weights[rounding->count - 1];
    for (int64_t block = 0; block < rows * columns / SLIP_MXFP4_BLOCK; block++)
        add_block(of, values + block * SLIP_MXFP4_BLOCK, codes + block * (SLIP_MXFP4_BLOCK / 2), scales[block]);
}

double slip_rounding_relative_rms(const slip_rounding_of *of)
{
    return of->squares > 0 ? sqrt(of->error_squares / of->squares) : 0;
}

/* ---- in a layer's file ---- */

slip_status slip_rounding_text(const slip_rounding *rounding, char **text)
{
    json_t *list = json_array();
    *text = NULL;
    for (size_t i = 0; i < rounding->count; i++) {
        const slip_rounding_of *of = &rounding->weights[i];
        json_array_append_new(list, json_pack("{s:s,s:f,s:f,s:f}", "name", of->name, "squares", of->squares, "error_squares",
                                              of->error_squares, "largest", of->largest));
    }
    if (rounding->count > 0)
        *text = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(list);
    return rounding->count == 0 || *text != NULL ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "no memory for the error of rounding");
}

slip_status slip_rounding_parse(slip_rounding *rounding, const char *text, const char *source)
{
    json_t *list = json_loads(text, 0, NULL), *item;
    size_t i;
    slip_status status = json_is_array(list) ? SLIP_OK : slip_fail(SLIP_ERR_INPUT, "%s: attribute rounding is not a JSON array", source);
    json_array_foreach (list, i, item) {
        const char *name;
        slip_rounding_of of = {.largest = 0};
        if (status == SLIP_OK && json_unpack(item, "{s:s,s:F,s:F,s:F}", "name", &name, "squares", &of.squares, "error_squares",
                                             &of.error_squares, "largest", &of.largest) != 0)
            status = slip_fail(SLIP_ERR_INPUT, "%s: attribute rounding: entry %zu lacks a name or a sum", source, i);
        if (status == SLIP_OK)
            status = slip_rounding_begin(rounding, name);
        if (status != SLIP_OK)
            break;
        memcpy(of.name, rounding->weights[rounding->count - 1].name, sizeof of.name);
        rounding->weights[rounding->count - 1] = of;
    }
    json_decref(list);
    return status;
}

/* ---- for the user ---- */

json_t *slip_rounding_json(const slip_rounding *rounding)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rounding->count; i++) {
        const slip_rounding_of *of = &rounding->weights[i];
        json_array_append_new(
            list, json_pack("{s:s,s:f,s:f}", "name", of->name, "relative_rms", slip_rounding_relative_rms(of), "largest", of->largest));
    }
    return list;
}

void slip_rounding_print(const slip_rounding *rounding, FILE *stream)
{
    for (size_t i = 0; i < rounding->count; i++)
        fprintf(stream, "convert: %s rounded to MXFP4: relative RMS error %.4f, largest error %.4g\n", rounding->weights[i].name,
                slip_rounding_relative_rms(&rounding->weights[i]), rounding->weights[i].largest);
}

void slip_rounding_clear(slip_rounding *rounding)
{
    free(rounding->weights);
    *rounding = (slip_rounding){0};
}

/* A check over the programs of all shapes, rank counts and ranks. Include after cmocka.h. */
#ifndef TESTS_UNIT_PROGRAM_CHECKS_H
#define TESTS_UNIT_PROGRAM_CHECKS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "tiny_model.h"

enum { SHAPES = 4 };

static inline void shape(int which, slip_model *model)
{
    if (which < 2)
        slip_shape_make(which ? "pro" : "flash", model);
    else
        tiny_model_shape(which == 2 ? 64 : 80, model);
}

typedef void check(const slip_model *model, const slip_placement *placement, const slip_program *program);

static inline void with_target(const slip_model *model, int32_t ranks, int32_t slices, int32_t rank, check *check_one)
{
    slip_placement placement;
    slip_program program;
    assert_int_equal(slip_placement_make(model, ranks, slices, rank, &placement), SLIP_OK);
    assert_int_equal(slip_program_target(model, &placement, &program), SLIP_OK);
    check_one(model, &placement, &program);
    slip_program_free(&program);
    assert_null(program.ops);
}

/* All shapes, ranks 1 to 8, the fewest and the most slices. */
static inline void for_each_target(check *check_one)
{
    for (int which = 0; which < SHAPES; which++) {
        slip_model model;
        shape(which, &model);
        for (int32_t ranks = 1; ranks <= 8; ranks++)
            for (int32_t rank = 0; rank < ranks; rank++)
                for (int32_t slices = 1; slices <= ranks; slices += ranks > 1 ? ranks - 1 : 1)
                    if (slip_placement_allows(&model, ranks, slices))
                        with_target(&model, ranks, slices, rank, check_one);
    }
}

static inline void with_draft(const slip_model *model, int32_t ranks, int32_t rank, check *check_one)
{
    slip_placement placement;
    slip_program program;
    slip_placement_draft(model, ranks, rank, &placement);
    assert_int_equal(slip_program_draft(model, &placement, &program), SLIP_OK);
    check_one(model, &placement, &program);
    slip_program_free(&program);
}

/* All shapes, whole and cut over 2 to 8 ranks. */
static inline void for_each_draft(check *check_one)
{
    for (int which = 0; which < SHAPES; which++) {
        slip_model model;
        shape(which, &model);
        for (int32_t ranks = 1; ranks <= 8; ranks++)
            for (int32_t rank = 0; rank < ranks; rank++)
                with_draft(&model, ranks, rank, check_one);
    }
}

#endif

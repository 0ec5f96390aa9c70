/* Typed, range-checked members of a JSON object, for config.json.
 *
 * The first fault is recorded in *status with the file, the member and its value; from then on every reader
 * returns its lowest value or fallback, so that a parser reads straight on and asks for the status once,
 * before it uses the values as sizes of anything.
 */
#ifndef SLIP_RANKS_MODEL_CONFIG_FIELD_H
#define SLIP_RANKS_MODEL_CONFIG_FIELD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct {
    const json_t *object;
    const char *source; /* the file, for messages */
    const char *path;   /* what stands before a member's name in messages: "" or "dflash_config." */
    slip_status *status;
} slip_fields;

/* Parse text that must be one object, duplicates refused. The caller drops *root. */
slip_status slip_config_json(const char *json, size_t size, const char *source, json_t **root);

/* A member that is present and not null. */
bool slip_field_given(const slip_fields *fields, const char *name);

/* Record a fault of a member: "SOURCE: NAME is VALUE: PROBLEM". */
void slip_field_refuse(const slip_fields *fields, const char *name, const char *problem);

/* Refuse a member unless it is fine. */
void slip_field_require(const slip_fields *fields, const char *name, bool fine, const char *problem);

/* A string that may be absent or null, or must be `wanted`. */
void slip_field_require_string(const slip_fields *fields, const char *name, const char *wanted);

/* Two members that say the same thing: where both are given and differ, refuse the first, naming both values. */
void slip_field_refuse_other(const slip_fields *fields, const char *name, const slip_fields *other, const char *other_name);

/* Required members. A number must lie in low..high. */
int32_t slip_field_int(const slip_fields *fields, const char *name, int32_t low, int32_t high);
double slip_field_number(const slip_fields *fields, const char *name, double low, double high);

/* Members with a fallback for absent or null. */
int32_t slip_field_int_or(const slip_fields *fields, const char *name, int32_t low, int32_t high, int32_t fallback);
double slip_field_number_or(const slip_fields *fields, const char *name, double low, double high, double fallback);
bool slip_field_bool_or(const slip_fields *fields, const char *name, bool fallback);

/* NULL when absent or null; valid as long as the object. */
const char *slip_field_string(const slip_fields *fields, const char *name);

/* A nested object, its members named "NAME.member" by `path`; an empty object when absent or null. */
slip_fields slip_field_object(const slip_fields *fields, const char *name, const char *path);

/* A list of `low` to `high` entries; NULL when it is not there or not one. */
const json_t *slip_field_list(const slip_fields *fields, const char *name, size_t low, size_t high);

/* A list of `count` entries, each of which says no or yes: 0 or 1, or one of two names. */
void slip_field_flags(const slip_fields *fields, const char *name, int32_t count, bool *flags);
void slip_field_names(const slip_fields *fields, const char *name, const char *no, const char *yes, int32_t count, bool *flags);

#endif

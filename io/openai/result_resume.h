/* Reading results back, so that a run can go on. Private to io/result*.c. */
#ifndef SLIP_IO_OPENAI_RESULT_RESUME_H
#define SLIP_IO_OPENAI_RESULT_RESUME_H

#include <jansson.h>

#include "io/openai/result.h"

/* Check that `path` holds results of these requests under `run_hash`, then repair it: a torn last line is cut
 * off, and lines of requests that never ran are taken out. A missing file is an empty one. *finished (the
 * caller drops it) is a set of slip_result_key()s. SLIP_ERR_INPUT: the file is not ours to go on with, and is
 * left as it was. */
slip_status slip_results_resume(const char *path, uint64_t run_hash, const slip_request *requests,
                                size_t count, json_t **finished);

/* Put the key of a request into a set (a JSON object), and look it up. */
slip_status slip_result_key_add(json_t *set, const char *custom_id, uint64_t hash);
bool slip_result_key_in(const json_t *set, const char *custom_id, uint64_t hash);

/* Sync the folder that holds `path`, so that a new name in it survives a crash. Some file systems cannot;
 * none needs to be asked twice. */
void slip_results_sync_folder(const char *path);

#endif

/* A request in the serving core: one sequence per choice. The answer is built when the last one ends. */
#ifndef SLIP_COORDINATOR_SERVE_TASK_H
#define SLIP_COORDINATOR_SERVE_TASK_H

#include "coordinator/serve/admission.h"
#include "coordinator/serve/serve.h"
#include "io/openai/result/result.h"

typedef struct slip_task slip_task;

/* Called once, when nothing of the task runs any more; the caller may free it there. `answers` has slip_request_choices() elements, and
 * is NULL where a choice was given up or failed: then the request has no answer. One that failed has become a refusal (status 500). */
typedef slip_status (*slip_task_end)(void *context, slip_task *task, const slip_answer *answers);

/* *request and `prompts` (slip_admission_prepare) belong to the task from now on, even if this fails. */
slip_status slip_task_create(slip_request *request, slip_ready_prompt *prompts, slip_task_end end, void *context, slip_task **task);
void slip_task_free(slip_task *task);

const slip_request *slip_task_request(const slip_task *task);

/* Submit the next choice; false from slip_task_waits() when there is none left to submit. */
bool slip_task_waits(const slip_task *task);
slip_status slip_task_submit(slip_task *task, slip_serve *serve);

#endif

/* A request in the serving core: one sequence per choice. The answer is built when the last one ends. */
#ifndef SLIP_COORDINATOR_SERVE_TASK_H
#define SLIP_COORDINATOR_SERVE_TASK_H

#include "coordinator/serve/admission.h"
#include "coordinator/serve/serve.h"
#include "io/openai/result/result.h"

typedef struct slip_task slip_task;

/* Called once, when nothing of the task runs any more; the caller may free it there. `answers` has slip_request_choices() elements, and
 * is NULL where a choice was given up or failed: then the request has no answer. One that failed has become a refusal (status 500); of one
 * that was given up slip_task_answers() tells what there is. */
typedef slip_status (*slip_task_end)(void *context, slip_task *task, const slip_answer *answers);

/* *request and `prompts` (slip_admission_prepare) belong to the task from now on, even if this fails. */
slip_status slip_task_create(slip_request *request, slip_ready_prompt *prompts, slip_task_end end, void *context, slip_task **task);
void slip_task_free(slip_task *task);

const slip_request *slip_task_request(const slip_task *task);

/* Before anything is submitted: go on with what an earlier run began. Choices that had ended are not run again. The texts and tokens become
 * the task's. False, and nothing is changed: these are no choices of this request. */
bool slip_task_resume(slip_task *task, slip_begun *begun, int32_t vocabulary);

/* Every choice as far as it has come [slip_request_choices()]: finish_reason is NULL where it has not ended; one that has no token has no
 * text either. Those in flight are as their run began. */
const slip_answer *slip_task_answers(const slip_task *task);

/* Submit the next choice; false from slip_task_waits() when there is none left to submit. */
bool slip_task_waits(const slip_task *task);
slip_status slip_task_submit(slip_task *task, slip_serve *serve);

#endif

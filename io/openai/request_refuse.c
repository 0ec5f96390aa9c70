/* Refused requests: status, code, parameter and sentence of the answer's error. */
#include <stdarg.h>
#include <stdio.h>

#include "io/openai/request.h"

slip_status slip_request_refuse(slip_request *request, int status_code, const char *code, const char *param, const char *format, ...)
{
    slip_refusal *refusal = &request->refusal;
    refusal->status_code = status_code;
    snprintf(refusal->type, sizeof refusal->type, "invalid_request_error");
    snprintf(refusal->code, sizeof refusal->code, "%s", code);
    snprintf(refusal->param, sizeof refusal->param, "%s", param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, arguments);
    va_end(arguments);
    return SLIP_ERR_INPUT;
}

slip_status slip_request_fail(slip_request *request, const char *code, const char *message)
{
    slip_status status = slip_request_refuse(request, 500, code, "", "%s", message);
    snprintf(request->refusal.type, sizeof request->refusal.type, "server_error");
    return status;
}

/* A folder with four requests in a file and a file of their results, for the tests of io/openai/result/result.h. */
#ifndef SLIP_TESTS_UNIT_SUPPORT_RESULT_FILE_H
#define SLIP_TESTS_UNIT_SUPPORT_RESULT_FILE_H

#include <jansson.h>

#include "io/openai/result/result.h"

enum { RUN = 0x1234, REQUESTS = 4 };

extern char path[96];                   /* of the results */
extern slip_request requests[REQUESTS]; /* 0: completion, 1: chat, 2: refused, 3: completion; "r0", "r1", ... */
extern slip_request_file *input;        /* the file that holds them */
extern const slip_answer plain;

/* cmocka's fixtures: the folder comes and goes; it is a failure to leave anything else in it. */
int results_setup(void **state);
int results_teardown(void **state);

/* Replace the input by these lines. */
void change_input(const char *text);

slip_answer say(const char *text);
slip_results *open_results(bool resume);

/* Lines of requests 0, 1 and 2, the last one refused. */
void write_three(void);

/* The whole file of results (malloc'ed, terminated), written anew, or line `number` of it, from 0, parsed. */
char *read_all(size_t *size);
void write_all(const char *text, size_t size);
json_t *read_line(int number);

/* Resuming is refused with this in the message, beside the file's name. */
void assert_input_error(const char *cause);

#endif

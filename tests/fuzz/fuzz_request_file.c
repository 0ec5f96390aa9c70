/* Any bytes as a file of request lines, packed or not: it is refused, or read twice with the same names, each line's own or one that no
 * other line has.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/base/table/tally.h"
#include "io/openai/request_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

/* All requests once; returns a hash of what they are called and why they are refused. */
static uint64_t read_all(slip_request_file *file, slip_tally *names)
{
    uint64_t hash = SLIP_HASH_START, before;
    int64_t count = 0;
    bool found;
    while (slip_request_file_next(file, &found) == SLIP_OK && found) {
        slip_request request;
        require(slip_request_file_parse(file, &request) == SLIP_OK && request.index == count++);
        require(strcmp(request.custom_id, slip_request_file_name(file)) == 0);
        const char *name = request.custom_id;
        require(slip_tally_add(names, slip_hash128_on(SLIP_HASH128_START, name, strlen(name)), &before) == SLIP_OK);
        require(before == 0 || (request.named && request.refusal.status_code != 0));
        hash = slip_hash(slip_hash_text(hash, name), &request.hash, sizeof request.hash);
        slip_request_free(&request);
    }
    require(slip_cause()[0] == '\0' && count == slip_request_file_count(file));
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[40];
    slip_request_file *file;
    int bytes = memfd_create("requests", MFD_CLOEXEC);
    require(bytes >= 0 && write(bytes, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", bytes);
    slip_clear();
    if (slip_request_file_open(path, NULL, &file) == SLIP_OK) {
        slip_tally first = {0}, second = {0};
        uint64_t hash = read_all(file, &first);
        require(slip_request_file_rewind(file) == SLIP_OK && read_all(file, &second) == hash);
        slip_tally_free(&first);
        slip_tally_free(&second);
        slip_request_file_close(file);
    } else {
        require(slip_cause()[0] != '\0');
    }
    close(bytes);
    return 0;
}

#include "comm/host/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Fields 3 and 22 of /proc/PID/stat (proc(5)); the second one, a name in brackets, may hold anything. */
static bool read_stat(int64_t pid, char *state, uint64_t *start)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *fields = strrchr(line, ')');
    unsigned long long ticks;
    if (!fields ||
        sscanf(fields + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", state, &ticks) != 2)
        return false;
    *start = ticks;
    return true;
}

slip_process slip_process_self(void)
{
    char state;
    slip_process self = {.pid = getpid()};
    if (!read_stat(self.pid, &state, &self.start))
        self.start = 0;
    return self;
}

bool slip_process_stopped(const slip_process *process)
{
    char state;
    uint64_t start;
    return process->start != 0 && read_stat(process->pid, &state, &start) && start == process->start && (state == 'T' || state == 't');
}

#include "io/openai/request_names.h"

#include <stdlib.h>
#include <string.h>

enum { LETTERS = 48 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The letters that count; -1 when there are too many. */
static int squeeze(const char *name, char letters[static LETTERS])
{
    int count = 0;
    for (; *name != '\0'; name++) {
        if (strchr("_- ", *name) != NULL)
            continue;
        if (count == LETTERS)
            return -1;
        letters[count++] = lower(*name);
    }
    return count;
}

static int least(int a, int b, int c)
{
    int two = a < b ? a : b;
    return two < c ? two : c;
}

/* Optimal string alignment: rows i-2, i-1 and i of the table, row i in rows[i % 3]. */
static int align(const char *a, int a_size, const char *b, int b_size)
{
    int rows[3][LETTERS + 1];
    for (int i = 0; i <= a_size; i++)
        for (int j = 0; j <= b_size; j++) {
            int *here = &rows[i % 3][j];
            const int *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
            if (i == 0 || j == 0) {
                *here = i + j;
                continue;
            }
            *here = least(above[j] + 1, here[-1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two_above[j - 2] + 1 < *here)
                *here = two_above[j - 2] + 1;
        }
    return rows[a_size % 3][b_size];
}

int slip_name_distance(const char *name, const char *other)
{
    char a[LETTERS], b[LETTERS];
    int a_size = squeeze(name, a), b_size = squeeze(other, b);
    if (a_size < 1 || b_size < 1)
        return -1;
    int distance = align(a, a_size, b, b_size), longer = a_size > b_size ? a_size : b_size;
    return 4 * distance <= longer ? distance : -1;
}

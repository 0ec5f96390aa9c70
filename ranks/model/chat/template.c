#include "ranks/model/chat/template.h"

#include <stdio.h>
#include <string.h>

const slip_chat_template *slip_chat_template_find(const slip_chat_template *templates, const char *name)
{
    for (; templates != NULL && templates->name != NULL; templates++)
        if (strcmp(templates->name, name) == 0)
            return templates;
    return NULL;
}

const slip_chat_template *slip_chat_template_of(const slip_chat_template *templates, const slip_chat_text *texts, const char *sha256)
{
    for (; texts != NULL && texts->sha256 != NULL; texts++)
        if (strcmp(texts->sha256, sha256) == 0)
            return slip_chat_template_find(templates, texts->name);
    return NULL;
}

void slip_chat_template_names(const slip_chat_template *templates, char *names, size_t size)
{
    size_t used = 0;
    names[0] = '\0';
    for (const slip_chat_template *t = templates; t != NULL && t->name != NULL && used < size; t++) {
        const char *before = t == templates ? "" : t[1].name != NULL ? ", " : " and ";
        used += (size_t)snprintf(names + used, size - used, "%s%s", before, t->name);
    }
}

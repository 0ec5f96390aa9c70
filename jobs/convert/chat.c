#include "jobs/convert/chat.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "ranks/model/chat/sha256.h"
#include "ranks/model/config/known.h"
#include "ranks/model/family.h"

enum { TEXT_MAX = 16 << 20, PATH_SIZE = 4096 };

/* *text stays NULL where the folder has no such file. */
static slip_status read_file(const char *folder, const char *name, char path[PATH_SIZE], char **text, size_t *size)
{
    if (snprintf(path, PATH_SIZE, "%s%s%s", folder, slip_file_slash(folder), name) >= PATH_SIZE)
        return slip_fail(SLIP_ERR_INPUT, "%.128s...: the path is too long", folder);
    return slip_file_is_there(path) ? slip_file_read(path, TEXT_MAX, text, size) : SLIP_OK;
}

/* The text in a member chat_template: the member itself, or, of a list of {name, template}, the one called "default". */
static const json_t *template_in(const json_t *root)
{
    const json_t *member = json_object_get(root, "chat_template");
    for (size_t i = 0; i < json_array_size(member); i++) {
        const json_t *entry = json_array_get(member, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_object_get(entry, "template");
    }
    return member;
}

static slip_status read_member(const char *folder, const char *name, slip_model *model)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size;
    json_t *root = NULL;
    slip_status status = read_file(folder, name, path, &text, &size);
    if (status == SLIP_OK && text != NULL)
        status = slip_config_json(text, size, path, &root);
    free(text);
    const json_t *found = template_in(root);
    if (json_is_string(found))
        slip_sha256(json_string_value(found), json_string_length(found), model->chat_template);
    else if (found != NULL && !json_is_null(found))
        status = slip_fail(SLIP_ERR_INPUT, "%s: chat_template: it is neither a text nor a list with one called default", path);
    json_decref(root);
    return status;
}

static const slip_chat_template *template_of(const slip_model *model)
{
    return slip_chat_template_of(model->family->chat_templates, model->family->chat_texts, model->chat_template);
}

slip_status slip_convert_chat(const char *folder, slip_model *model)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size;
    slip_status status = read_file(folder, "chat_template.jinja", path, &text, &size);
    if (status == SLIP_OK && text != NULL)
        slip_sha256(text, size, model->chat_template);
    free(text);
    if (status == SLIP_OK && model->chat_template[0] == '\0')
        status = read_member(folder, "chat_template.json", model);
    if (status == SLIP_OK && model->chat_template[0] == '\0')
        status = read_member(folder, "tokenizer_config.json", model);
    if (status == SLIP_OK && model->chat_template[0] != '\0' && template_of(model) == NULL)
        fprintf(stderr,
                "warning: %s: its chat template, SHA-256 %s, is not known: chats will be refused unless --chat-template NAME says how to "
                "render them (docs/chat.md)\n",
                folder, model->chat_template);
    return status;
}

void slip_convert_say_chat(const slip_model *model)
{
    const slip_chat_template *found = template_of(model);
    if (found != NULL)
        fprintf(stderr, "convert: chats are rendered as %s's\n", found->name);
    else if (model->chat_template[0] == '\0' && model->family->chat_templates != NULL)
        fprintf(stderr, "convert: the folder has no chat template: chats are rendered as %s's\n", model->family->chat_templates->name);
}

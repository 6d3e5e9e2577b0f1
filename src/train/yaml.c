#include "yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"

/* Deeper than any key that there is; a file that nests more is no configuration. */
enum { MAX_DEPTH = 8 };

struct parser {
    yaml_parser_t events;
    struct yaml *out;
    const char *path;
    quire_error *err;
};

static quire_status refuse(const struct parser *p, const yaml_event_t *event, const char *what)
{
    return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s', line %zu: %s", p->path, event->start_mark.line + 1, what);
}

/* The next event, which the caller deletes. */
static quire_status next(struct parser *p, yaml_event_t *event)
{
    if (!yaml_parser_parse(&p->events, event)) {
        if (p->events.error == YAML_MEMORY_ERROR)
            return quire_fail(p->err, QUIRE_ERR_NO_MEMORY, "out of memory for '%s'", p->path);
        return quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s' is not valid YAML: line %zu: %s", p->path,
                          p->events.problem_mark.line + 1, p->events.problem ? p->events.problem : "unreadable");
    }
    return QUIRE_OK;
}

static quire_status check_plain(const struct parser *p, const yaml_event_t *event, const yaml_char_t *anchor,
                                const yaml_char_t *tag)
{
    if (anchor)
        return refuse(p, event, "anchors ('&') and aliases ('*') are not supported; write the value out");
    if (tag)
        return refuse(p, event, "tags ('!') are not supported; write the value without one");
    return QUIRE_OK;
}

static quire_status check_scalar(const struct parser *p, const yaml_event_t *event)
{
    if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
        return refuse(p, event, "a value with a NUL character");
    return check_plain(p, event, event->data.scalar.anchor, event->data.scalar.tag);
}

/* "prefix.name", malloc'ed. */
static char *join(const char *prefix, const char *separator, const char *name, quire_error *err)
{
    size_t n = strlen(prefix) + strlen(separator) + strlen(name) + 1;
    char *text = mem_calloc(n, 1, "a configuration key", err);
    if (text)
        snprintf(text, n, "%s%s%s", prefix, separator, name);
    return text;
}

/* Takes over key and value. */
static quire_status add(struct parser *p, struct yaml_entry entry)
{
    struct yaml *out = p->out;
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < out->n_entries && status == QUIRE_OK; i++)
        if (strcmp(out->entries[i].key, entry.key) == 0)
            status = quire_fail(p->err, QUIRE_ERR_FORMAT, "'%s', line %zu: '%s' stands on line %zu already", p->path,
                                entry.line, entry.key, out->entries[i].line);
    if (status == QUIRE_OK)
        status =
            mem_reserve(&out->entries, &out->capacity, out->n_entries + 1, sizeof entry, "a configuration", p->err);
    if (status != QUIRE_OK) {
        free(entry.key);
        free(entry.value);
        return status;
    }
    out->entries[out->n_entries++] = entry;
    return QUIRE_OK;
}

/* The scalars up to the end of a list, joined. */
static quire_status read_list(struct parser *p, char **value)
{
    char *text = mem_strdup("", p->err);
    quire_status status = text ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
    for (bool is_done = false; status == QUIRE_OK && !is_done;) {
        yaml_event_t event;
        status = next(p, &event);
        if (status != QUIRE_OK)
            break;
        is_done = event.type == YAML_SEQUENCE_END_EVENT;
        if (!is_done && event.type != YAML_SCALAR_EVENT)
            status = refuse(p, &event, "a list may hold numbers and words only");
        else if (!is_done)
            status = check_scalar(p, &event);
        if (status == QUIRE_OK && !is_done) {
            char *longer = join(text, text[0] ? ", " : "", (const char *)event.data.scalar.value, p->err);
            status = longer ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
            if (longer) {
                free(text);
                text = longer;
            }
        }
        yaml_event_delete(&event);
    }
    if (status != QUIRE_OK)
        free(text);
    else
        *value = text;
    return status;
}

static quire_status read_mapping(struct parser *p, const char *prefix, int depth);

/* What stands behind a key: takes over the key. */
static quire_status read_value(struct parser *p, char *key, size_t line, int depth)
{
    yaml_event_t event;
    struct yaml_entry entry = {.key = key, .line = line};
    quire_status status = next(p, &event);
    if (status != QUIRE_OK)
        goto out;
    switch (event.type) {
    case YAML_SCALAR_EVENT:
        status = check_scalar(p, &event);
        entry.is_quoted = event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        if (status == QUIRE_OK && !(entry.value = mem_strdup((const char *)event.data.scalar.value, p->err)))
            status = QUIRE_ERR_NO_MEMORY;
        break;
    case YAML_SEQUENCE_START_EVENT:
        status = check_plain(p, &event, event.data.sequence_start.anchor, event.data.sequence_start.tag);
        entry.is_list = true;
        if (status == QUIRE_OK)
            status = read_list(p, &entry.value);
        break;
    case YAML_MAPPING_START_EVENT:
        status = check_plain(p, &event, event.data.mapping_start.anchor, event.data.mapping_start.tag);
        if (status == QUIRE_OK && depth + 1 >= MAX_DEPTH)
            status = refuse(p, &event, "mappings are nested too deeply");
        if (status == QUIRE_OK)
            status = read_mapping(p, key, depth + 1);
        break;
    default: status = refuse(p, &event, "anchors ('&') and aliases ('*') are not supported; write the value out");
    }
    yaml_event_delete(&event);
    if (status == QUIRE_OK && entry.value)
        return add(p, entry);
out:
    free(key);
    return status;
}

/* The pairs up to the end of a mapping. */
static quire_status read_mapping(struct parser *p, const char *prefix, int depth)
{
    for (;;) {
        yaml_event_t event;
        char *key = NULL;
        quire_status status = next(p, &event);
        if (status != QUIRE_OK)
            return status;
        bool is_end = event.type == YAML_MAPPING_END_EVENT;
        size_t line = event.start_mark.line + 1;
        if (!is_end && event.type != YAML_SCALAR_EVENT)
            status = refuse(p, &event, "a key has to be a word");
        else if (!is_end)
            status = check_scalar(p, &event);
        if (status == QUIRE_OK && !is_end && strcmp((const char *)event.data.scalar.value, "<<") == 0)
            status = refuse(p, &event, "merge keys ('<<') are not supported; write the keys out");
        if (status == QUIRE_OK && !is_end &&
            !(key = join(prefix, prefix[0] ? "." : "", (const char *)event.data.scalar.value, p->err)))
            status = QUIRE_ERR_NO_MEMORY;
        yaml_event_delete(&event);
        if (status != QUIRE_OK || is_end)
            return status;
        status = read_value(p, key, line, depth);
        if (status != QUIRE_OK)
            return status;
    }
}

/* The events of a file: stream, document, its one mapping, and nothing behind it. */
static quire_status read_stream(struct parser *p)
{
    bool has_document = false;
    for (;;) {
        yaml_event_t event;
        quire_status status = next(p, &event);
        if (status != QUIRE_OK)
            return status;
        yaml_event_type_t type = event.type;
        switch (type) {
        case YAML_DOCUMENT_START_EVENT:
            if (has_document)
                status = refuse(p, &event, "a second document begins; a configuration is one");
            has_document = true;
            break;
        case YAML_MAPPING_START_EVENT:
            status = check_plain(p, &event, event.data.mapping_start.anchor, event.data.mapping_start.tag);
            if (status == QUIRE_OK)
                status = read_mapping(p, "", 0);
            break;
        case YAML_SCALAR_EVENT:
        case YAML_SEQUENCE_START_EVENT:
        case YAML_ALIAS_EVENT: status = refuse(p, &event, "expected keys with their values"); break;
        default: break;
        }
        yaml_event_delete(&event);
        if (status != QUIRE_OK || type == YAML_STREAM_END_EVENT)
            return status;
    }
}

quire_status yaml_parse(struct yaml *out, const char *text, size_t n, const char *path, quire_error *err)
{
    struct yaml yaml = {0};
    struct parser p = {.out = &yaml, .path = path, .err = err};
    if (!yaml_parser_initialize(&p.events))
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for '%s'", path);
    yaml_parser_set_input_string(&p.events, (const unsigned char *)text, n);
    quire_status status = read_stream(&p);
    yaml_parser_delete(&p.events);
    if (status == QUIRE_OK)
        *out = yaml;
    else
        yaml_release(&yaml);
    return status;
}

void yaml_release(struct yaml *yaml)
{
    for (size_t i = 0; i < yaml->n_entries; i++) {
        free(yaml->entries[i].key);
        free(yaml->entries[i].value);
    }
    free(yaml->entries);
    *yaml = (struct yaml){0};
}

#include "kv_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "json_out.h"
#include "text.h"

char *kv_text_id(char buffer[KV_ID_SIZE], uint64_t id)
{
    snprintf(buffer, KV_ID_SIZE, "%016" PRIx64, id);
    return buffer;
}

/* --- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *id_json(uint64_t id)
{
    char text[KV_ID_SIZE];
    return id ? json_string(kv_text_id(text, id)) : json_null();
}

static json_t *text_json(const char *text)
{
    return *text ? json_text(text, strlen(text)) : json_null();
}

static json_t *time_json(int64_t seconds)
{
    char text[40];
    struct tm parts;
    time_t when = (time_t)seconds;
    if (seconds == 0 || !gmtime_r(&when, &parts) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

/* "name value name value ..." as an object. */
static json_t *identity_json(const char *identity)
{
    json_t *fields = json_object();
    while (*identity) {
        char name[64];
        size_t n_name = strcspn(identity, " ");
        quire_printable(name, sizeof name, identity, n_name);
        identity += n_name + (identity[n_name] == ' ');
        size_t n_value = strcspn(identity, " ");
        json_object_set_new_nocheck(fields, name, json_text(identity, n_value));
        identity += n_value + (identity[n_value] == ' ');
    }
    return fields;
}

json_t *kv_text_book(const quire_stored_book *book)
{
    json_t *to = json_object();
    json_object_set_new(to, "book", id_json(book->id));
    json_object_set_new(to, "state", json_string(quire_book_state_name(book->state)));
    json_object_set_new(to, "problem", text_json(book->problem));
    json_object_set_new(to, "label", text_json(book->label));
    json_object_set_new(to, "first_words", text_json(book->words));
    json_object_set_new(to, "model", text_json(book->model));
    json_object_set_new(to, "tokenizer_file", text_json(book->tokenizer));
    json_object_set_new(to, "tokens", json_integer((json_int_t)book->n_tokens));
    json_object_set_new(to, "tokens_in_flight", json_integer((json_int_t)book->n_in_flight));
    json_object_set_new(to, "tokens_shared", json_integer((json_int_t)book->n_shared));
    json_object_set_new(to, "parent", id_json(book->parent_id));
    json_object_set_new(to, "branches", json_integer(book->n_branches));
    json_object_set_new(to, "disk_bytes", json_integer((json_int_t)book->disk_bytes));
    json_object_set_new(to, "created", time_json(book->created));
    json_object_set_new(to, "last_used", time_json(book->last_used));
    json_object_set_new(to, "kv_type", book->n_layers ? json_string(quire_kv_type_name(book->kv_type)) : json_null());
    json_object_set_new(to, "layers", json_integer(book->n_layers));
    json_object_set_new(to, "kv_heads", json_integer(book->n_kv_heads));
    json_object_set_new(to, "head_dim", json_integer(book->head_dim));
    json_object_set_new(to, "identity", identity_json(book->identity));
    return to;
}

/* --- text -------------------------------------------------------------------------------------------------------- */

quire_status kv_text_write_book(struct output *output, const quire_stored_book *book, quire_error *err)
{
    json_t *object = kv_text_book(book), *identity = json_object_get(object, "identity");
    quire_status status = QUIRE_OK;
    for (void *i = json_object_iter(object); i && status == QUIRE_OK; i = json_object_iter_next(object, i))
        if (!json_is_object(json_object_iter_value(i)))
            status = json_write_value(output, json_object_iter_key(i), json_object_iter_value(i), err);
    if (status == QUIRE_OK)
        status = output_print(output, err, "\nRead with\n");
    for (void *i = json_object_iter(identity); i && status == QUIRE_OK; i = json_object_iter_next(identity, i))
        status = json_write_value(output, json_object_iter_key(i), json_object_iter_value(i), err);
    json_decref(object);
    return status;
}

/* Printable, of so many columns of UTF-8 at most (a code point is taken for one column), with an ellipsis where it was
 * cut. */
static void cut(char *out, size_t size, const char *text, size_t columns)
{
    size_t n = 0;
    quire_printable(out, size, text, strlen(text));
    for (char *p = out; *p; p++) {
        bool is_start = ((unsigned char)*p & 0xC0) != 0x80;
        if (is_start && ++n > columns) {
            strcpy(p, "...");
            return;
        }
    }
}

quire_status kv_text_write_title(struct output *output, quire_error *err)
{
    return output_print(output, err, "%-16s  %-11s %10s %10s  %-16s  %-18s  %s\n", "book", "state", "tokens", "disk",
                        "last use", "model", "text");
}

quire_status kv_text_write_line(struct output *output, const quire_stored_book *book, quire_error *err)
{
    char id[KV_ID_SIZE], tokens[TEXT_SIZE], disk[TEXT_SIZE], when[40] = "-", label[300], words[300], model[200];
    struct tm parts;
    time_t used = (time_t)book->last_used;
    if (book->last_used && localtime_r(&used, &parts))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &parts);
    const char *slash = strrchr(book->label, '/');
    cut(label, sizeof label, slash && slash[1] ? slash + 1 : book->label, 30);
    cut(words, sizeof words, book->words, 40);
    cut(model, sizeof model, *book->model ? book->model : "-", 15);
    return output_print(output, err, "%-16s  %-11s %10s %10s  %-16s  %-18s  %s%s%s\n", kv_text_id(id, book->id),
                        quire_book_state_name(book->state), text_count(tokens, book->n_tokens),
                        text_bytes(disk, book->disk_bytes), when, model, label, *label && *words ? ": " : "", words);
}

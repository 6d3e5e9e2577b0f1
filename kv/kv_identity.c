#include "kv/kv_identity.h"

#include <stdio.h>
#include <string.h>

struct word {
    const char *text;
    size_t n;
};

/* The next word of a line, which is empty at the end. */
static struct word next_word(const char **at)
{
    struct word word = {*at, strcspn(*at, " ")};
    *at += word.n + ((*at)[word.n] == ' ');
    return word;
}

static bool is_same(struct word a, struct word b)
{
    return a.n == b.n && memcmp(a.text, b.text, a.n) == 0;
}

/* The value of the field in the line, empty where the line has no such field. */
static struct word find_value(const char *line, struct word name)
{
    while (*line) {
        struct word found = next_word(&line), value = next_word(&line);
        if (is_same(found, name))
            return value;
    }
    return (struct word){"", 0};
}

static void add(struct kv_difference *difference, struct word field, struct word found, struct word wanted)
{
    if (is_same(found, wanted))
        return;
    if (difference->n_fields++ > 0)
        return;
    struct word none = {"none", 4};
    found = found.n > 0 ? found : none;
    wanted = wanted.n > 0 ? wanted : none;
    snprintf(difference->field, sizeof difference->field, "%.*s", (int)field.n, field.text);
    snprintf(difference->found, sizeof difference->found, "%.*s", (int)found.n, found.text);
    snprintf(difference->wanted, sizeof difference->wanted, "%.*s", (int)wanted.n, wanted.text);
}

static void add_number(struct kv_difference *difference, const char *field, uint32_t found, uint32_t wanted)
{
    char a[16], b[16];
    int n_a = snprintf(a, sizeof a, "%u", found), n_b = snprintf(b, sizeof b, "%u", wanted);
    add(difference, (struct word){field, strlen(field)}, (struct word){a, (size_t)n_a}, (struct word){b, (size_t)n_b});
}

static struct word type_name(uint32_t type)
{
    const char *name = quire_kv_type_name((quire_kv_type)type);
    return (struct word){name, strlen(name)};
}

struct kv_difference kv_identity_difference(const struct kv_manifest *manifest, const struct kv_geometry *geometry,
                                            const char *identity)
{
    struct kv_difference difference = {0};
    for (const char *at = identity; *at;) {
        struct word name = next_word(&at), wanted = next_word(&at);
        add(&difference, name, find_value(manifest->identity, name), wanted);
    }
    for (const char *at = manifest->identity; *at;) { /* fields that are only there */
        struct word name = next_word(&at), found = next_word(&at);
        if (find_value(identity, name).n == 0)
            add(&difference, name, found, (struct word){"", 0});
    }
    if (difference.n_fields == 0) { /* the fields of a model name its layers and heads */
        add_number(&difference, "n_layers", manifest->n_layers, geometry->n_layers);
        add_number(&difference, "n_heads", manifest->n_heads, geometry->n_heads);
        add_number(&difference, "head_dim", manifest->head_dim, geometry->head_dim);
    }
    add(&difference, (struct word){"kv_type", 7}, type_name(manifest->type), type_name(geometry->type));
    return difference;
}

/* The part of YAML that a configuration needs: mappings of mappings, down to scalars and to lists of scalars, as flat
 * entries with the lines they stand on. JSON is a subset of it. What else the language has (anchors and aliases, tags,
 * merge keys, several documents, lists of mappings) is refused by name, so that nothing is read otherwise than it
 * looks. */
#ifndef QUIRE_TRAIN_YAML_H
#define QUIRE_TRAIN_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "quire/error.h"

struct yaml_entry {
    char *key;      /* "optimizer.betas": the keys of the mappings around it, joined with dots */
    char *value;    /* a list's scalars joined with ", " */
    size_t line;    /* of the key, from 1 */
    bool is_list;   /* [a, b], or one item a line */
    bool is_quoted; /* "null" is a text, null is none */
};

struct yaml {
    struct yaml_entry *entries; /* in the order of the file; no key twice */
    size_t n_entries;
    size_t capacity;
};

/* path: for messages. Errors: FORMAT with line (what the language or this part of it does not allow; a key that stands
 * twice); NO_MEMORY. */
quire_status yaml_parse(struct yaml *out, const char *text, size_t n, const char *path, quire_error *err);

void yaml_release(struct yaml *yaml);

#endif

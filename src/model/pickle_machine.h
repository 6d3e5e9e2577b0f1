/* The machine that a pickle is a program for: values, a stack with marks, a memo. Values are made once and never
 * copied: a reference, the index of a value, stands for one everywhere, so that a pickle which repeats a large value a
 * thousand times takes a thousand references. Nothing walks through values that hold values, so that one which holds
 * itself does no harm. */
#ifndef QUIRE_MODEL_PICKLE_MACHINE_H
#define QUIRE_MODEL_PICKLE_MACHINE_H

#include <stdbool.h>

#include "cursor.h"
#include "pickle.h"

/* A tensor takes 16 values, 16 items and an entry. All together: at most 50 MiB. */
enum {
    PICKLE_MAX_VALUES = 1 << 19,
    PICKLE_MAX_ITEMS = 1 << 20,   /* of all tuples */
    PICKLE_MAX_ENTRIES = 1 << 19, /* of all dictionaries */
    PICKLE_MAX_STACK = 1 << 18,
    PICKLE_MAX_MARKS = 64,
    PICKLE_MAX_MEMO = 1 << 19,
    PICKLE_MAX_STRING = 1 << 16, /* bytes */
};

enum value_kind {
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT, /* nobody asks for its number */
    VALUE_STRING,
    VALUE_TUPLE,
    VALUE_LIST, /* nobody asks for its items */
    VALUE_DICT,
    VALUE_NAME,
    VALUE_STORAGE,
    VALUE_TENSOR,
};

struct value {
    enum value_kind kind;
    uint32_t n; /* STRING: bytes; TUPLE: items; DICT: entries */
    uint32_t
        first;     /* TUPLE: its items; STORAGE, TENSOR: those that it was made from; DICT: its entries, from `first` */
    uint32_t last; /* along `next` to `last` */
    union {
        int64_t integer;                /* INT */
        const char *text;               /* STRING; in the pickle */
        const struct pickle_name *name; /* NAME */
        const struct element *element;  /* STORAGE (NULL: bytes of no type), TENSOR */
    };
};

struct entry {
    uint32_t key, value;
    uint32_t next; /* of the same dictionary */
};

struct refs {
    uint32_t *items;
    size_t n, capacity;
};

struct pickle {
    struct cursor code;
    size_t at; /* of the operation that runs, for messages */
    const char *path;
    quire_error *err;

    struct value *values;
    size_t n_values, values_capacity;
    struct entry *entries;
    size_t n_entries, entries_capacity;
    struct refs items, stack, memo; /* memo: a reference + 1 in each place that is taken */
    uint32_t marks[PICKLE_MAX_MARKS];
    size_t n_marks;

    struct entry *tensors; /* the result: names and tensors, sorted by name */
    size_t n_tensors;
};

/* Messages begin with the file and where the operation lies. */
quire_status pickle_fail(struct pickle *p, quire_status status, const char *format, ...) QUIRE_PRINTF(3, 4);

/* "a string", "a tensor", for messages. */
const char *pickle_kind(const struct value *value);

/* The value goes on top of the stack; so does one that exists. */
quire_status pickle_push(struct pickle *p, struct value value);
quire_status pickle_push_ref(struct pickle *p, uint32_t ref);

/* Takes the top of the stack off, down to the last mark at most; looks at it. */
quire_status pickle_pop(struct pickle *p, uint32_t *ref);
quire_status pickle_top(struct pickle *p, uint32_t *ref);

quire_status pickle_mark(struct pickle *p);
/* Takes off all that is above the last mark, and the mark. *refs lies in the stack until something is pushed. */
quire_status pickle_pop_mark(struct pickle *p, const uint32_t **refs, size_t *n);

quire_status pickle_memo_put(struct pickle *p, uint32_t place);
quire_status pickle_memo_get(struct pickle *p, uint32_t place);

/* A tuple of the n references takes their place on the stack. */
quire_status pickle_push_tuple(struct pickle *p, const uint32_t *refs, size_t n);

/* Adds an entry; one with the same key may be there already. dict refers to a VALUE_DICT. */
quire_status pickle_add_entry(struct pickle *p, uint32_t dict, uint32_t key, uint32_t value);

static inline struct value *pickle_item(const struct pickle *p, const struct value *tuple, size_t i)
{
    return &p->values[p->items.items[tuple->first + i]];
}

/* pickle_names.c: what stands for what. */

/* Pushes the name; UNSUPPORTED where it is not on the list. */
quire_status pickle_push_name(struct pickle *p, const char *module, size_t n_module, const char *name, size_t n_name);
/* Refuses it, saying why. */
quire_status pickle_refuse_name(struct pickle *p, const char *module, size_t n_module, const char *name, size_t n_name);

/* The function or class called with a tuple of arguments, and the object that a persistent id names, are pushed. */
quire_status pickle_call(struct pickle *p, const struct value *name, const struct value *arguments);
quire_status pickle_persistent(struct pickle *p, const struct value *id);

/* pickle_tensors.c: sets p->tensors from the value that the pickle is. */
quire_status pickle_collect(struct pickle *p, const struct value *root);

#endif

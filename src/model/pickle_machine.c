#include "pickle_machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

quire_status pickle_fail(struct pickle *p, quire_status status, const char *format, ...)
{
    char what[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return quire_fail(p->err, status, "'%s': its data.pkl, byte %zu: %s", p->path, p->at, what);
}

const char *pickle_kind(const struct value *value)
{
    switch (value->kind) {
    case VALUE_NONE: return "None";
    case VALUE_BOOL: return "True or False";
    case VALUE_INT:
    case VALUE_FLOAT: return "a number";
    case VALUE_STRING: return "a string";
    case VALUE_TUPLE: return "a tuple";
    case VALUE_LIST: return "a list";
    case VALUE_DICT: return "a dictionary";
    case VALUE_NAME: return "a name";
    case VALUE_STORAGE: return "a storage";
    case VALUE_TENSOR: return "a tensor";
    }
    return "nothing";
}

static quire_status too_many(struct pickle *p, const char *what, size_t most)
{
    return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "more than %zu %s, which no checkpoint of the family needs", most,
                       what);
}

static quire_status refs_reserve(struct pickle *p, struct refs *refs, size_t n, size_t most, const char *what)
{
    if (n > most)
        return too_many(p, what, most);
    return mem_reserve(&refs->items, &refs->capacity, n, sizeof *refs->items, "a pickle", p->err);
}

quire_status pickle_push_ref(struct pickle *p, uint32_t ref)
{
    quire_status status = refs_reserve(p, &p->stack, p->stack.n + 1, PICKLE_MAX_STACK, "values on its stack");
    if (status == QUIRE_OK)
        p->stack.items[p->stack.n++] = ref;
    return status;
}

quire_status pickle_push(struct pickle *p, struct value value)
{
    if (p->n_values == PICKLE_MAX_VALUES)
        return too_many(p, "values", PICKLE_MAX_VALUES);
    quire_status status =
        mem_reserve(&p->values, &p->values_capacity, p->n_values + 1, sizeof *p->values, "a pickle", p->err);
    if (status != QUIRE_OK)
        return status;
    p->values[p->n_values] = value;
    return pickle_push_ref(p, (uint32_t)p->n_values++);
}

/* Where what the operation may take off begins. */
static size_t fence(const struct pickle *p)
{
    return p->n_marks > 0 ? p->marks[p->n_marks - 1] : 0;
}

quire_status pickle_top(struct pickle *p, uint32_t *ref)
{
    if (p->stack.n <= fence(p))
        return pickle_fail(p, QUIRE_ERR_FORMAT, "the operation needs a value that is not there");
    *ref = p->stack.items[p->stack.n - 1];
    return QUIRE_OK;
}

quire_status pickle_pop(struct pickle *p, uint32_t *ref)
{
    quire_status status = pickle_top(p, ref);
    if (status == QUIRE_OK)
        p->stack.n--;
    return status;
}

quire_status pickle_mark(struct pickle *p)
{
    if (p->n_marks == PICKLE_MAX_MARKS)
        return too_many(p, "levels of nesting", PICKLE_MAX_MARKS);
    p->marks[p->n_marks++] = (uint32_t)p->stack.n;
    return QUIRE_OK;
}

quire_status pickle_pop_mark(struct pickle *p, const uint32_t **refs, size_t *n)
{
    if (p->n_marks == 0)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "the operation needs a mark, and there is none");
    size_t begin = p->marks[--p->n_marks];
    *n = p->stack.n - begin;
    *refs = p->stack.items ? p->stack.items + begin : NULL;
    p->stack.n = begin;
    return QUIRE_OK;
}

quire_status pickle_memo_put(struct pickle *p, uint32_t place)
{
    uint32_t top = 0;
    quire_status status = pickle_top(p, &top);
    if (status != QUIRE_OK)
        return status;
    if (place >= PICKLE_MAX_MEMO)
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "place %u of its memo, which has %d", place, PICKLE_MAX_MEMO);
    status = refs_reserve(p, &p->memo, (size_t)place + 1, PICKLE_MAX_MEMO, "values in its memo");
    if (status != QUIRE_OK)
        return status;
    while (p->memo.n <= place)
        p->memo.items[p->memo.n++] = 0;
    p->memo.items[place] = top + 1;
    return QUIRE_OK;
}

quire_status pickle_memo_get(struct pickle *p, uint32_t place)
{
    if (place >= p->memo.n || p->memo.items[place] == 0)
        return pickle_fail(p, QUIRE_ERR_FORMAT, "place %u of its memo is empty", place);
    return pickle_push_ref(p, p->memo.items[place] - 1);
}

quire_status pickle_push_tuple(struct pickle *p, const uint32_t *refs, size_t n)
{
    struct value tuple = {.kind = VALUE_TUPLE, .n = (uint32_t)n, .first = (uint32_t)p->items.n};
    quire_status status = refs_reserve(p, &p->items, p->items.n + n, PICKLE_MAX_ITEMS, "items of tuples");
    if (status != QUIRE_OK)
        return status;
    if (n > 0)
        memcpy(p->items.items + p->items.n, refs, n * sizeof *refs);
    p->items.n += n;
    return pickle_push(p, tuple);
}

quire_status pickle_add_entry(struct pickle *p, uint32_t dict, uint32_t key, uint32_t value)
{
    if (p->n_entries == PICKLE_MAX_ENTRIES)
        return too_many(p, "entries of dictionaries", PICKLE_MAX_ENTRIES);
    quire_status status =
        mem_reserve(&p->entries, &p->entries_capacity, p->n_entries + 1, sizeof *p->entries, "a pickle", p->err);
    if (status != QUIRE_OK)
        return status;
    uint32_t at = (uint32_t)p->n_entries++;
    p->entries[at] = (struct entry){.key = key, .value = value};
    struct value *owner = &p->values[dict];
    if (owner->n++ == 0)
        owner->first = at;
    else
        p->entries[owner->last].next = at;
    owner->last = at;
    return QUIRE_OK;
}

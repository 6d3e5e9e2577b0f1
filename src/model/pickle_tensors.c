/* From the value that a pickle is to the tensors in it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"
#include "pickle_machine.h"
#include "tensors.h"

/* Dictionaries inside dictionaries, at most. */
enum { MAX_LEVELS = 4 };

static bool is_key(const struct pickle *p, const struct entry *entry, const char *wanted)
{
    const struct value *key = &p->values[entry->key];
    return key->kind == VALUE_STRING && key->n == strlen(wanted) && memcmp(key->text, wanted, key->n) == 0;
}

static const struct entry *entry_at(const struct pickle *p, const struct value *dict, const struct entry *before)
{
    return &p->entries[before ? before->next : dict->first];
}

static size_t count_tensors(const struct pickle *p, const struct value *dict)
{
    const struct entry *entry = NULL;
    size_t n_tensors = 0;
    for (uint32_t i = 0; i < dict->n; i++) {
        entry = entry_at(p, dict, entry);
        n_tensors += p->values[entry->value].kind == VALUE_TENSOR;
    }
    return n_tensors;
}

/* The dictionary inside one that has no tensors of its own; NULL where there is none. */
static const struct value *inner(const struct pickle *p, const struct value *dict)
{
    const struct entry *entry = NULL;
    for (uint32_t i = 0; i < dict->n; i++) {
        entry = entry_at(p, dict, entry);
        const struct value *value = &p->values[entry->value];
        if (value->kind == VALUE_DICT && (is_key(p, entry, "state_dict") || is_key(p, entry, "model")))
            return value;
    }
    return NULL;
}

static int compare_keys(const void *a, const void *b, void *user)
{
    const struct pickle *p = user;
    const struct value *x = &p->values[((const struct entry *)a)->key], *y = &p->values[((const struct entry *)b)->key];
    int order = memcmp(x->text, y->text, size_min(x->n, y->n));
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Names are checked before anybody sorts or copies them: a pickle can name a tensor in four bytes that are a long name
 * which it had before. */
static quire_status check_names(struct pickle *p)
{
    if (p->n_tensors > TENSORS_MAX)
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "%zu tensors, expected at most %u", p->n_tensors, TENSORS_MAX);
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct value *name = &p->values[p->tensors[i].key];
        if (name->kind != VALUE_STRING || memchr(name->text, '\0', name->n))
            return pickle_fail(p, QUIRE_ERR_FORMAT, "a tensor whose name is %s",
                               name->kind == VALUE_STRING ? "a string with a NUL byte" : pickle_kind(name));
        if (name->n > TENSOR_NAME_MAX)
            return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "a tensor whose name has %zu bytes, expected at most %d",
                               (size_t)name->n, TENSOR_NAME_MAX);
    }
    if (p->n_tensors > 0)
        qsort_r(p->tensors, p->n_tensors, sizeof *p->tensors, compare_keys, p);
    for (size_t i = 1; i < p->n_tensors; i++)
        if (compare_keys(&p->tensors[i - 1], &p->tensors[i], p) == 0) {
            const struct value *name = &p->values[p->tensors[i].key];
            return pickle_fail(p, QUIRE_ERR_FORMAT, "tensor '%s' is there twice", printable(name->text, name->n).text);
        }
    return QUIRE_OK;
}

quire_status pickle_collect(struct pickle *p, const struct value *root)
{
    if (root->kind != VALUE_DICT)
        return pickle_fail(p, QUIRE_ERR_UNSUPPORTED, "it holds %s, expected a dictionary of tensors",
                           pickle_kind(root));
    size_t n = count_tensors(p, root);
    for (int level = 0; level < MAX_LEVELS && n == 0 && inner(p, root); level++) {
        root = inner(p, root);
        n = count_tensors(p, root);
    }
    p->tensors = mem_calloc(n, sizeof *p->tensors, "the tensors of a pickle", p->err);
    if (!p->tensors)
        return QUIRE_ERR_NO_MEMORY;
    const struct entry *entry = NULL;
    for (uint32_t i = 0; i < root->n; i++) {
        entry = entry_at(p, root, entry);
        if (p->values[entry->value].kind == VALUE_TENSOR)
            p->tensors[p->n_tensors++] = *entry;
    }
    return check_names(p);
}

size_t pickle_n_tensors(const struct pickle *pickle)
{
    return pickle->n_tensors;
}

struct pickle_tensor pickle_tensor_at(const struct pickle *p, size_t i)
{
    const struct value *name = &p->values[p->tensors[i].key], *tensor = &p->values[p->tensors[i].value];
    const struct value *storage = pickle_item(p, tensor, 0);
    const struct value *dims = pickle_item(p, tensor, 2), *strides = pickle_item(p, tensor, 3);
    const struct value *key = pickle_item(p, storage, 2);
    struct pickle_tensor out = {
        .name = name->text,
        .n_name = name->n,
        .storage = key->text,
        .n_storage = key->n,
        .storage_bytes =
            (uint64_t)pickle_item(p, storage, 4)->integer * (storage->element ? storage->element->n_bytes : 1),
        .element = tensor->element,
        .offset = (uint64_t)pickle_item(p, tensor, 1)->integer,
        .n_dims = dims->n,
    };
    for (uint32_t d = 0; d < out.n_dims; d++) {
        out.dims[d] = (uint64_t)pickle_item(p, dims, d)->integer;
        out.strides[d] = (uint64_t)pickle_item(p, strides, d)->integer;
    }
    return out;
}

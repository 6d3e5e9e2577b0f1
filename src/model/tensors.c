#include "tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/printable.h"

quire_status tensors_add(struct tensors *tensors, const struct tensor *tensor, quire_error *err)
{
    if (tensors->n == TENSORS_MAX) {
        free(tensor->name);
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED,
                          "'%s' brings more than %u tensors, the most that a model may have", tensor->path,
                          TENSORS_MAX);
    }
    quire_status status = mem_reserve(&tensors->items, &tensors->capacity, tensors->n + 1, sizeof *tensors->items,
                                      "a tensor directory", err);
    if (status != QUIRE_OK) {
        free(tensor->name);
        return status;
    }
    tensors->items[tensors->n++] = *tensor;
    return QUIRE_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

quire_status tensors_sort(struct tensors *tensors, quire_error *err)
{
    if (tensors->n < 2)
        return QUIRE_OK;
    qsort(tensors->items, tensors->n, sizeof *tensors->items, compare);
    for (size_t i = 1; i < tensors->n; i++) {
        const struct tensor *a = &tensors->items[i - 1], *b = &tensors->items[i];
        if (compare(a, b) == 0)
            return quire_fail(err, QUIRE_ERR_FORMAT, "tensor '%s' is there twice, in '%s' and '%s'",
                              printable(a->name, strlen(a->name)).text, a->path, b->path);
    }
    return QUIRE_OK;
}

const struct tensor *tensors_find(const struct tensors *tensors, const char *name)
{
    size_t low = 0, high = tensors->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(tensors->items[middle].name, name);
        if (order == 0)
            return &tensors->items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void tensors_release(struct tensors *tensors)
{
    for (size_t i = 0; i < tensors->n; i++)
        free(tensors->items[i].name);
    free(tensors->items);
    *tensors = (struct tensors){0};
}

struct shape_text shape_text(uint32_t n_dims, const uint64_t *dims)
{
    struct shape_text shape = {"["};
    size_t at = 1;
    for (uint32_t d = 0; d < n_dims && d < TENSOR_MAX_DIMS; d++)
        at += (size_t)snprintf(shape.text + at, sizeof shape.text - at, d ? ", %llu" : "%llu",
                               (unsigned long long)dims[d]);
    snprintf(shape.text + at, sizeof shape.text - at, n_dims > TENSOR_MAX_DIMS ? ", ...]" : "]");
    return shape;
}

#include "checksums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tensors.h"

hash_state *checksum_begin(const char *name, const char *type_name, uint32_t n_dims, const uint64_t *dims,
                           quire_error *err)
{
    hash_state *state = hash_open();
    if (!state) {
        quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a checksum");
        return NULL;
    }
    hash_add_text(state, name);
    hash_add_text(state, type_name);
    hash_add_text(state, shape_text(n_dims, dims).text);
    return state;
}

size_t checksums_length(size_t n)
{
    return n > 0 ? n * HASH_HEX_SIZE - 1 : 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct checksum *)a)->name, ((const struct checksum *)b)->name);
}

void checksums_join(char *text, struct checksum *list, size_t n)
{
    if (n > 0)
        qsort(list, n, sizeof *list, compare);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++, text += HASH_HEX_SIZE)
        snprintf(text, HASH_HEX_SIZE + 1, "%s%s", list[i].hex, i + 1 < n ? " " : "");
}

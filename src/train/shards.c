/* Token ids as samples of a dataset: a value is one byte that says "one dimension of 32 bits", the number of ids, the
 * ids. */
#include "quire/shards.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mds.h"

enum { HEAD_BYTES = 5, SHAPE = 1 << 2 | 2 };

struct quire_shards {
    struct mds_writer *writer;
    bool is_finished;
    unsigned char *value;
    size_t capacity;
};

quire_status quire_shards_open(quire_shards **out, const char *folder, bool compresses, quire_error *err)
{
    const struct mds_write_options options = {
        .column = "tokens", .encoding = "ndarray:int32", .compresses = compresses};
    struct quire_shards *shards = mem_calloc(1, sizeof *shards, "a writer of shards", err);
    if (!shards)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = mds_writer_open(&shards->writer, folder, &options, err);
    if (status != QUIRE_OK) {
        free(shards);
        return status;
    }
    *out = shards;
    return QUIRE_OK;
}

/* Behind the index nothing may follow: it has been said that this is all. */
static quire_status check_open(const quire_shards *shards, quire_error *err)
{
    return shards->is_finished ? quire_fail(err, QUIRE_ERR_USAGE, "this dataset is finished") : QUIRE_OK;
}

quire_status quire_shards_add(quire_shards *shards, const int32_t *ids, size_t n, quire_error *err)
{
    uint32_t count = (uint32_t)n;
    size_t n_bytes;
    if (n > UINT32_MAX || !size_mul(&n_bytes, n, sizeof *ids) || !size_add(&n_bytes, n_bytes, HEAD_BYTES))
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "a document of %zu tokens is too large for a shard", n);
    quire_status status = check_open(shards, err);
    if (status == QUIRE_OK)
        status = mem_reserve(&shards->value, &shards->capacity, n_bytes, 1, "a document's tokens", err);
    if (status != QUIRE_OK)
        return status;
    shards->value[0] = SHAPE;
    memcpy(shards->value + 1, &count, sizeof count);
    if (n > 0)
        memcpy(shards->value + HEAD_BYTES, ids, n * sizeof *ids);
    return mds_writer_add(shards->writer, shards->value, n_bytes, err);
}

quire_status quire_shards_finish(quire_shards *shards, quire_error *err)
{
    quire_status status = check_open(shards, err);
    if (status == QUIRE_OK)
        status = mds_writer_finish(shards->writer, err);
    shards->is_finished |= status == QUIRE_OK;
    return status;
}

void quire_shards_close(quire_shards *shards)
{
    if (!shards)
        return;
    mds_writer_close(shards->writer);
    free(shards->value);
    free(shards);
}

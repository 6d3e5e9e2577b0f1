/* An MDS index and a shard. Byte 0: bit 0: what follows is a shard of a sound index; else it is an index, whose shards
 * are looked for beside it. Byte 1: how many samples the sound index says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "train/corpus.h"
#include "train/mds.h"

static quire_status see(void *user, const struct corpus_document *document, quire_error *err)
{
    (void)err;
    for (size_t i = 0; i < document->n_bytes; i++) /* every byte is there */
        *(uint64_t *)user += (unsigned char)document->text[i];
    for (size_t i = 0; i < document->n_ids; i++)
        *(uint64_t *)user += (uint64_t)document->ids[i];
    return QUIRE_OK;
}

static void read_shard(const unsigned char *data, size_t size, uint32_t n_samples)
{
    char tokens[] = "tokens", array[] = "ndarray", text[] = "text", str[] = "str", number[] = "number", whole[] = "int";
    struct mds_column columns[] = {{number, whole, 8}, {text, str, -1}, {tokens, array, -1}};
    struct mds_shard shard = {.columns = columns, .n_columns = 3, .n_samples = n_samples};
    struct mds_reader reader;
    unsigned char *copy = malloc(size ? size : 1); /* so that a sanitizer sees its end */
    memcpy(copy, data, size);
    if (mds_reader_on(&reader, &shard, copy, size, "shard", NULL) == QUIRE_OK) {
        for (uint32_t i = 0; i < n_samples; i++) {
            struct mds_value value;
            int32_t *ids = NULL;
            size_t n;
            if (mds_reader_value(&reader, i, 2, &value, NULL) == QUIRE_OK)
                (void)mds_value_ids(&ids, &n, value, array, "here", NULL);
            free(ids);
        }
        mds_reader_close(&reader);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    uint64_t sum = 0;
    if (size < 2)
        return 0;
    if (data[0] & 1) {
        read_shard(data + 2, size - 2, data[1]);
        return 0;
    }
    snprintf(path, sizeof path, "%s/" MDS_INDEX_NAME, fuzz_folder());
    fuzz_write(path, data + 2, size - 2);
    (void)corpus_walk(fuzz_folder(), see, &sum, NULL);
    return 0;
}

/* MDS, the format of MosaicML's StreamingDataset: a folder with index.json and shards. A shard holds samples; a sample
 * holds a value for each of the columns that the index names. mds_index.c reads the index, mds_shard.c the shards,
 * mds_write.c writes both.
 *
 * A shard, little-endian: u32 n; u32 offsets[n + 1] from the file's start; a JSON text that repeats the index; the
 * samples, each a u32 length for every column of variable size and then the columns' bytes. Shards may be compressed
 * as a whole (zstd here). Nothing in an index or a shard is believed before it was compared with the files. */
#ifndef QUIRE_TRAIN_MDS_H
#define QUIRE_TRAIN_MDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sys.h"
#include "quire/error.h"

#define MDS_INDEX_NAME "index.json"

struct mds_column {
    char *name;
    char *encoding; /* "str", "bytes", "ndarray:int32", ... */
    int64_t size;   /* of every value in bytes, or -1: it varies */
};

struct mds_hash {
    char *algorithm, *hex;
};

struct mds_file {
    char *basename; /* NULL: the shard is not stored so */
    uint64_t n_bytes;
    struct mds_hash *hashes;
    size_t n_hashes;
};

struct mds_shard {
    struct mds_column *columns;
    size_t n_columns;
    uint32_t n_samples;
    struct mds_file raw, zip;
    bool is_zstd; /* how zip is compressed: the only way that this build reads */
};

struct mds_index {
    char *folder;
    struct mds_shard *shards;
    size_t n_shards;
    uint64_t n_samples;
};

/* folder/index.json. Errors: IO; FORMAT (named by shard and field); UNSUPPORTED (version, shard format, compression);
 * NO_MEMORY. */
quire_status mds_index_open(struct mds_index *out, const char *folder, quire_error *err);

/* The same from its text; folder is for messages and for the shards' paths. */
quire_status mds_index_parse(struct mds_index *out, const char *text, size_t n, const char *folder, quire_error *err);
void mds_index_release(struct mds_index *index);

/* An open shard: its bytes, all of its table checked. */
struct mds_reader {
    const struct mds_shard *shard;
    char *path;
    struct sys_map map;  /* where it is stored raw, */
    unsigned char *copy; /* or decompressed */
    const unsigned char *data;
    size_t n_bytes;
};

/* Opens a shard: the raw file where it is there, else the compressed one, and compares size and those hashes that are
 * of xxHash's kinds with the index. Errors: IO, FORMAT (what differs), NO_MEMORY. */
quire_status mds_reader_open(struct mds_reader *out, const struct mds_index *index, size_t shard, quire_error *err);

/* A reader over bytes in memory: what mds_reader_open does once it has them. The bytes must outlive it. */
quire_status mds_reader_on(struct mds_reader *out, const struct mds_shard *shard, const unsigned char *data,
                           size_t n_bytes, const char *path, quire_error *err);
void mds_reader_close(struct mds_reader *reader);

/* The value of a column of a sample, inside the reader's bytes. Errors: FORMAT. */
struct mds_value {
    const unsigned char *data;
    size_t n_bytes;
};
quire_status mds_reader_value(const struct mds_reader *reader, uint32_t sample, size_t column, struct mds_value *out,
                              quire_error *err);

/* A value as token ids: "bytes" are int64, as llm-foundry had it until 2024, "ndarray" says itself what it holds, or
 * its encoding does. *ids is malloc'ed. Errors: FORMAT (not a one-dimensional array of whole numbers; negative, or
 * beyond int32: with its place), UNSUPPORTED (an encoding that has no whole numbers), NO_MEMORY. */
quire_status mds_value_ids(int32_t **ids, size_t *n, struct mds_value value, const char *encoding, const char *where,
                           quire_error *err);

/* Writes a dataset, one column in each sample; index.json comes last, so that a folder with one is complete. */
struct mds_writer;

struct mds_write_options {
    const char *column;   /* "text", "tokens" */
    const char *encoding; /* "str", "bytes", "ndarray:int32": the values are written as they come */
    uint64_t size_limit;  /* of a shard in bytes; 0: 2^26 */
    bool compresses;      /* with zstd */
};

/* Makes the folder. Errors: USAGE (it has an index.json already), IO, NO_SPACE, NO_MEMORY. */
quire_status mds_writer_open(struct mds_writer **out, const char *folder, const struct mds_write_options *options,
                             quire_error *err);
quire_status mds_writer_add(struct mds_writer *writer, const void *value, size_t n_bytes, quire_error *err);

/* Writes what is left and the index. Nothing may be added afterwards. */
quire_status mds_writer_finish(struct mds_writer *writer, quire_error *err);
void mds_writer_close(struct mds_writer *writer); /* NULL is fine */

#endif

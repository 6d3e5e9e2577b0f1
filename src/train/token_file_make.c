/* Making a token file: one walk through the corpus. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "corpus.h"
#include "new_file.h"
#include "token_file.h"

/* Text is fed to the tokenizer in pieces of this size, ids are written in pieces of WRITE_IDS. */
enum { FEED_BYTES = 1 << 20, WRITE_IDS = 1 << 16 };

struct maker {
    struct new_file draft;
    hash_state *hash; /* of all behind the header */
    quire_encoder *encoder;
    const struct token_watch *watch;
    uint32_t n_vocab;
    int32_t end_of_text;
    unsigned id_bytes;
    bool has_texts, has_ids;
    uint64_t n_ids, n_bytes;
    uint64_t *table; /* three numbers a document */
    size_t n_documents, table_capacity;
    char *names;
    size_t n_name_bytes, names_capacity;
    unsigned char *buffer;
};

static quire_status put(struct maker *m, const void *data, size_t n, quire_error *err)
{
    hash_add(m->hash, data, n);
    return new_file_write(&m->draft, data, n, err);
}

static quire_status put_ids(struct maker *m, const int32_t *ids, size_t n, const char *where, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (size_t done = 0; done < n && status == QUIRE_OK;) {
        size_t step = size_min(n - done, WRITE_IDS);
        for (size_t i = 0; i < step; i++) {
            uint32_t id = (uint32_t)ids[done + i];
            if (id >= m->n_vocab)
                return quire_fail(err, QUIRE_ERR_MISMATCH,
                                  "%s: token %" PRIu32 " is beyond the model's vocabulary of %" PRIu32, where, id,
                                  m->n_vocab);
            memcpy(m->buffer + i * m->id_bytes, &id, m->id_bytes);
        }
        status = put(m, m->buffer, step * m->id_bytes, err);
        done += step;
    }
    m->n_ids += n;
    return status;
}

static quire_status put_text(struct maker *m, const struct corpus_document *document, quire_error *err)
{
    quire_ids ids;
    quire_error inner = {0};
    quire_status status = QUIRE_OK;
    for (size_t at = 0; at < document->n_bytes && status == QUIRE_OK;) {
        size_t n = size_min(document->n_bytes - at, FEED_BYTES);
        status = quire_encoder_feed(m->encoder, document->text + at, n, &ids, &inner);
        if (status == QUIRE_OK)
            status = put_ids(m, ids.ids, ids.n_ids, document->where, &inner);
        at += n;
    }
    if (status == QUIRE_OK)
        status = quire_encoder_finish(m->encoder, &ids, &inner);
    if (status == QUIRE_OK)
        status = put_ids(m, ids.ids, ids.n_ids, document->where, &inner);
    if (status == QUIRE_ERR_TEXT)
        return quire_fail(err, status, "'%s': %s", document->where, inner.message);
    if (status != QUIRE_OK)
        return quire_fail(err, status, "%s", inner.message);
    return put_ids(m, &m->end_of_text, 1, document->where, err);
}

static quire_status add_row(struct maker *m, const struct corpus_document *document, uint64_t first, quire_error *err)
{
    size_t n_name = strlen(document->name) + 1;
    quire_status status = mem_reserve(&m->table, &m->table_capacity, 3 * (m->n_documents + 1), sizeof *m->table,
                                      "a table of documents", err);
    if (status == QUIRE_OK)
        status = mem_reserve(&m->names, &m->names_capacity, m->n_name_bytes + n_name, 1, "the documents' names", err);
    if (status != QUIRE_OK)
        return status;
    uint64_t *row = m->table + 3 * m->n_documents++;
    row[0] = first;
    row[1] = m->n_ids - first;
    row[2] = m->n_name_bytes;
    memcpy(m->names + m->n_name_bytes, document->name, n_name);
    m->n_name_bytes += n_name;
    return QUIRE_OK;
}

static quire_status add_document(void *user, const struct corpus_document *document, quire_error *err)
{
    struct maker *m = user;
    uint64_t first = m->n_ids;
    m->has_texts |= document->text != NULL;
    m->has_ids |= document->ids != NULL;
    if (m->has_texts && m->has_ids)
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s: some shards have tokens and others text", document->where);
    quire_status status =
        document->text ? put_text(m, document, err) : put_ids(m, document->ids, document->n_ids, document->where, err);
    if (status == QUIRE_OK)
        status = add_row(m, document, first, err);
    m->n_bytes += document->text ? document->n_bytes : document->n_ids * sizeof *document->ids;
    if (status == QUIRE_OK && m->watch && m->watch->progress &&
        m->watch->progress(m->watch->user, m->n_documents, m->n_bytes) != 0)
        status = quire_fail(err, QUIRE_ERR_CANCELLED, "cancelled while texts were tokenised");
    return status;
}

/* What stands behind the ids, and the header. */
static quire_status put_rest(struct maker *m, const char *key, quire_error *err)
{
    static const unsigned char zeros[8] = {0};
    struct token_header header = {.version = TOKEN_FILE_VERSION,
                                  .id_bytes = m->id_bytes,
                                  .n_ids = m->n_ids,
                                  .n_documents = m->n_documents,
                                  .n_name_bytes = m->n_name_bytes,
                                  .has_ends = m->has_texts};
    size_t n = (size_t)(m->draft.n_bytes - TOKEN_FILE_HEADER_BYTES);
    quire_status status = put(m, zeros, size_round_up(n, 8) - n, err);
    if (status == QUIRE_OK)
        status = put(m, m->table, 3 * m->n_documents * sizeof *m->table, err);
    if (status == QUIRE_OK)
        status = put(m, m->names, m->n_name_bytes, err);
    if (status != QUIRE_OK)
        return status;
    memcpy(header.magic, TOKEN_FILE_MAGIC, sizeof header.magic);
    memcpy(header.key, key, HASH_HEX_SIZE);
    header.body_hash = hash_finish64(m->hash);
    header.header_hash = hash64(&header, offsetof(struct token_header, header_hash));
    return new_file_write_at(&m->draft, &header, sizeof header, 0, err);
}

quire_status token_file_make(const char *path, const char *key, const char *folder, const quire_tokenizer *tokenizer,
                             uint32_t n_vocab, const struct token_watch *watch, quire_error *err)
{
    static const unsigned char blank[TOKEN_FILE_HEADER_BYTES] = {0};
    struct maker m = {.watch = watch,
                      .n_vocab = n_vocab,
                      .id_bytes = n_vocab <= 65536 ? 2 : 4,
                      .end_of_text = quire_tokenizer_end_of_text(tokenizer)};
    if (m.end_of_text < 0)
        return quire_fail(err, QUIRE_ERR_USAGE, "the tokenizer has no end-of-text token to put between documents");
    quire_status status = quire_encoder_open(&m.encoder, tokenizer, false, err);
    if (status == QUIRE_OK) {
        m.hash = hash_open();
        m.buffer = mem_calloc(WRITE_IDS, sizeof(int32_t), "token ids", err);
        status = m.buffer ? QUIRE_OK : QUIRE_ERR_NO_MEMORY;
        if (!m.hash)
            status = quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a hash");
    }
    if (status == QUIRE_OK)
        status = new_file_open(&m.draft, path, err);
    if (status == QUIRE_OK)
        status = new_file_write(&m.draft, blank, sizeof blank, err);
    if (status == QUIRE_OK)
        status = corpus_walk(folder, add_document, &m, err);
    if (status == QUIRE_OK)
        status = put_rest(&m, key, err);
    if (status == QUIRE_OK)
        status = new_file_commit(&m.draft, err);
    new_file_drop(&m.draft);
    quire_encoder_close(m.encoder);
    if (m.hash)
        hash_close(m.hash);
    free(m.table);
    free(m.names);
    free(m.buffer);
    return status;
}

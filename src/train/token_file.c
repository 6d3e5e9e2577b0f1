#include "token_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "corpus.h"

/* --- the key ----------------------------------------------------------------------------------------------------- */

static quire_status add_document(void *user, const struct corpus_document *document, quire_error *err)
{
    hash_state *hash = user;
    uint64_t n = document->text ? document->n_bytes : document->n_ids;
    (void)err;
    hash_add_text(hash, document->name);
    hash_add_text(hash, document->text ? "text" : "ids");
    hash_add(hash, &n, sizeof n);
    if (document->text)
        hash_add(hash, document->text, document->n_bytes);
    else
        hash_add(hash, document->ids, document->n_ids * sizeof *document->ids);
    return QUIRE_OK;
}

/* 128 bits over every document's name and contents, over the tokenizer with its end of text, and over the
 * vocabulary that ids are checked against. */
static quire_status make_key(char key[HASH_HEX_SIZE], const char *folder, const quire_tokenizer *tokenizer,
                             uint32_t n_vocab, quire_error *err)
{
    hash_state *hash = hash_open();
    if (!hash)
        return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a hash");
    hash_add_text(hash, quire_tokenizer_fingerprint(tokenizer));
    hash_add(hash, &n_vocab, sizeof n_vocab);
    int32_t end_of_text = quire_tokenizer_end_of_text(tokenizer); /* which files beside the vocabulary may say */
    hash_add(hash, &end_of_text, sizeof end_of_text);
    quire_status status = corpus_walk(folder, add_document, hash, err);
    hash_finish_hex(hash, key);
    hash_close(hash);
    return status;
}

quire_status token_file_open(struct token_file *out, bool *is_new, const char *folder, const char *cache,
                             const quire_tokenizer *tokenizer, uint32_t n_vocab, const struct token_watch *watch,
                             quire_error *err)
{
    char key[HASH_HEX_SIZE];
    quire_status status = make_key(key, folder, tokenizer, n_vocab, err);
    if (status == QUIRE_OK)
        status = sys_make_folders(cache, err);
    if (status != QUIRE_OK)
        return status;
    size_t n = strlen(cache) + sizeof key + 16;
    char *path = mem_calloc(n, 1, "a path", err);
    if (!path)
        return QUIRE_ERR_NO_MEMORY;
    snprintf(path, n, "%s/%s.tokens", cache, key);
    bool is_sound = sys_exists(path) && token_file_map(out, path, key, NULL) == QUIRE_OK;
    if (!is_sound) { /* not there, or damaged: it is made anew */
        status = token_file_make(path, key, folder, tokenizer, n_vocab, watch, err);
        if (status == QUIRE_OK)
            status = token_file_map(out, path, key, err);
    }
    if (status == QUIRE_OK)
        *is_new = !is_sound;
    free(path);
    return status;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static quire_status bad(const char *path, const char *what, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_FORMAT, "the token file '%s' is damaged: %s", path, what);
}

static quire_status check_header(const struct token_header *header, const struct sys_map *map, const char *path,
                                 const char *key, quire_error *err)
{
    if (header->header_hash != hash64(header, offsetof(struct token_header, header_hash)))
        return bad(path, "its header's checksum", err);
    if (memcmp(header->magic, TOKEN_FILE_MAGIC, sizeof header->magic) != 0 || header->version != TOKEN_FILE_VERSION)
        return bad(path, "it is of another version", err);
    if (memcmp(header->key, key, HASH_HEX_SIZE) != 0)
        return bad(path, "it is of another corpus", err);
    size_t ids, table, total = TOKEN_FILE_HEADER_BYTES;
    bool fits = (header->id_bytes == 2 || header->id_bytes == 4) && size_mul(&ids, header->n_ids, header->id_bytes) &&
                size_add(&ids, ids, 7) && size_add(&total, total, ids / 8 * 8) &&
                size_mul(&table, header->n_documents, 24) && size_add(&total, total, table) &&
                size_add(&total, total, header->n_name_bytes);
    if (!fits || total != map->n_bytes)
        return bad(path, "its size", err);
    if (header->body_hash != hash64(map->data + TOKEN_FILE_HEADER_BYTES, map->n_bytes - TOKEN_FILE_HEADER_BYTES))
        return bad(path, "its checksum", err);
    return QUIRE_OK;
}

/* The checksum vouches that this is what was written; the ranges are checked all the same. */
static quire_status read_table(struct token_file *file, const struct token_header *header, quire_error *err)
{
    size_t ids = (size_t)header->n_ids * header->id_bytes;
    const unsigned char *row = file->map.data + TOKEN_FILE_HEADER_BYTES + size_round_up(ids, 8);
    if (header->n_name_bytes == 0)
        return bad(file->path, "its names", err);
    file->names = mem_calloc(header->n_name_bytes, 1, "the names of documents", err);
    if (!file->names)
        return QUIRE_ERR_NO_MEMORY;
    memcpy(file->names, row + 24 * header->n_documents, header->n_name_bytes);
    if (file->names[header->n_name_bytes - 1] != '\0')
        return bad(file->path, "its names", err);
    file->documents = mem_calloc(header->n_documents, sizeof *file->documents, "a table of documents", err);
    if (!file->documents)
        return QUIRE_ERR_NO_MEMORY;
    file->n_documents = header->n_documents;
    for (size_t i = 0; i < file->n_documents; i++, row += 24) {
        uint64_t first = taken(load_u64(row)), n = taken(load_u64(row + 8)), name = taken(load_u64(row + 16));
        if (first > header->n_ids || n > header->n_ids - first || name >= header->n_name_bytes)
            return bad(file->path, "its table", err);
        file->documents[i] = (struct token_document){file->names + name, first, n};
    }
    return QUIRE_OK;
}

quire_status token_file_map(struct token_file *out, const char *path, const char *key, quire_error *err)
{
    struct token_file file = {.path = mem_strdup(path, err)};
    struct token_header header;
    quire_status status = file.path ? sys_map_file(&file.map, path, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK && file.map.n_bytes < sizeof header)
        status = bad(path, "it is cut short", err);
    if (status == QUIRE_OK) {
        memcpy(&header, file.map.data, sizeof header);
        status = check_header(&header, &file.map, path, key, err);
    }
    if (status == QUIRE_OK)
        status = read_table(&file, &header, err);
    if (status == QUIRE_OK)
        status = sys_map_check(&file.map, path, err);
    if (status != QUIRE_OK) {
        token_file_close(&file);
        return status;
    }
    memcpy(file.key, header.key, sizeof file.key);
    file.has_ends = header.has_ends != 0;
    file.id_bytes = header.id_bytes;
    file.n_ids = header.n_ids;
    *out = file;
    return QUIRE_OK;
}

void token_file_close(struct token_file *file)
{
    sys_unmap(&file->map);
    free(file->documents);
    free(file->names);
    free(file->path);
    *file = (struct token_file){0};
}

void token_file_copy(const struct token_file *file, uint64_t first, size_t n, uint32_t *out)
{
    const unsigned char *p = file->map.data + TOKEN_FILE_HEADER_BYTES + first * file->id_bytes;
    for (size_t i = 0; i < n; i++)
        out[i] = file->id_bytes == 2 ? load_u16(p + 2 * i) : load_u32(p + 4 * i);
}

quire_status token_file_check(const struct token_file *file, quire_error *err)
{
    return sys_map_check(&file->map, file->path, err);
}

/* Commits. The order is what makes them safe (KV-5): layers, summaries, tokens and side files reach the disk; then one
 * small manifest that names them takes the place of the old one; then what only the old one named is removed. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kv/kv_book.h"
#include "kv/kv_tokens.h"

static quire_status sync_layers(struct kv_book *book, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && status == QUIRE_OK; i++)
        status = kv_layer_sync(&book->layers[i], &book->own, i, err);
    /* After a failed sync the system takes the pages for clean: a second one would succeed without having written. */
    book->is_broken = status != QUIRE_OK;
    return status;
}

static quire_status write_tokens(struct kv_book *book, const int32_t *ids, size_t n, quire_error *err)
{
    char path[KV_PATH_SIZE];
    size_t first = book->manifest.generation ? book->manifest.frontier : 0;
    kv_path(path, book->own.folder, "tokens");
    quire_status status =
        kv_tokens_write(book->tokens_fd, path, book->store->seed, ids, first, n, &book->n_written, err);
    if (status != QUIRE_OK)
        return status;
    status = kv_file_sync(book->tokens_fd, path, err);
    book->is_broken = status != QUIRE_OK;
    return status;
}

/* The unfinished blocks of the text [0, n_tokens), or of what each layer holds where n_tokens is 0. */
static quire_status write_open_blocks(struct kv_book *book, struct kv_side_file *file, size_t n_tokens,
                                      quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && status == QUIRE_OK; i++) {
        size_t n = n_tokens ? n_tokens : book->layers[i].n_tokens;
        for (uint32_t h = 0; n % KV_BLOCK_TOKENS && h < book->own.geometry.n_heads && status == QUIRE_OK; h++)
            status = kv_side_write(file, kv_book_block(book, i, h, n / KV_BLOCK_TOKENS).k, book->own.block_bytes, err);
    }
    return status;
}

static quire_status write_positions(struct kv_book *book, struct kv_side_file *file, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && status == QUIRE_OK; i++)
        status = kv_side_write(file, &book->layers[i].n_tokens, sizeof book->layers[i].n_tokens, err);
    return status;
}

/* Writes a side file of next's generation and puts it into next. data: for logits and residual. */
static quire_status write_side(struct kv_book *book, struct kv_manifest *next, enum kv_side kind, const void *data,
                               size_t n_bytes, quire_error *err)
{
    struct kv_side_file file;
    quire_status status = kv_side_create(&file, book->own.folder, kind, next->generation, err);
    if (status == QUIRE_OK && kind == KV_SIDE_FLIGHT)
        status = write_positions(book, &file, err);
    if (status == QUIRE_OK && kind == KV_SIDE_FLIGHT)
        status = write_open_blocks(book, &file, 0, err);
    if (status == QUIRE_OK && kind == KV_SIDE_TAIL)
        status = write_open_blocks(book, &file, next->frontier, err);
    if (status == QUIRE_OK && data)
        status = kv_side_write(&file, data, n_bytes, err);
    if (status == QUIRE_OK)
        status = kv_side_finish(&file, &next->sides[kind], err);
    if (status == QUIRE_OK)
        book->n_written += next->sides[kind].n_bytes;
    else
        kv_side_abandon(&file);
    return status;
}

/* The manifest of the next generation, to be changed and published. */
static struct kv_manifest next_manifest(const struct kv_book *book)
{
    struct kv_manifest next = book->manifest;
    next.generation++;
    return next;
}

/* Removes the side files that `gone` names and `kept` does not. */
static void remove_sides(const struct kv_book *book, const struct kv_manifest *gone, const struct kv_manifest *kept)
{
    for (int i = 0; i < KV_SIDE_COUNT; i++)
        if (gone->sides[i].generation != kept->sides[i].generation)
            kv_side_remove(book->own.folder, (enum kv_side)i, &gone->sides[i]);
}

/* Puts next in the manifest's place, where status says that all it names is written; else removes what was. */
static quire_status publish(struct kv_book *book, struct kv_manifest *next, quire_status status, quire_error *err)
{
    bool is_unsure = false;
    if (status == QUIRE_OK) {
        status = sys_sync_folder(book->own.folder, err);
        book->is_broken = book->is_broken || status != QUIRE_OK; /* names of files may be missing on the disk (KV-7) */
    }
    if (status == QUIRE_OK) {
        kv_manifest_seal(next);
        status = kv_file_replace(book->own.folder, "manifest", next, sizeof *next, &is_unsure, err);
    }
    if (status == QUIRE_OK) {
        remove_sides(book, &book->manifest, next);
        book->manifest = *next;
        book->n_written += sizeof *next;
    } else if (is_unsure) {
        book->is_broken = true; /* both manifests may be the one that a crash leaves: keep the files of both */
    } else {
        remove_sides(book, next, &book->manifest);
    }
    return status;
}

quire_status kv_book_drop_flight(struct kv_book *book, quire_error *err)
{
    struct kv_manifest next = next_manifest(book);
    kv_manifest_clear_flight(&next);
    return publish(book, &next, QUIRE_OK, err);
}

/* What commit and save_flight share: the book can be written, and ids go on from what it holds. */
static quire_status check_commit(const struct kv_book *book, const int32_t *ids, size_t n_ids, quire_error *err)
{
    const struct kv_manifest *manifest = &book->manifest;
    if (book->is_read_only)
        return quire_fail(err, QUIRE_ERR_USAGE, "this KV book was opened to be read: it cannot be committed");
    if (book->is_broken)
        return quire_fail(
            err, QUIRE_ERR_IO,
            "KV book '%s' is not committed: an earlier sync failed, and what reached the disk is not known; "
            "open it again to go on from its last frontier (KV-7)",
            book->own.folder);
    if (n_ids < manifest->frontier)
        return quire_fail(err, QUIRE_ERR_USAGE, "a commit of %zu tokens is behind the book's frontier, %llu", n_ids,
                          (unsigned long long)manifest->frontier);
    size_t n_known = book->is_at_flight ? manifest->n_ids : manifest->frontier;
    uint64_t hash = book->is_at_flight ? manifest->ids_hash : manifest->frontier_hash;
    if (book->is_stored && (n_ids < n_known || kv_chain(book->store->seed, ids, n_known) != hash))
        return quire_fail(err, QUIRE_ERR_USAGE, "the first %zu tokens committed are not those that the book holds",
                          n_known);
    return QUIRE_OK;
}

/* Each layer holds tokens [0, n_tokens). */
static quire_status check_layers(const struct kv_book *book, size_t n_tokens, quire_error *err)
{
    for (uint32_t i = 0; i < book->own.geometry.n_layers; i++)
        if (book->layers[i].n_tokens < n_tokens)
            return quire_fail(err, QUIRE_ERR_USAGE, "a commit of %zu tokens: layer %u holds %llu", n_tokens, i,
                              (unsigned long long)book->layers[i].n_tokens);
    return QUIRE_OK;
}

static quire_status commit_files(struct kv_book *book, const int32_t *ids, size_t n_tokens, const float *logits,
                                 size_t n_logits, quire_error *err)
{
    uint64_t seed = book->store->seed;
    struct kv_manifest next = next_manifest(book);
    next.frontier = n_tokens;
    next.frontier_hash = kv_chain(seed, ids, n_tokens);
    next.first_hash = n_tokens < KV_BLOCK_TOKENS ? 0 : kv_chain(seed, ids, KV_BLOCK_TOKENS);
    next.sides[KV_SIDE_TAIL] = next.sides[KV_SIDE_LOGITS] = (struct kv_side_ref){0};
    kv_manifest_clear_flight(&next);
    quire_status status = sync_layers(book, err);
    if (status == QUIRE_OK)
        status = write_tokens(book, ids, n_tokens, err);
    if (status == QUIRE_OK && n_tokens % KV_BLOCK_TOKENS)
        status = write_side(book, &next, KV_SIDE_TAIL, NULL, 0, err);
    if (status == QUIRE_OK && logits)
        status = write_side(book, &next, KV_SIDE_LOGITS, logits, n_logits * sizeof *logits, err);
    return publish(book, &next, status, err);
}

quire_status kv_book_commit(struct kv_book *book, const int32_t *ids, size_t n_tokens, const float *logits,
                            size_t n_logits, quire_error *err)
{
    float *copy = NULL;
    if (book->is_read_only && n_tokens == book->manifest.frontier)
        return QUIRE_OK;
    quire_status status = check_commit(book, ids, n_tokens, err);
    if (status == QUIRE_OK)
        status = check_layers(book, n_tokens, err);
    if (status == QUIRE_OK && n_tokens == 0)
        status = quire_fail(err, QUIRE_ERR_USAGE, "a commit of no tokens");
    if (status == QUIRE_OK && logits && n_logits > 0) {
        copy = mem_calloc(n_logits, sizeof *copy, "logits", err);
        if (copy)
            memcpy(copy, logits, n_logits * sizeof *copy);
        else
            status = QUIRE_ERR_NO_MEMORY;
    }
    if (status == QUIRE_OK && book->is_stored)
        status = commit_files(book, ids, n_tokens, copy, n_logits, err);
    if (status != QUIRE_OK) {
        free(copy);
        return status;
    }
    book->manifest.frontier = n_tokens;
    book->is_at_flight = false;
    free(book->logits);
    book->logits = copy;
    book->n_logits = copy ? n_logits : 0;
    return QUIRE_OK;
}

static quire_status check_flight(const struct kv_book *book, const struct kv_flight *flight, size_t n_ids,
                                 quire_error *err)
{
    uint32_t n_layers = book->own.geometry.n_layers;
    if (flight->span_first > flight->span_end || flight->span_end > n_ids || flight->layer > n_layers ||
        flight->span_end > kv_book_room(&book->manifest) || flight->span_end < book->manifest.frontier)
        return quire_fail(err, QUIRE_ERR_USAGE, "a span in flight from token %llu to %llu of %zu in layer %u of %u",
                          (unsigned long long)flight->span_first, (unsigned long long)flight->span_end, n_ids,
                          flight->layer, n_layers);
    if (flight->layer < n_layers && flight->kv_token != book->layers[flight->layer].n_tokens)
        return quire_fail(err, QUIRE_ERR_USAGE, "a flight at token %llu of layer %u, which holds %llu",
                          (unsigned long long)flight->kv_token, flight->layer,
                          (unsigned long long)book->layers[flight->layer].n_tokens);
    for (uint32_t i = 0; i < n_layers; i++)
        if (book->layers[i].n_tokens > flight->span_end)
            return quire_fail(err, QUIRE_ERR_USAGE, "a span in flight to token %llu: layer %u holds %llu",
                              (unsigned long long)flight->span_end, i, (unsigned long long)book->layers[i].n_tokens);
    return QUIRE_OK;
}

quire_status kv_book_save_flight(struct kv_book *book, const int32_t *ids, size_t n_ids, const struct kv_flight *flight,
                                 const float *residual, size_t n_bytes, quire_error *err)
{
    if (!book->is_stored)
        return QUIRE_OK;
    quire_status status = check_commit(book, ids, n_ids, err);
    if (status == QUIRE_OK)
        status = check_flight(book, flight, n_ids, err);
    if (status != QUIRE_OK)
        return status;
    uint64_t seed = book->store->seed;
    size_t n = flight->span_end;
    struct kv_manifest next = next_manifest(book);
    kv_manifest_clear_flight(&next);
    next.flags |= KV_HAS_FLIGHT;
    next.flight = *flight;
    next.n_ids = n;
    next.ids_hash = kv_chain(seed, ids, n);
    next.first_hash = n < KV_BLOCK_TOKENS ? 0 : kv_chain(seed, ids, KV_BLOCK_TOKENS);
    status = sync_layers(book, err);
    if (status == QUIRE_OK)
        status = write_tokens(book, ids, n, err);
    if (status == QUIRE_OK)
        status = write_side(book, &next, KV_SIDE_FLIGHT, NULL, 0, err);
    if (status == QUIRE_OK && n_bytes > 0)
        status = write_side(book, &next, KV_SIDE_RESIDUAL, residual, n_bytes, err);
    status = publish(book, &next, status, err);
    if (status == QUIRE_OK)
        book->is_at_flight = true;
    return status;
}

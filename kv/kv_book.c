#include "kv/kv_book.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "kv/kv_about.h"
#include "kv/kv_use.h"

/* A book with nothing open. */
static struct kv_book *new_book(struct kv_store *store, const struct kv_manifest *manifest, quire_error *err)
{
    struct kv_book *book = mem_calloc(1, sizeof *book, "a KV book", err);
    if (!book)
        return NULL;
    book->store = store;
    book->manifest = *manifest;
    book->lock_fd = book->tokens_fd = -1;
    book->layers = mem_calloc(store->geometry.n_layers, sizeof *book->layers, "a KV book's layers", err);
    for (uint32_t i = 0; book->layers && i < store->geometry.n_layers; i++)
        book->layers[i] = KV_LAYER_CLOSED;
    if (!book->layers) {
        kv_book_close(book);
        return NULL;
    }
    return book;
}

void kv_book_close(struct kv_book *book)
{
    if (!book)
        return;
    /* A new book that was never committed is of no use to anybody. Where a commit failed at its very end, though, the
     * manifest may be there. */
    if (book->is_stored && book->lock_fd >= 0 && book->manifest.generation == 0 && !book->is_broken) {
        char folder[KV_PATH_SIZE];
        kv_store_book_folder(folder, book->store, book->manifest.id);
        kv_folder_remove(folder);
    } else if (book->is_stored && book->lock_fd >= 0) {
        kv_book_give_back(book);
    }
    for (uint32_t i = 0; book->layers && i < book->store->geometry.n_layers; i++)
        kv_layer_release(&book->layers[i]);
    kv_part_release(&book->own);
    kv_parents_release(&book->parents);
    kv_staging_release(&book->staging);
    kv_file_close(&book->tokens_fd);
    kv_file_close(&book->lock_fd);
    free(book->layers);
    free(book->logits);
    free(book);
}

static quire_status open_tokens(struct kv_book *book, const char *folder, int flags, quire_error *err)
{
    char path[KV_PATH_SIZE];
    kv_path(path, folder, "tokens");
    quire_status status = kv_file_open(&book->tokens_fd, path, flags, NULL, err);
    if (status == QUIRE_OK)
        status = kv_file_share(book->tokens_fd, path, err);
    if (status == QUIRE_OK)
        kv_use_note(book->tokens_fd);
    return status;
}

/* What people know the book by. One that is gone on with keeps its date; what it was called may have changed. */
static quire_status write_about(const struct kv_book *book, const char *folder, bool is_new, quire_error *err)
{
    struct kv_about about = book->store->about, before = {0};
    if (!is_new)
        kv_about_read(&before, folder, NULL);
    about.created = before.created ? before.created : (int64_t)time(NULL);
    if (!is_new && about.label[0] == '\0')
        return QUIRE_OK;
    return kv_about_write(folder, &about, err);
}

/* The writer's files, memory and position at the frontier. */
static quire_status open_for_writing(struct kv_book *book, const char *folder, bool is_new, quire_error *err)
{
    const struct kv_manifest *manifest = &book->manifest;
    quire_status status =
        kv_part_init(&book->own, &book->store->geometry, manifest->id, folder, manifest->base_tokens / KV_BLOCK_TOKENS,
                     SIZE_MAX, manifest->capacity_blocks, err);
    if (status == QUIRE_OK)
        status = kv_staging_init(&book->staging, book->own.block_bytes, err);
    for (uint32_t i = 0; i < manifest->n_layers && status == QUIRE_OK; i++)
        status = kv_layer_open(&book->layers[i], &book->own, i, is_new, err);
    if (status == QUIRE_OK && book->is_stored)
        status = open_tokens(book, folder, is_new ? O_CREAT | O_EXCL | O_RDWR : O_RDWR, err);
    return status;
}

quire_status kv_book_make(struct kv_book **out, struct kv_store *store, bool is_stored, size_t n_tokens,
                          struct kv_origin *origin, quire_error *err)
{
    const struct kv_geometry *geometry = &store->geometry;
    struct kv_manifest manifest = {
        .n_layers = geometry->n_layers,
        .n_heads = geometry->n_heads,
        .head_dim = geometry->head_dim,
        .type = (uint32_t)geometry->type,
        .parent_id = origin->parent_id,
        .depth = origin->depth,
        .base_tokens = origin->base_tokens,
        .base_hash = origin->base_hash,
        .frontier = origin->base_tokens,
        .frontier_hash = origin->base_hash,
        .n_ids = origin->base_tokens,
        .ids_hash = origin->base_hash,
    };
    memcpy(manifest.identity, store->identity, sizeof manifest.identity);
    struct kv_book *book = NULL;
    char folder[KV_PATH_SIZE];
    quire_status status = QUIRE_OK;
    if (n_tokens > KV_TOKENS_MAX) {
        kv_parents_release(&origin->parents);
        return quire_fail(err, QUIRE_ERR_USAGE, "a KV book of %zu tokens is too large: at most %d", n_tokens,
                          KV_TOKENS_MAX);
    }
    size_t n_own = n_tokens - origin->base_tokens;
    manifest.capacity_blocks =
        is_stored ? kv_capacity_blocks(n_own)
                  : size_round_up(size_max(1, (n_own + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS), KV_BLOCK_TOKENS);
    book = new_book(store, &manifest, err);
    if (!book) {
        kv_parents_release(&origin->parents);
        return QUIRE_ERR_NO_MEMORY;
    }
    book->parents = origin->parents;
    book->is_stored = is_stored;
    if (is_stored) {
        status = kv_store_make_book(&book->manifest.id, &book->lock_fd, store, err);
        kv_store_book_folder(folder, store, book->manifest.id);
    }
    if (status == QUIRE_OK)
        status = open_for_writing(book, is_stored ? folder : store->temporary_path, true, err);
    if (status == QUIRE_OK && is_stored)
        status = write_about(book, folder, true, err);
    if (status != QUIRE_OK) {
        kv_book_close(book);
        return status;
    }
    for (uint32_t i = 0; i < geometry->n_layers; i++)
        book->layers[i].n_tokens = origin->base_tokens;
    *out = book;
    return QUIRE_OK;
}

/* The lock, and what may only be done under it. */
static quire_status become_writer(struct kv_book *book, const char *folder, quire_error *err)
{
    char path[KV_PATH_SIZE];
    struct kv_manifest now;
    bool is_other;
    kv_path(path, folder, "lock");
    quire_status status = kv_file_lock(&book->lock_fd, path, false, NULL, err);
    if (status == QUIRE_OK)
        status = kv_store_manifest(&now, book->store, book->manifest.id, &is_other, err);
    if (status != QUIRE_OK)
        return status;
    if (now.generation != book->manifest.generation)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "'%s' was gone on with by another process", folder);
    kv_side_remove_leftovers(folder, &now);
    status = open_for_writing(book, folder, false, err);
    if (status == QUIRE_OK)
        write_about(book, folder, false, NULL); /* of no use to the reading: no reason to give it up */
    return status;
}

static quire_status open_for_reading(struct kv_book *book, const char *folder, quire_error *err)
{
    const struct kv_manifest *manifest = &book->manifest;
    struct kv_manifest now;
    bool is_other;
    book->is_read_only = true;
    quire_status status =
        kv_part_init(&book->own, &book->store->geometry, manifest->id, folder, manifest->base_tokens / KV_BLOCK_TOKENS,
                     manifest->frontier / KV_BLOCK_TOKENS, manifest->capacity_blocks, err);
    if (status == QUIRE_OK)
        status = kv_part_share(&book->own, err);
    /* Before it was shared somebody may have taken its end away, or all of it. */
    if (status == QUIRE_OK)
        status = kv_store_manifest(&now, book->store, manifest->id, &is_other, err);
    if (status == QUIRE_OK && now.generation != manifest->generation)
        status = quire_fail(err, QUIRE_ERR_MISMATCH, "'%s' was changed by another process", folder);
    return status == QUIRE_OK ? kv_part_map(&book->own, err) : status;
}

static quire_status load_logits(struct kv_book *book, const char *folder, quire_error *err)
{
    const struct kv_side_ref *ref = &book->manifest.sides[KV_SIDE_LOGITS];
    struct kv_side_file file;
    if (ref->generation == 0)
        return QUIRE_OK;
    quire_status status = kv_side_open(&file, folder, KV_SIDE_LOGITS, ref, err);
    if (status != QUIRE_OK)
        return status;
    book->logits = mem_calloc(ref->n_bytes, 1, "stored logits", err);
    status = book->logits ? kv_side_read(&file, book->logits, ref->n_bytes, err) : QUIRE_ERR_NO_MEMORY;
    if (status == QUIRE_OK)
        status = kv_side_check(&file, ref, err);
    book->n_logits = ref->n_bytes / sizeof *book->logits;
    kv_side_close(&file);
    return status;
}

quire_status kv_book_resume(struct kv_book **out, struct kv_store *store, const struct kv_manifest *manifest,
                            bool is_writer, quire_error *err)
{
    char folder[KV_PATH_SIZE];
    struct kv_book *book = new_book(store, manifest, err);
    if (!book)
        return QUIRE_ERR_NO_MEMORY;
    book->is_stored = true;
    kv_store_book_folder(folder, store, manifest->id);
    quire_status status = is_writer ? become_writer(book, folder, err) : open_for_reading(book, folder, err);
    if (status == QUIRE_OK)
        status = kv_parents_open(&book->parents, store, manifest->parent_id, manifest->base_tokens, manifest->base_hash,
                                 err);
    if (status == QUIRE_OK)
        status = kv_book_restore(book, KV_SIDE_TAIL, err);
    if (status == QUIRE_OK)
        status = load_logits(book, folder, err);
    if (status != QUIRE_OK) {
        kv_book_close(book);
        return status;
    }
    *out = book;
    return QUIRE_OK;
}

quire_status kv_book_branch(struct kv_book **out, struct kv_book *parent, size_t n_more, quire_error *err)
{
    size_t frontier = kv_book_frontier(parent), n_tokens;
    size_t end = frontier / KV_BLOCK_TOKENS, n_rows = frontier % KV_BLOCK_TOKENS;
    struct kv_origin origin = {.base_tokens = end * KV_BLOCK_TOKENS};
    struct kv_book *book;
    if (!size_add(&n_tokens, frontier, n_more))
        return quire_fail(err, QUIRE_ERR_USAGE, "a branch of %zu tokens is too large", n_more);
    quire_status status = kv_parents_borrow(&origin.parents, &parent->own, &parent->parents, end, err);
    if (status == QUIRE_OK)
        status = kv_book_make(&book, parent->store, false, n_tokens, &origin, err);
    if (status != QUIRE_OK)
        return status;
    book->manifest.frontier = frontier;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && status == QUIRE_OK; i++) {
        struct kv_layer *layer = &book->layers[i];
        layer->n_tokens = frontier;
        if (n_rows == 0)
            continue;
        status = kv_layer_need_open(layer, &book->own, err);
        for (uint32_t h = 0; h < book->own.geometry.n_heads && status == QUIRE_OK; h++)
            memcpy(layer->open + h * book->own.block_bytes, kv_book_block(parent, i, h, end).k, book->own.block_bytes);
    }
    if (status != QUIRE_OK) {
        kv_book_close(book);
        return status;
    }
    *out = book;
    return QUIRE_OK;
}

size_t kv_book_frontier(const struct kv_book *book)
{
    return book->manifest.frontier;
}

uint64_t kv_book_n_written(const struct kv_book *book)
{
    return book->n_written;
}

struct kv_block kv_book_block(const struct kv_book *book, uint32_t layer, uint32_t head, size_t block)
{
    const struct kv_layer *state = &book->layers[layer];
    const unsigned char *keys;
    uint32_t n_tokens = KV_BLOCK_TOKENS;
    if (block < book->own.first_block) {
        keys = kv_part_block(kv_parents_part(&book->parents, block), layer, head, block);
    } else if (block < state->n_tokens / KV_BLOCK_TOKENS) {
        keys = kv_part_block(&book->own, layer, head, block);
    } else {
        keys = state->open + head * book->own.block_bytes;
        n_tokens = state->n_tokens % KV_BLOCK_TOKENS;
    }
    return (struct kv_block){.k = keys, .v = keys + book->own.block_bytes / 2, .n_tokens = n_tokens};
}

float kv_book_key_norm(const struct kv_book *book, uint32_t layer, uint32_t head, size_t block)
{
    float norm = 0;
    const struct kv_part *part = &book->own;
    for (size_t i = 0;; part = &book->parents.parts[i++]) {
        if (block >= part->first_block) {
            float up_to = kv_part_norms(part, layer, head)[block - part->first_block];
            norm = up_to > norm ? up_to : norm;
            if (part->first_block == 0)
                return norm;
            block = part->first_block - 1;
        }
    }
}

quire_status kv_book_put(struct kv_book *book, uint32_t layer, size_t first, size_t n, const float *k, const float *v,
                         size_t stride, quire_error *err)
{
    const struct kv_geometry *geometry = &book->own.geometry;
    if (book->is_read_only)
        return quire_fail(err, QUIRE_ERR_USAGE, "this KV book was opened to be read: branch off from it");
    if (book->is_broken)
        return quire_fail(err, QUIRE_ERR_IO, "KV book '%s' cannot be gone on with after a failed sync (KV-7)",
                          book->own.folder);
    if (layer >= geometry->n_layers || stride < (size_t)geometry->n_heads * geometry->head_dim)
        return quire_fail(err, QUIRE_ERR_USAGE, "KV for layer %u with stride %zu: the book has %u layers of %u x %u",
                          layer, stride, geometry->n_layers, geometry->n_heads, geometry->head_dim);
    struct kv_layer *state = &book->layers[layer];
    uint64_t room = kv_book_room(&book->manifest);
    if (first != state->n_tokens || first > room || n > room - first)
        return quire_fail(
            err, QUIRE_ERR_USAGE,
            "KV of %zu tokens from token %zu on: layer %u goes on at token %llu, the book has room for %llu", n, first,
            layer, (unsigned long long)state->n_tokens, (unsigned long long)room);
    /* A flight that is not gone on with: its blocks are about to be overwritten (KV-1). */
    if ((book->manifest.flags & KV_HAS_FLIGHT) && !book->is_at_flight) {
        quire_status status = kv_book_drop_flight(book, err);
        if (status != QUIRE_OK)
            return status;
    }
    return kv_layer_put(state, &book->own, layer, &book->staging, n, k, v, stride, &book->n_written, err);
}

quire_status kv_book_take_back(struct kv_book *book, size_t n_tokens, quire_error *err)
{
    if (book->is_stored || n_tokens < book->manifest.frontier)
        return quire_fail(err, QUIRE_ERR_USAGE, "only what was put into a branch can be taken back, from token %llu on",
                          (unsigned long long)book->manifest.frontier);
    for (uint32_t i = 0; i < book->own.geometry.n_layers; i++)
        if (book->layers[i].n_tokens / KV_BLOCK_TOKENS > n_tokens / KV_BLOCK_TOKENS)
            return quire_fail(err, QUIRE_ERR_USAGE,
                              "layer %u has %llu tokens: the block of token %zu is whole and does not change (KV-1)", i,
                              (unsigned long long)book->layers[i].n_tokens, n_tokens);
    for (uint32_t i = 0; i < book->own.geometry.n_layers; i++)
        if (book->layers[i].n_tokens > n_tokens)
            book->layers[i].n_tokens = n_tokens;
    return QUIRE_OK;
}

bool kv_book_logits(const struct kv_book *book, float *logits, size_t n)
{
    if (!book->logits || book->n_logits != n)
        return false;
    memcpy(logits, book->logits, n * sizeof *logits);
    return true;
}

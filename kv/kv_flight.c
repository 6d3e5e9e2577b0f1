/* What a book goes on from: the unfinished blocks at its frontier, or those of a span in flight and its residual
 * stream. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kv/kv_book.h"

/* A layer's position and open block, until it is known that all of them can be read. */
struct restored {
    uint64_t n_tokens;
    unsigned char *open;
};

static quire_status read_positions(const struct kv_book *book, struct kv_side_file *file, struct restored *layers,
                                   quire_error *err)
{
    const struct kv_manifest *manifest = &book->manifest;
    for (uint32_t i = 0; i < manifest->n_layers; i++) {
        uint64_t n;
        quire_status status = kv_side_read(file, &n, sizeof n, err);
        if (status != QUIRE_OK)
            return status;
        bool is_possible = n >= manifest->frontier && n <= manifest->n_ids;
        if (!is_possible || (i == manifest->flight.layer && n != manifest->flight.kv_token))
            return quire_fail(err, QUIRE_ERR_FORMAT, "'%s' is damaged: layer %u at token %llu (KV-8)", file->path, i,
                              (unsigned long long)n);
        layers[i].n_tokens = n;
    }
    return QUIRE_OK;
}

static quire_status read_open_blocks(const struct kv_book *book, struct kv_side_file *file, struct restored *layers,
                                     quire_error *err)
{
    size_t n_heads = book->own.geometry.n_heads, block_bytes = book->own.block_bytes;
    for (uint32_t i = 0; i < book->own.geometry.n_layers; i++) {
        if (layers[i].n_tokens % KV_BLOCK_TOKENS == 0)
            continue;
        layers[i].open = mem_aligned(n_heads, block_bytes, "unfinished KV blocks", err);
        if (!layers[i].open)
            return QUIRE_ERR_NO_MEMORY;
        for (size_t h = 0; h < n_heads; h++) {
            quire_status status = kv_side_read(file, layers[i].open + h * block_bytes, block_bytes, err);
            if (status != QUIRE_OK)
                return status;
        }
    }
    return QUIRE_OK;
}

static quire_status read_side(const struct kv_book *book, enum kv_side kind, struct restored *layers, quire_error *err)
{
    const struct kv_side_ref *ref = &book->manifest.sides[kind];
    struct kv_side_file file;
    if (ref->generation == 0) /* no unfinished blocks */
        return QUIRE_OK;
    quire_status status = kv_side_open(&file, book->own.folder, kind, ref, err);
    if (status != QUIRE_OK)
        return status;
    if (kind == KV_SIDE_FLIGHT)
        status = read_positions(book, &file, layers, err);
    if (status == QUIRE_OK)
        status = read_open_blocks(book, &file, layers, err);
    if (status == QUIRE_OK)
        status = kv_side_check(&file, ref, err);
    kv_side_close(&file);
    return status;
}

quire_status kv_book_restore(struct kv_book *book, enum kv_side kind, quire_error *err)
{
    uint32_t n_layers = book->own.geometry.n_layers;
    struct restored *layers = mem_calloc(n_layers, sizeof *layers, "a KV book's layers", err);
    if (!layers)
        return QUIRE_ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n_layers; i++)
        layers[i].n_tokens = book->manifest.frontier;
    quire_status status = read_side(book, kind, layers, err);
    for (uint32_t i = 0; i < n_layers; i++) {
        if (status == QUIRE_OK) {
            free(book->layers[i].open);
            book->layers[i].open = layers[i].open;
            book->layers[i].n_tokens = layers[i].n_tokens;
            kv_part_distrust(&book->own, i, layers[i].n_tokens / KV_BLOCK_TOKENS);
        } else {
            free(layers[i].open);
        }
    }
    free(layers);
    return status;
}

quire_status kv_book_flight(const struct kv_book *book, struct kv_flight *out, bool *found)
{
    *found = !book->is_read_only && (book->manifest.flags & KV_HAS_FLIGHT);
    if (*found)
        *out = book->manifest.flight;
    return QUIRE_OK;
}

static quire_status read_residual(const struct kv_book *book, float *residual, size_t n_bytes, quire_error *err)
{
    const struct kv_side_ref *ref = &book->manifest.sides[KV_SIDE_RESIDUAL];
    struct kv_side_file file;
    if (ref->n_bytes != n_bytes)
        return quire_fail(err, QUIRE_ERR_MISMATCH, "the residual stream kept in '%s' has %llu bytes, expected %zu",
                          book->own.folder, (unsigned long long)ref->n_bytes, n_bytes);
    if (ref->generation == 0)
        return QUIRE_OK;
    quire_status status = kv_side_open(&file, book->own.folder, KV_SIDE_RESIDUAL, ref, err);
    if (status != QUIRE_OK)
        return status;
    status = kv_side_read(&file, residual, n_bytes, err);
    if (status == QUIRE_OK)
        status = kv_side_check(&file, ref, err);
    kv_side_close(&file);
    return status;
}

quire_status kv_book_load_residual(struct kv_book *book, float *residual, size_t n_bytes, quire_error *err)
{
    quire_error why = {0};
    struct kv_flight flight;
    bool found;
    kv_book_flight(book, &flight, &found);
    if (!found)
        return quire_fail(err, QUIRE_ERR_USAGE, "the KV book has no flight: there is no residual stream to load");
    quire_status status = read_residual(book, residual, n_bytes, &why);
    if (status == QUIRE_OK)
        status = kv_book_restore(book, KV_SIDE_FLIGHT, &why);
    if (status == QUIRE_OK) {
        book->is_at_flight = true;
        return QUIRE_OK;
    }
    kv_store_set_notice(book->store, book->manifest.id, &why);
    return quire_fail(err, status, "%s", why.message);
}

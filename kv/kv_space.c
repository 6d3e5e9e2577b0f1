/* Disk space, taken before the work that needs it. A layer's file has room for far more than its text, so that only the
 * blocks which are going to be written are reserved, head by head. */
#include <fcntl.h>
#include <inttypes.h>

#include "base/mem.h"
#include "kv/kv_book.h"
#include "kv/kv_shelf.h"

/* Whole pages alone are given back: at the edges lie blocks that count. */
enum { PAGE = 4096 };

/* Blocks [first, end) of the text that a layer is going to write or, when they are given back, did not. */
static bool layer_blocks(const struct kv_book *book, uint32_t layer, size_t *first, size_t *end)
{
    *first = book->layers[layer].n_tokens / KV_BLOCK_TOKENS;
    *end = book->reserved_end;
    return *first < *end;
}

/* The part of a file with records of n_bytes (a block, or its summary) that is about blocks [first, end) of a head. */
static void range(const struct kv_part *part, uint32_t head, size_t first, size_t end, size_t n_bytes, uint64_t *begin,
                  uint64_t *n)
{
    *begin = kv_part_offset(part, head, first) / part->block_bytes * n_bytes;
    *n = (end - first) * n_bytes;
}

static quire_status reserve_file(int fd, const struct kv_part *part, const char *kind, uint32_t layer, size_t first,
                                 size_t end, size_t n_bytes, bool *is_possible, quire_error *err)
{
    char path[KV_PATH_SIZE];
    uint64_t begin, n;
    quire_status status = QUIRE_OK;
    kv_part_path(path, part, kind, layer);
    for (uint32_t h = 0; h < part->geometry.n_heads && *is_possible && status == QUIRE_OK; h++) {
        range(part, h, first, end, n_bytes, &begin, &n);
        status = kv_file_reserve(fd, begin, n, path, is_possible, err);
    }
    return status;
}

static quire_status reserve_layer(struct kv_book *book, uint32_t layer, bool *is_possible, quire_error *err)
{
    const struct kv_layer *state = &book->layers[layer];
    size_t first, end;
    if (!layer_blocks(book, layer, &first, &end))
        return QUIRE_OK;
    quire_status status =
        reserve_file(state->fd, &book->own, "layer", layer, first, end, book->own.block_bytes, is_possible, err);
    if (status == QUIRE_OK && state->summary_fd >= 0)
        status = reserve_file(state->summary_fd, &book->own, "summary", layer, first, end, sizeof(struct kv_summary),
                              is_possible, err);
    return status;
}

static void give_back_file(int fd, const struct kv_part *part, size_t first, size_t end, size_t n_bytes)
{
    uint64_t begin, n;
    for (uint32_t h = 0; h < part->geometry.n_heads && fd >= 0; h++) {
        range(part, h, first, end, n_bytes, &begin, &n);
        uint64_t inner = (begin + PAGE - 1) / PAGE * PAGE, inner_end = (begin + n) / PAGE * PAGE;
        if (inner < inner_end)
            kv_file_punch(fd, inner, inner_end - inner);
    }
}

void kv_book_give_back(struct kv_book *book)
{
    size_t first, end;
    /* What another manifest may name beyond these layers is not to be touched. */
    bool is_flight_elsewhere = (book->manifest.flags & KV_HAS_FLIGHT) && !book->is_at_flight;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && !is_flight_elsewhere && !book->is_broken; i++)
        if (layer_blocks(book, i, &first, &end)) {
            give_back_file(book->layers[i].fd, &book->own, first, end, book->own.block_bytes);
            give_back_file(book->layers[i].summary_fd, &book->own, first, end, sizeof(struct kv_summary));
        }
    book->reserved_end = 0;
}

/* Bytes that the layers are going to write. */
static uint64_t bytes_to_write(const struct kv_book *book)
{
    uint64_t n = 0, per_block = book->own.geometry.n_heads * (book->own.block_bytes + sizeof(struct kv_summary));
    size_t first, end;
    for (uint32_t i = 0; i < book->own.geometry.n_layers; i++)
        if (layer_blocks(book, i, &first, &end))
            n += (end - first) * per_block;
    return n;
}

uint64_t kv_book_missing_bytes(const struct kv_book *book, size_t n_tokens, uint64_t n_other_bytes)
{
    struct kv_shelf_book taken = {0};
    uint64_t n_bytes = kv_disk_bytes(&book->own.geometry, n_tokens - book->manifest.base_tokens) + n_other_bytes;
    if (book->is_stored)
        kv_shelf_measure(&taken, book->own.folder, NULL); /* where that fails more is asked for than has to be */
    return n_bytes > taken.disk_bytes ? n_bytes - taken.disk_bytes : 0;
}

/* why: what the system said, of interest where the disk has room: a quota, a limit of the file system. */
static quire_status fail_full(const struct kv_book *book, size_t n_tokens, uint64_t n_bytes, const quire_error *why,
                              quire_error *err)
{
    uint64_t free_bytes;
    quire_status status = kv_store_free_bytes(book->store, &free_bytes, err);
    if (status != QUIRE_OK)
        return status;
    if (why->status != QUIRE_OK && free_bytes >= n_bytes)
        return quire_fail(err, QUIRE_ERR_NO_SPACE,
                          "keys and values up to token %zu need %" PRIu64 " MiB more on disk: %s", n_tokens,
                          mib_up(n_bytes), why->message);
    return quire_fail(err, QUIRE_ERR_NO_SPACE,
                      "keys and values up to token %zu need %" PRIu64 " MiB more on disk, in '%s', and %" PRIu64
                      " MiB are free there",
                      n_tokens, mib_up(n_bytes), book->store->temporary_path, free_bytes >> 20);
}

quire_status kv_book_reserve(struct kv_book *book, size_t n_tokens, uint64_t n_other_bytes, quire_error *err)
{
    bool is_possible = true;
    quire_error why = {0};
    uint64_t free_bytes;
    book->reserved_end = book->is_read_only ? 0 : n_tokens / KV_BLOCK_TOKENS;
    uint64_t n_bytes = bytes_to_write(book);
    quire_status status = QUIRE_OK;
    for (uint32_t i = 0; i < book->own.geometry.n_layers && is_possible && status == QUIRE_OK; i++)
        status = reserve_layer(book, i, &is_possible, &why);
    if (status == QUIRE_OK)
        status = kv_store_free_bytes(book->store, &free_bytes, &why);
    if (status == QUIRE_OK && free_bytes < n_other_bytes + (is_possible ? 0 : n_bytes))
        status = QUIRE_ERR_NO_SPACE;
    if (status == QUIRE_OK)
        return QUIRE_OK;
    kv_book_give_back(book);
    return status == QUIRE_ERR_NO_SPACE ? fail_full(book, n_tokens, n_bytes + n_other_bytes, &why, err)
                                        : quire_fail(err, status, "%s", why.message);
}

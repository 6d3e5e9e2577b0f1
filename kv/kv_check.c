/* Blocks against their checksums (KV-6): those of a reused book before their first use, and all of a book on demand. */
#include "kv/kv_book.h"

bool kv_book_is_checked(const struct kv_book *book, uint32_t layer)
{
    bool is_checked = kv_part_is_checked(&book->own, layer);
    for (size_t i = 0; i < book->parents.n && is_checked; i++)
        is_checked = kv_part_is_checked(&book->parents.parts[i], layer);
    return is_checked;
}

quire_status kv_book_check(struct kv_book *book, uint32_t layer, uint32_t head, quire_error *err)
{
    size_t bad_block;
    quire_status status = kv_part_check(&book->own, layer, head, &bad_block, err);
    for (size_t i = 0; i < book->parents.n && status == QUIRE_OK; i++)
        status = kv_part_check(&book->parents.parts[i], layer, head, &bad_block, err);
    if (status == QUIRE_ERR_FORMAT)
        atomic_store(&book->is_damaged, true);
    return status;
}

quire_status kv_book_check_map(const struct kv_book *book, uint32_t layer, quire_error *err)
{
    quire_status status = kv_part_check_map(&book->own, layer, err);
    for (size_t i = 0; i < book->parents.n && status == QUIRE_OK; i++)
        status = kv_part_check_map(&book->parents.parts[i], layer, err);
    return status;
}

/* The first damaged block of a part in any layer, and why; SIZE_MAX where there is none. */
static size_t first_damage(const struct kv_part *part, quire_error *why)
{
    size_t first = SIZE_MAX;
    for (uint32_t i = 0; i < part->geometry.n_layers; i++)
        for (uint32_t h = 0; h < part->geometry.n_heads; h++) {
            quire_error found = {0};
            size_t block = SIZE_MAX;
            if (kv_part_check(part, i, h, &block, &found) == QUIRE_ERR_FORMAT && block < first) {
                first = block;
                *why = found;
            }
        }
    return first;
}

bool kv_book_condemn(struct kv_book *book)
{
    if (!atomic_load(&book->is_damaged))
        return false;
    quire_error why = {0};
    size_t first = first_damage(&book->own, &why), n_parents = 0; /* that lead to the damaged block */
    for (size_t i = 0; i < book->parents.n; i++) {
        size_t block = first_damage(&book->parents.parts[i], &why);
        if (block < first) {
            first = block;
            n_parents = i + 1;
        }
    }
    if (first == SIZE_MAX)
        return false;
    /* Nearer books read the block through those behind them. */
    quire_status status = QUIRE_OK;
    if (book->is_stored)
        status = kv_store_narrow(book->store, book->manifest.id, first * KV_BLOCK_TOKENS, &why);
    for (size_t i = 0; i < n_parents && status == QUIRE_OK; i++)
        status = kv_store_narrow(book->store, book->parents.parts[i].book_id, first * KV_BLOCK_TOKENS, &why);
    return status == QUIRE_OK;
}

quire_status kv_book_verify(const struct kv_book *book, quire_error *err)
{
    quire_status status = kv_part_verify(&book->own, book->manifest.frontier / KV_BLOCK_TOKENS, err);
    for (size_t i = 0; i < book->parents.n && status == QUIRE_OK; i++)
        status = kv_part_verify(&book->parents.parts[i], SIZE_MAX, err);
    return status;
}

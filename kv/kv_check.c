/* Blocks against their summaries (KV-6): those of a reused book before their first use, and all of a book on demand. */
#include "base/mem.h"
#include "kv/kv_blocks.h"
#include "kv/kv_book.h"

/* --- one head of a part ------------------------------------------------------------------------------------------ */

/* Compares blocks [first_block, end) of a head with their summaries, and takes their norms. Errors: FORMAT, naming
 * book, layer, head and block, and *bad_block is the first one that is damaged; IO; NO_MEMORY. */
static quire_status compare_head(const struct kv_part *part, uint32_t layer, uint32_t head, size_t end,
                                 size_t *bad_block, quire_error *err)
{
    struct kv_blocks batch = KV_BLOCKS_CLOSED;
    quire_status status = kv_blocks_open(&batch, part, layer, err);
    for (size_t first = part->first_block, n; first < end && status == QUIRE_OK; first += n) {
        n = size_min(batch.n_room, end - first);
        status = kv_blocks_read(&batch, head, first, n, err);
        for (size_t i = 0; i < n && status == QUIRE_OK; i++) {
            status = kv_blocks_check(&batch, head, first, i, err);
            if (status == QUIRE_OK)
                kv_part_take_norm(part, layer, head, first + i, batch.summaries[i].key_norm_max);
            else
                *bad_block = first + i;
        }
    }
    /* Blocks that were written since have taken their norms without those before. */
    const float *norms = kv_part_norms(part, layer, head);
    size_t first = part->first_block, after = first + part->capacity_blocks;
    for (size_t b = end; status == QUIRE_OK && b > first && b < after && norms[b - first] > 0; b++)
        kv_part_take_norm(part, layer, head, b, norms[b - first]);
    kv_blocks_release(&batch);
    return status;
}

/* The same for the blocks that the part had when it was opened, unless that was done before. Heads may be checked by
 * several threads at once. */
static quire_status check_head(const struct kv_part *part, uint32_t layer, uint32_t head, size_t *bad_block,
                               quire_error *err)
{
    atomic_uchar *is_checked = &part->checked[(size_t)layer * part->geometry.n_heads + head];
    if (part->check_ends[layer] <= part->first_block || atomic_load(is_checked))
        return QUIRE_OK;
    quire_status status = compare_head(part, layer, head, part->check_ends[layer], bad_block, err);
    if (status == QUIRE_OK)
        atomic_store(is_checked, 1);
    return status;
}

/* Blocks [first_block, end) of every layer and head. Temporary parts have no summaries and pass. */
static quire_status verify_part(const struct kv_part *part, size_t end, quire_error *err)
{
    quire_status status = QUIRE_OK;
    size_t bad_block;
    for (uint32_t i = 0; i < part->geometry.n_layers && part->book_id; i++)
        for (uint32_t h = 0; h < part->geometry.n_heads && status == QUIRE_OK; h++)
            status = compare_head(part, i, h, size_min(end, part->end_block), &bad_block, err);
    return status;
}

/* --- a book ------------------------------------------------------------------------------------------------------ */

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
    quire_status status = check_head(&book->own, layer, head, &bad_block, err);
    for (size_t i = 0; i < book->parents.n && status == QUIRE_OK; i++)
        status = check_head(&book->parents.parts[i], layer, head, &bad_block, err);
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
            if (check_head(part, i, h, &block, &found) == QUIRE_ERR_FORMAT && block < first) {
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
    quire_status status = verify_part(&book->own, book->manifest.frontier / KV_BLOCK_TOKENS, err);
    for (size_t i = 0; i < book->parents.n && status == QUIRE_OK; i++)
        status = verify_part(&book->parents.parts[i], SIZE_MAX, err);
    return status;
}

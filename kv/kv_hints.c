/* Residency: hints about blocks that will be needed, or not for a while. */
#include "base/mem.h"
#include "kv/kv_book.h"

/* The end of the blocks that lie in the layer's own file. */
static size_t end_in_file(const struct kv_book *book, uint32_t layer)
{
    return book->layers[layer].n_tokens / KV_BLOCK_TOKENS;
}

void kv_book_prefetch(const struct kv_book *book, uint32_t layer, uint32_t head, size_t first_block, size_t n_blocks)
{
    size_t end;
    if (!size_add(&end, first_block, n_blocks))
        end = SIZE_MAX;
    kv_part_prefetch(&book->own, layer, head, first_block, size_min(end, end_in_file(book, layer)));
    for (size_t i = 0; i < book->parents.n; i++)
        kv_part_prefetch(&book->parents.parts[i], layer, head, first_block, end);
}

void kv_book_prefetch_layer(const struct kv_book *book, uint32_t layer)
{
    for (uint32_t h = 0; h < book->own.geometry.n_heads; h++)
        kv_book_prefetch(book, layer, h, 0, SIZE_MAX);
}

void kv_book_release_layer(const struct kv_book *book, uint32_t layer)
{
    kv_part_release_layer(&book->own, layer);
    for (size_t i = 0; i < book->parents.n; i++)
        kv_part_release_layer(&book->parents.parts[i], layer);
}

void kv_book_release(const struct kv_book *book, uint32_t layer, uint32_t head, size_t first_block, size_t n_blocks)
{
    size_t end;
    if (!size_add(&end, first_block, n_blocks))
        end = SIZE_MAX;
    kv_part_release_blocks(&book->own, layer, head, first_block, size_min(end, end_in_file(book, layer)));
    for (size_t i = 0; i < book->parents.n; i++)
        kv_part_release_blocks(&book->parents.parts[i], layer, head, first_block, end);
}

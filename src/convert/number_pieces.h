/* How tensors are gone through: chunk by chunk in order, each cut into pieces that threads take. */
#ifndef QUIRE_CONVERT_NUMBER_PIECES_H
#define QUIRE_CONVERT_NUMBER_PIECES_H

#include "quire/dtype.h"

/* A multiple of every type's block; what one thread takes at a time. */
#define PIECE_NUMBERS ((size_t)65536)
#define CHUNK_PIECES  ((size_t)64)
#define CHUNK_NUMBERS (CHUNK_PIECES * PIECE_NUMBERS)

/* Bytes of n numbers, whole blocks. */
static inline size_t bytes_of(quire_dtype type, size_t n)
{
    return n / quire_dtype_block_elements(type) * quire_dtype_block_bytes(type);
}

static inline size_t pieces_of(size_t n)
{
    return (n + PIECE_NUMBERS - 1) / PIECE_NUMBERS;
}

#endif

#include "residency.h"

#include <sys/mman.h>
#include <unistd.h>

enum { N_MATRICES = 4 };

static void layer_matrices(const struct layer *layer, const struct matrix *matrices[N_MATRICES])
{
    matrices[0] = &layer->Wqkv;
    matrices[1] = &layer->out_proj;
    matrices[2] = &layer->up_proj;
    matrices[3] = &layer->down_proj;
}

static size_t matrix_bytes(const struct matrix *matrix)
{
    return matrix->rows * matrix->row_bytes;
}

/* Advises the pages of a matrix: all that it touches, or only those that are wholly its own. */
static void advise(const struct matrix *matrix, int advice, bool is_inner)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)matrix->data, end = first + matrix_bytes(matrix);
    first = is_inner ? (first + page - 1) / page * page : first / page * page;
    end = is_inner ? end / page * page : (end + page - 1) / page * page;
    if (first < end)
        madvise((void *)first, end - first, advice);
}

void residency_prefetch_layer(const struct layer *layer)
{
    const struct matrix *matrices[N_MATRICES];
    layer_matrices(layer, matrices);
    for (int i = 0; i < N_MATRICES; i++)
        advise(matrices[i], MADV_WILLNEED, false);
}

void residency_release_layer(const struct layer *layer)
{
    const struct matrix *matrices[N_MATRICES];
    layer_matrices(layer, matrices);
    for (int i = 0; i < N_MATRICES; i++)
        residency_release_matrix(matrices[i]);
}

void residency_release_matrix(const struct matrix *matrix)
{
    advise(matrix, MADV_DONTNEED, true);
}

uint64_t residency_layer_bytes(const struct layer *layer)
{
    const struct matrix *matrices[N_MATRICES];
    uint64_t bytes = 0;
    layer_matrices(layer, matrices);
    for (int i = 0; i < N_MATRICES; i++)
        bytes += matrix_bytes(matrices[i]);
    return bytes;
}

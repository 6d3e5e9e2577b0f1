#include "residency.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"

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

/* Asks for all pages that a matrix touches. */
static void ask_for(const struct matrix *matrix)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)matrix->data / page * page, end = (uintptr_t)matrix->data + matrix_bytes(matrix);
    madvise((void *)first, end - first, MADV_WILLNEED);
}

void residency_prefetch_layer(const struct layer *layer)
{
    const struct matrix *matrices[N_MATRICES];
    layer_matrices(layer, matrices);
    for (int i = 0; i < N_MATRICES; i++)
        ask_for(matrices[i]);
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
    sys_let_go(matrix->data, matrix_bytes(matrix));
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

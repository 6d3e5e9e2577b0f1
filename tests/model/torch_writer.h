/* Writes zip archives and PyTorch checkpoints, byte for byte in the way of torch.save, into memory. */
#ifndef QUIRE_TESTS_MODEL_TORCH_WRITER_H
#define QUIRE_TESTS_MODEL_TORCH_WRITER_H

#include "files.h"

struct zip_writer {
    struct bytes file, directory;
    size_t n_entries;
};

/* Sizes follow the data, which begins at a multiple of 64. */
void zip_add(struct zip_writer *zip, const char *name, const void *data, size_t n);
/* The directory and the end records, the 64-bit ones too. The file is the caller's. */
struct bytes zip_finish(struct zip_writer *zip);

/* One tensor in a storage of its own, or in another's. */
struct torch_tensor {
    const char *name;
    const char *storage; /* "BFloat16Storage" */
    uint32_t n_dims;
    uint64_t dims[4];
    const void *data;
    size_t n_bytes;
    size_t shares; /* 1 + the index of the tensor in whose storage it lies; 0: its own */
};

/* The pickle of an ordered dictionary of the tensors: storages "0", "1", ... */
struct bytes torch_pickle(const struct torch_tensor *tensors, size_t n);

/* The archive with a pickle (released here) and the tensors' storages, under the prefix "archive". */
struct bytes torch_archive(struct bytes pickle, const struct torch_tensor *tensors, size_t n);

#endif

/* Checksums of tensors, kept in the file that has the tensors: the GGUF key and the safetensors __metadata__ field
 * "quire.tensor_checksums" is a string with, for each tensor of the file in the order of their names (bytes compared),
 * 32 hexadecimal digits, one space between two. The digits are XXH3-128 over the tensor's name, the name of its type
 * ("BF16"), its shape, outermost first ("[96, 32]"), each with a NUL behind it, and then its data. */
#ifndef QUIRE_CONVERT_CHECKSUMS_H
#define QUIRE_CONVERT_CHECKSUMS_H

#include <stddef.h>

#include "base/hash.h"
#include "quire/error.h"

#define CHECKSUMS_KEY "quire.tensor_checksums"

struct checksum {
    const char *name; /* of the tensor; not owned */
    char hex[HASH_HEX_SIZE];
};

/* The hash of all but the data, which is to be added; released with hash_close. NULL: no memory. */
hash_state *checksum_begin(const char *name, const char *type_name, uint32_t n_dims, const uint64_t *dims,
                           quire_error *err);

/* Bytes of the string for n tensors, without its NUL. */
size_t checksums_length(size_t n);

/* Sorts the list by name and writes the string to text, of checksums_length(n) + 1 bytes. */
void checksums_join(char *text, struct checksum *list, size_t n);

#endif

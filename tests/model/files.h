/* Files for the tests of model formats: bytes put together by hand, in a folder that goes away. */
#ifndef QUIRE_TESTS_MODEL_FILES_H
#define QUIRE_TESTS_MODEL_FILES_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that grow. Out of memory ends the program. */
struct bytes {
    unsigned char *data;
    size_t n, capacity;
};

void bytes_add(struct bytes *bytes, const void *data, size_t n);
void bytes_add_u32(struct bytes *bytes, uint32_t value);
void bytes_add_u64(struct bytes *bytes, uint64_t value);
void bytes_add_f32(struct bytes *bytes, float value);
void bytes_add_string(struct bytes *bytes, const char *text); /* as GGUF writes it: length, then bytes */
void bytes_pad(struct bytes *bytes, size_t step);
void bytes_release(struct bytes *bytes);

/* A new folder; its path is malloc'ed. folder_remove deletes it with the files in it and frees the path. */
char *folder_make(void);
void folder_remove(char *folder);

/* Writes folder/name; the path returned lives until the next call. */
const char *file_write(const char *folder, const char *name, const void *data, size_t n);

/* Reads a whole file. A missing one ends the program. */
struct bytes file_read(const char *path);

/* The path of tests/golden/name; lives until the next call. */
const char *golden_path(const char *name);

#endif

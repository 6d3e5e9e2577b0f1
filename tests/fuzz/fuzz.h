/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: libFuzzer's entry point (with
 * -DQUIRE_FUZZ=ON, by clang), and that of replay.c, which runs seeds and mutations of them in the ordinary test suite.
 * A target never lets an input change what the next one meets. */
#ifndef QUIRE_TESTS_FUZZ_H
#define QUIRE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The file's contents become these bytes; ends the program where that is not possible. */
void fuzz_write(const char *path, const void *data, size_t size);

/* A folder of this process in memory, removed when it ends. */
const char *fuzz_folder(void);

#endif

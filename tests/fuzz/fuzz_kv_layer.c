/* A layer's file, or its summaries. Byte 0: bit 0: the summaries; bit 1: which layer; bit 2: the file ends at the place
 * (else the bytes lie there); bit 3: the summaries' checksums are made to fit. Bytes 1 to 4: the place. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "fuzz_kv.h"

enum { MAX_BYTES = 4096 };

static int open_file(const char *kind, int layer)
{
    char name[32], path[KV_PATH_SIZE];
    snprintf(name, sizeof name, "%s.%03d", kind, layer);
    fuzz_kv_path(path, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

/* Writes the checksums of the blocks in [offset, offset + n) of the layer, and says what was there. */
static void seal(int layer_fd, int layer, off_t offset, size_t n, uint64_t *before, bool is_undoing)
{
    size_t block_bytes = kv_block_bytes(fuzz_kv_geometry());
    int fd = open_file("summary", layer);
    unsigned char *block = malloc(block_bytes);
    for (size_t b = (size_t)offset / block_bytes, i = 0; b <= ((size_t)offset + n) / block_bytes; b++, i++) {
        off_t place = (off_t)(b * sizeof(struct kv_summary));
        if (pread(layer_fd, block, block_bytes, (off_t)(b * block_bytes)) != (ssize_t)block_bytes)
            break;
        uint64_t checksum = is_undoing ? before[i] : hash64(block, block_bytes);
        if ((!is_undoing && pread(fd, &before[i], sizeof *before, place) != sizeof *before) ||
            pwrite(fd, &checksum, sizeof checksum, place) != sizeof checksum)
            exit(1);
    }
    free(block);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char before[MAX_BYTES];
    uint64_t checksums[MAX_BYTES / 64];
    struct stat st;
    if (size < 5)
        return 0;
    fuzz_kv_manifest();
    bool is_summary = data[0] & 1, is_cut = data[0] & 4, is_sealed = !is_summary && (data[0] & 8);
    int layer = data[0] >> 1 & 1, fd = open_file(is_summary ? "summary" : "layer", layer);
    if (fstat(fd, &st) != 0)
        exit(1);
    off_t offset = load_u32(data + 1) % st.st_size;
    size_t n = size_min(size_min(size - 5, MAX_BYTES), (size_t)(st.st_size - offset));
    if (is_cut) /* the rest of either file is a hole */
        offset = size_max((size_t)offset, (size_t)(st.st_size / 4 * 3));
    if (is_cut ? ftruncate(fd, offset) != 0
               : pread(fd, before, n, offset) != (ssize_t)n || pwrite(fd, data + 5, n, offset) != (ssize_t)n)
        exit(1);
    if (!is_cut && is_sealed)
        seal(fd, layer, offset, n, checksums, false);
    fuzz_kv_use(fuzz_kv_text(), FUZZ_END);
    if (is_cut ? ftruncate(fd, st.st_size) != 0 : pwrite(fd, before, n, offset) != (ssize_t)n)
        exit(1);
    if (!is_cut && is_sealed)
        seal(fd, layer, offset, n, checksums, true);
    close(fd);
    return 0;
}

/* Peaks of the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "peaks.h"

enum { PART_BYTES = 4 << 20, FILE_PARTS = 64 };
static const double MOST_SECONDS = 2;

static quire_status open_unnamed(int *fd, const char *folder, quire_error *err)
{
    *fd = sys.open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0)
        return QUIRE_OK;
    return quire_fail(err, QUIRE_ERR_IO,
                      "cannot make a file without a name in '%s' to measure the disk: %s; another folder can be named "
                      "with TMPDIR",
                      folder, strerror(errno));
}

/* Writes parts until the file is full or the time is over; the last bytes are on the disk when it ends. */
static quire_status write_parts(const quire_peaks *peaks, int fd, const char *folder, const void *part, size_t *n_parts,
                                double *seconds, quire_error *err)
{
    double start = sys_now();
    quire_status status = QUIRE_OK;
    *n_parts = 0;
    while (status == QUIRE_OK && *n_parts < FILE_PARTS && (*n_parts == 0 || sys_now() - start < MOST_SECONDS)) {
        status = peaks_check_stop(peaks, err);
        if (status == QUIRE_OK)
            status = sys_write_all(fd, part, PART_BYTES, (off_t)*n_parts * PART_BYTES, folder, err);
        ++*n_parts;
    }
    if (status == QUIRE_OK && sys.fdatasync(fd) != 0)
        status = quire_fail(err, QUIRE_ERR_IO, "cannot write to the disk of '%s': %s", folder, strerror(errno));
    *seconds = sys_now() - start;
    return status;
}

static quire_status read_parts(const quire_peaks *peaks, int fd, const char *folder, void *part, size_t n_parts,
                               double *seconds, quire_error *err)
{
    quire_status status = QUIRE_OK;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    double start = sys_now();
    for (size_t i = 0; i < n_parts && status == QUIRE_OK; i++) {
        status = peaks_check_stop(peaks, err);
        if (status == QUIRE_OK)
            status = sys_read_all(fd, part, PART_BYTES, (off_t)i * PART_BYTES, folder, err);
    }
    *seconds = sys_now() - start;
    return status;
}

/* Bytes that no file system compresses or shares. */
static void fill(uint64_t *part)
{
    uint64_t state = 1;
    for (size_t i = 0; i < PART_BYTES / sizeof *part; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        part[i] = state;
    }
}

quire_status quire_peaks_measure_disk(quire_peaks *peaks, const char *folder, quire_error *err)
{
    int fd;
    size_t n_parts;
    double write_seconds, read_seconds;
    if (!folder)
        folder = getenv("TMPDIR");
    if (!folder || *folder == '\0')
        folder = "/var/tmp";
    uint64_t *part = mem_aligned(PART_BYTES, 1, "measuring the disk", err);
    if (!part)
        return QUIRE_ERR_NO_MEMORY;
    fill(part);
    quire_status status = open_unnamed(&fd, folder, err);
    if (status == QUIRE_OK) {
        status = write_parts(peaks, fd, folder, part, &n_parts, &write_seconds, err);
        if (status == QUIRE_OK)
            status = read_parts(peaks, fd, folder, part, n_parts, &read_seconds, err);
        sys.close(fd);
    }
    free(part);
    if (status != QUIRE_OK)
        return status;
    double n_bytes = (double)n_parts * PART_BYTES, written = n_bytes / write_seconds, read = n_bytes / read_seconds;
    peaks->disk_write = written > peaks->disk_write ? written : peaks->disk_write;
    peaks->disk_read = read > peaks->disk_read ? read : peaks->disk_read;
    return QUIRE_OK;
}

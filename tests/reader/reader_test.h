/* What the reader's tests share: temporary files, and reading a document whole. */
#ifndef QUIRE_TESTS_READER_TEST_H
#define QUIRE_TESTS_READER_TEST_H

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "quire/reader.h"
#include "test.h"

static const struct reader_way {
    const char *name;
    bool no_uring;
} reader_ways[] = {{"io_uring", false}, {"pread", true}};

#define N_READER_WAYS (sizeof reader_ways / sizeof reader_ways[0])

/* Whether this machine allows io_uring; without it the tests of it read through the fallback, except those that ask. */
static inline bool uring_works(void)
{
    quire_reader *reader;
    quire_error err = {0};
    bool works = false;
    if (quire_reader_open(&reader, "/proc/self/exe", NULL, &err) == QUIRE_OK) {
        works = strncmp(quire_reader_backend(reader), "io_uring", 8) == 0;
        quire_reader_close(reader);
    }
    return works;
}

/* A temporary file's path with this content; to be given to drop_file. */
static inline char *make_file(const void *bytes, size_t n)
{
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/quire-reader-XXXXXX", folder && *folder ? folder : "/tmp") < 0)
        exit(1);
    int fd = mkstemp(path);
    const char *p = bytes;
    size_t n_left = n;
    while (fd >= 0 && n_left > 0) {
        ssize_t written = write(fd, p, n_left);
        if (written <= 0)
            break;
        p += written;
        n_left -= (size_t)written;
    }
    if (fd < 0 || n_left > 0 || close(fd) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

static inline void drop_file(char *path)
{
    unlink(path);
    free(path);
}

/* A whole document as the reader gave it. */
struct reading {
    quire_status status; /* of opening, or of the last call */
    quire_error err;
    char *bytes;
    size_t n;
    uint64_t n_taken, n_replaced;
    int64_t size;
    char backend[128];
};

/* Reads on to the end or to an error, and closes. */
static inline void read_rest(struct reading *reading, quire_reader *reader)
{
    for (;;) {
        const char *bytes;
        size_t n = SIZE_MAX;
        reading->status = quire_reader_next(reader, &bytes, &n, &reading->err);
        if (reading->status != QUIRE_OK || n == 0)
            break;
        reading->bytes = realloc(reading->bytes, reading->n + n);
        memcpy(reading->bytes + reading->n, bytes, n);
        reading->n += n;
    }
    /* What is over stays over. */
    const char *bytes;
    size_t n = 1;
    quire_error again = {0};
    CHECK_EQ_INT(quire_reader_next(reader, &bytes, &n, &again), reading->status);
    CHECK_EQ_STR(again.message, reading->err.message);
    CHECK_EQ_INT(n, reading->status == QUIRE_OK ? 0 : 1);
    reading->n_taken = quire_reader_n_bytes(reader);
    reading->n_replaced = quire_reader_n_replaced(reader);
    reading->size = quire_reader_size(reader);
    snprintf(reading->backend, sizeof reading->backend, "%s", quire_reader_backend(reader));
    quire_reader_close(reader);
}

static inline struct reading read_whole(const char *path, const quire_reader_options *opts)
{
    struct reading reading = {0};
    quire_reader *reader;
    reading.status = quire_reader_open(&reader, path, opts, &reading.err);
    if (reading.status == QUIRE_OK)
        read_rest(&reading, reader);
    return reading;
}

static inline void drop_reading(struct reading *reading)
{
    free(reading->bytes);
    *reading = (struct reading){0};
}

static inline bool is_reading(const struct reading *reading, const void *want, size_t n)
{
    if (reading->status != QUIRE_OK)
        fprintf(stderr, "%s\n", reading->err.message);
    else if (reading->n != n)
        fprintf(stderr, "%zu bytes, expected %zu\n", reading->n, n);
    return reading->status == QUIRE_OK && reading->n == n && (n == 0 || memcmp(reading->bytes, want, n) == 0);
}

/* Prose-like text of exactly n bytes with characters of every length. */
static inline char *make_text(size_t n, uint64_t seed)
{
    static const char *const parts[] = {"the ", "river ",           "a ", "\xC3\xA9t\xC3\xA9 ", "\xE2\x80\x94",
                                        "\r\n", "\xF0\x9F\x93\x96 "};
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n;) {
        const char *part = parts[test_random(&seed) % (sizeof parts / sizeof parts[0])];
        if (strlen(part) > n - i)
            part = ".";
        memcpy(text + i, part, strlen(part));
        i += strlen(part);
    }
    text[n] = '\0';
    return text;
}

static inline int count_open_files(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        n++;
    closedir(folder);
    return n;
}

#endif

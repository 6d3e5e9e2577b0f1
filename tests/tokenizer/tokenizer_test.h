/* What the tokenizer's tests share. */
#ifndef QUIRE_TESTS_TOKENIZER_TEST_H
#define QUIRE_TESTS_TOKENIZER_TEST_H

#include <jansson.h>
#include <unistd.h>

#include "quire/tokenizer.h"
#include "test.h"

#define DATA QUIRE_SOURCE_DIR "/tests/tokenizer/data/"

/* Ends the program where the tokenizer cannot be opened. */
static inline quire_tokenizer *open_tokenizer(const char *path)
{
    quire_error err = {0};
    quire_tokenizer *tokenizer = NULL;
    REQUIRE_OK(quire_tokenizer_open_path(&tokenizer, path, &err));
    return tokenizer;
}

static inline quire_encoder *open_encoder(const quire_tokenizer *tokenizer, bool parse_special)
{
    quire_error err = {0};
    quire_encoder *encoder = NULL;
    REQUIRE_OK(quire_encoder_open(&encoder, tokenizer, parse_special, &err));
    return encoder;
}

static inline json_t *load_json(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!root) {
        fprintf(stderr, "%s: line %d: %s\n", path, error.line, error.text);
        exit(1);
    }
    return root;
}

/* The bytes of a file and a NUL, malloc'ed. Ends the program where it cannot be read. */
static inline char *read_bytes(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    *n = 0;
    if (file && fseek(file, 0, SEEK_END) == 0)
        *n = (size_t)ftell(file);
    char *bytes = malloc(*n + 1);
    if (!file || !bytes || fseek(file, 0, SEEK_SET) != 0 || fread(bytes, 1, *n, file) != *n) {
        perror(path);
        exit(1);
    }
    bytes[*n] = '\0';
    fclose(file);
    return bytes;
}

/* A new file with these bytes; path has room for 64. */
static inline void write_temporary(char *path, const void *bytes, size_t n)
{
    strcpy(path, "/tmp/quire_tokenizer_XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) != 0) {
        perror(path);
        exit(1);
    }
}

/* The ids of a text that is fed in pieces of `piece` bytes; malloc'ed. */
static inline int32_t *encode_pieces(quire_encoder *encoder, const char *text, size_t n, size_t piece, size_t *n_ids)
{
    quire_error err = {0};
    quire_ids given;
    size_t capacity = 3 * n + 16; /* NFC is at most three times as long as the text */
    int32_t *ids = malloc(capacity * sizeof ids[0]);
    *n_ids = 0;
    for (size_t at = 0;; at += piece) {
        bool is_end = at >= n;
        if (is_end)
            REQUIRE_OK(quire_encoder_finish(encoder, &given, &err));
        else
            REQUIRE_OK(quire_encoder_feed(encoder, text + at, n - at < piece ? n - at : piece, &given, &err));
        if (!ids || given.n_ids > capacity - *n_ids) {
            fprintf(stderr, "more ids than a text of %zu bytes can have\n", n);
            exit(1);
        }
        if (given.n_ids > 0)
            memcpy(ids + *n_ids, given.ids, given.n_ids * sizeof ids[0]);
        *n_ids += given.n_ids;
        if (is_end)
            return ids;
    }
}

/* Fails, naming the test's text, where the two lists differ. */
static inline void check_ids(const char *text, size_t n_text, const int32_t *got, size_t n_got, const int32_t *want,
                             size_t n_want)
{
    size_t same = 0;
    while (same < n_got && same < n_want && got[same] == want[same])
        same++;
    if (same == n_got && same == n_want)
        return;
    test_n_failed_checks++;
    fprintf(stderr, "'%.*s': %zu ids, expected %zu; number %zu is %d, expected %d\n", n_text < 200 ? (int)n_text : 200,
            text, n_got, n_want, same, same < n_got ? got[same] : -1, same < n_want ? want[same] : -1);
}

/* The numbers of a JSON array, malloc'ed. */
static inline int32_t *json_ids(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = malloc((*n + 1) * sizeof ids[0]);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

#endif

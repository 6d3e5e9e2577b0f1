/* Encodes many texts in one process, and decodes them again.
 *
 *     many_texts TOKENIZER [special] <texts >answers
 *
 * texts: a uint32 length and so many bytes of UTF-8, for each. answers, for each: a uint32 count, so many int32 ids, a
 * uint32 length, and the bytes that the ids decode to, special tokens by name. With `special`, text that spells a
 * special token becomes that token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quire/quire.h"

static void need(quire_status status, const quire_error *err)
{
    if (status != QUIRE_OK) {
        fprintf(stderr, "many_texts: %s\n", err->message);
        exit(1);
    }
}

static void *grow(void *p, size_t size)
{
    p = realloc(p, size + 1);
    if (!p) {
        perror("many_texts");
        exit(1);
    }
    return p;
}

static void put(const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, stdout) != n) {
        perror("many_texts: standard output");
        exit(1);
    }
}

static void put_ids(const int32_t *ids, size_t n_ids)
{
    uint32_t n = (uint32_t)n_ids;
    put(&n, sizeof n);
    put(ids, n_ids * sizeof *ids);
}

static void put_decoded(quire_decoder *decoder, const int32_t *ids, size_t n_ids)
{
    static char *text;
    quire_error err = {0};
    const char *bytes;
    size_t n_bytes;
    uint32_t n = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        need(i < n_ids ? quire_decoder_feed(decoder, ids[i], &bytes, &n_bytes, &err)
                       : quire_decoder_finish(decoder, &bytes, &n_bytes, &err),
             &err);
        text = grow(text, n + n_bytes);
        memcpy(text + n, bytes, n_bytes);
        n += (uint32_t)n_bytes;
    }
    put(&n, sizeof n);
    put(text, n);
}

int main(int argc, char **argv)
{
    quire_error err = {0};
    quire_tokenizer *tokenizer;
    quire_decoder *decoder;
    char *text = NULL;
    uint32_t n;
    bool parse_special = argc == 3 && strcmp(argv[2], "special") == 0;
    if (argc != 2 && !parse_special) {
        fprintf(stderr, "usage: many_texts TOKENIZER [special] <texts >answers\n");
        return 2;
    }
    need(quire_tokenizer_open_path(&tokenizer, argv[1], &err), &err);
    need(quire_decoder_open(&decoder, tokenizer, true, &err), &err);
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        int32_t *ids;
        size_t n_ids;
        text = grow(text, n);
        if (fread(text, 1, n, stdin) != n) {
            fprintf(stderr, "many_texts: standard input ends within a text\n");
            return 1;
        }
        need(quire_encode(tokenizer, text, n, parse_special, &ids, &n_ids, &err), &err);
        put_ids(ids, n_ids);
        put_decoded(decoder, ids, n_ids);
        free(ids);
    }
    free(text);
    quire_decoder_close(decoder);
    quire_tokenizer_close(tokenizer);
    return fflush(stdout) == 0 ? 0 : 1;
}

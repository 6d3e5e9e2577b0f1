/* A text, through a tokenizer and back. Byte 0: which tokenizer, and the sizes of the pieces that it is fed in. What
 * comes out does not depend on the pieces, text that is not UTF-8 is refused, and what is decoded is the text's NFC as
 * utf8proc has it (the text itself, where the tokenizer has no normaliser). Anything else ends the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "fuzz.h"
#include "quire/quire.h"

#define DATA QUIRE_SOURCE_DIR "/tests/tokenizer/data/"

static const char *const paths[] = {DATA "tokenizer.json", DATA "spiece/bytes.model", DATA "spiece/code.model",
                                    DATA "spiece/squeeze.model"};
enum { JSON, BYTES, N_TOKENIZERS = 4 };

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static quire_tokenizer *tokenizers[N_TOKENIZERS];

static void close_tokenizers(void)
{
    for (int i = 0; i < N_TOKENIZERS; i++)
        quire_tokenizer_close(tokenizers[i]);
}

static void open_tokenizers(void)
{
    if (tokenizers[0])
        return;
    for (int i = 0; i < N_TOKENIZERS; i++)
        require(quire_tokenizer_open_path(&tokenizers[i], paths[i], NULL) == QUIRE_OK, paths[i]);
    atexit(close_tokenizers);
}

/* A list of ids, or of bytes, that grows by what an encoder or a decoder gives. */
struct list {
    void *items;
    size_t n;
};

static void append(struct list *list, const void *items, size_t n, size_t size)
{
    list->items = realloc(list->items, (list->n + n + 1) * size);
    require(list->items != NULL, "no memory");
    if (n > 0)
        memcpy((char *)list->items + list->n * size, items, n * size);
    list->n += n;
}

static quire_status encode(struct list *ids, const quire_tokenizer *tokenizer, const char *text, size_t n, size_t piece,
                           bool parse_special)
{
    quire_encoder *encoder;
    quire_ids given;
    quire_status status = quire_encoder_open(&encoder, tokenizer, parse_special, NULL);
    for (size_t at = 0; at < n && status == QUIRE_OK; at += piece) {
        status = quire_encoder_feed(encoder, text + at, n - at < piece ? n - at : piece, &given, NULL);
        if (status == QUIRE_OK)
            append(ids, given.ids, given.n_ids, sizeof *given.ids);
    }
    if (status == QUIRE_OK)
        status = quire_encoder_finish(encoder, &given, NULL);
    if (status == QUIRE_OK)
        append(ids, given.ids, given.n_ids, sizeof *given.ids);
    quire_encoder_close(encoder);
    return status;
}

static void decode(struct list *text, const quire_tokenizer *tokenizer, const struct list *ids)
{
    quire_decoder *decoder;
    const char *bytes;
    size_t n;
    require(quire_decoder_open(&decoder, tokenizer, true, NULL) == QUIRE_OK, "no decoder");
    for (size_t i = 0; i < ids->n; i++) {
        require(quire_decoder_feed(decoder, ((const int32_t *)ids->items)[i], &bytes, &n, NULL) == QUIRE_OK,
                "an id that was given has no token");
        append(text, bytes, n, 1);
    }
    quire_decoder_finish(decoder, &bytes, &n, NULL);
    append(text, bytes, n, 1);
    quire_decoder_close(decoder);
}

/* The NFC of a text, as utf8proc has it; malloc'ed. */
static struct list nfc(const void *text, size_t n)
{
    utf8proc_uint8_t *items;
    utf8proc_ssize_t n_items = utf8proc_map(text, (utf8proc_ssize_t)n, &items, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    require(n_items >= 0, "valid UTF-8 that utf8proc refuses");
    return (struct list){items, (size_t)n_items};
}

static void check_back(int which, const struct list *ids, const char *text, size_t n)
{
    struct list back = {0};
    decode(&back, tokenizers[which], ids);
    if (which == JSON) {
        /* An added token decodes to what its file has, which need not be NFC. */
        struct list want = nfc(text, n), got = nfc(back.items, back.n);
        require(got.n == want.n && memcmp(got.items, want.items, got.n) == 0, "what is decoded is not the text's NFC");
        free(want.items);
        free(got.items);
    } else if (which == BYTES && !memmem(text, n, "\xE2\x96\x81", 3)) { /* a space is spelt so, too */
        require(back.n == n && (n == 0 || memcmp(back.items, text, n) == 0), "what is decoded is not the text");
    }
    free(back.items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1, 2, 3, 5, 17, 64, 4096, 65537};
    if (size < 1)
        return 0;
    open_tokenizers();
    int which = data[0] % N_TOKENIZERS;
    size_t piece = pieces[data[0] >> 2 & 7], n = size - 1;
    bool parse_special = data[0] >> 5 & 1;
    const char *text = (const char *)data + 1;
    struct list whole = {0}, parts = {0};
    quire_status status = encode(&whole, tokenizers[which], text, n, n + 1, parse_special);
    require(status == QUIRE_OK || status == QUIRE_ERR_TEXT, "an error that is not the text's");
    require(encode(&parts, tokenizers[which], text, n, piece, parse_special) == status, "pieces give another status");
    if (status == QUIRE_OK) {
        require(whole.n == parts.n && (whole.n == 0 || memcmp(whole.items, parts.items, whole.n * 4) == 0),
                "pieces give other ids");
        if (!parse_special)
            check_back(which, &whole, text, n);
    }
    free(whole.items);
    free(parts.items);
    return 0;
}

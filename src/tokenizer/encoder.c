/* Encoding, stage by stage. Each stage holds back what a later byte could still change:
 *
 *     bytes -> characters      a character that is not complete
 *     -> added tokens, raw     the start of what may become one
 *     -> NFC                   the last character and the marks behind it
 *     -> added tokens, normal  the start of what may become one
 *     -> words                 the last word
 *     -> ids                   nothing
 *
 * With a SentencePiece vocabulary the last two are others:
 *
 *     -> spaces                those that may be the text's last
 *     -> ids                   what has more than one way to go on (unigram.c)
 *
 * An added token ends the text for the stages behind it: nothing composes and no word goes on across it. */
#include "tokenizer_private.h"

#include "base/utf8.h"
#include "bpe.h"
#include "nfc.h"
#include "pretokenize.h"
#include "spaces.h"
#include "unigram.h"

/* What the stages see at a time: their buffers stay small, and in the cache, however much is fed at once. */
#define BLOCK_BYTES ((size_t)64 << 10)

struct quire_encoder {
    const struct quire_tokenizer *tokenizer;
    uint64_t n_fed; /* bytes of this text that were taken, those of an unfinished character not counted */
    uint8_t partial[UTF8_MAX];
    size_t n_partial;
    struct added_search raw, normalized;
    struct nfc nfc;
    struct pretokenizer pretokenizer;
    struct bpe bpe;
    struct spaces spaces;
    struct unigram unigram;
    struct id_list ids;
};

/* --- the stages, last one first ----------------------------------------------------------------------------------- */

static quire_status encode_words(struct quire_encoder *encoder, bool is_end, quire_error *err)
{
    const uint8_t *word;
    size_t n;
    quire_status status = QUIRE_OK;
    while (status == QUIRE_OK && pretokenizer_next(&encoder->pretokenizer, is_end, &word, &n))
        status = bpe_encode(&encoder->bpe, word, n, &encoder->ids, err);
    return status;
}

static quire_status take_spaced_text(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    struct quire_encoder *encoder = context;
    return unigram_feed(&encoder->unigram, text, n, &encoder->ids, err);
}

static quire_status take_segment_text(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    struct quire_encoder *encoder = context;
    if (encoder->tokenizer->vocab.pieces) {
        struct sink sink = {encoder, take_spaced_text, NULL};
        return spaces_feed(&encoder->spaces, text, n, &sink, err);
    }
    quire_status status = pretokenizer_feed(&encoder->pretokenizer, text, n, err);
    return status == QUIRE_OK ? encode_words(encoder, false, err) : status;
}

static quire_status finish_segment(struct quire_encoder *encoder, quire_error *err)
{
    if (!encoder->tokenizer->vocab.pieces)
        return encode_words(encoder, true, err);
    spaces_finish(&encoder->spaces);
    return unigram_finish(&encoder->unigram, &encoder->ids, err);
}

static quire_status take_normalized_token(void *context, int32_t id, quire_error *err)
{
    struct quire_encoder *encoder = context;
    quire_status status = finish_segment(encoder, err);
    return status == QUIRE_OK ? id_list_append(&encoder->ids, &id, 1, err) : status;
}

static quire_status take_normalized_text(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    struct quire_encoder *encoder = context;
    struct sink sink = {encoder, take_segment_text, take_normalized_token};
    return added_search_feed(&encoder->normalized, text, n, &sink, err);
}

static quire_status take_raw_text(void *context, const uint8_t *text, size_t n, quire_error *err)
{
    struct quire_encoder *encoder = context;
    if (!encoder->tokenizer->vocab.is_nfc)
        return take_normalized_text(encoder, text, n, err);
    struct sink sink = {encoder, take_normalized_text, NULL};
    return nfc_feed(&encoder->nfc, text, n, &sink, err);
}

/* Everything behind the first search, to its end. */
static quire_status finish_raw_text(struct quire_encoder *encoder, quire_error *err)
{
    struct sink normalized = {encoder, take_normalized_text, NULL};
    struct sink segment = {encoder, take_segment_text, take_normalized_token};
    quire_status status = nfc_finish(&encoder->nfc, &normalized, err);
    if (status == QUIRE_OK)
        status = added_search_finish(&encoder->normalized, &segment, err);
    return status == QUIRE_OK ? finish_segment(encoder, err) : status;
}

static quire_status take_raw_token(void *context, int32_t id, quire_error *err)
{
    struct quire_encoder *encoder = context;
    quire_status status = finish_raw_text(encoder, err);
    return status == QUIRE_OK ? id_list_append(&encoder->ids, &id, 1, err) : status;
}

static struct sink raw_sink(struct quire_encoder *encoder)
{
    return (struct sink){encoder, take_raw_text, take_raw_token};
}

/* --- bytes to characters ------------------------------------------------------------------------------------------ */

static quire_status take_characters(struct quire_encoder *encoder, const uint8_t *text, size_t n, quire_error *err)
{
    struct sink sink = raw_sink(encoder);
    encoder->n_fed += n;
    return added_search_feed(&encoder->raw, text, n, &sink, err);
}

static quire_status invalid(const struct quire_encoder *encoder, const char *found, quire_error *err)
{
    return quire_fail(err, QUIRE_ERR_TEXT, "the text is not valid UTF-8: %s at byte %llu", found,
                      (unsigned long long)encoder->n_fed);
}

/* Takes bytes until the character that the last feed ended in is complete. *n_taken: how many. */
static quire_status complete_partial(struct quire_encoder *encoder, const uint8_t *bytes, size_t n, size_t *n_taken,
                                     quire_error *err)
{
    *n_taken = 0;
    while (encoder->n_partial > 0 && *n_taken < n) {
        encoder->partial[encoder->n_partial++] = bytes[(*n_taken)++];
        struct utf8_scan scan = utf8_scan(encoder->partial, encoder->n_partial);
        if (scan.n_invalid > 0)
            return invalid(encoder, "a character breaks off", err);
        if (scan.n_valid == 0)
            continue;
        encoder->n_partial = 0;
        return take_characters(encoder, encoder->partial, scan.n_valid, err);
    }
    return QUIRE_OK;
}

static quire_status take_bytes(struct quire_encoder *encoder, const uint8_t *bytes, size_t n, quire_error *err)
{
    size_t at = 0;
    quire_status status = complete_partial(encoder, bytes, n, &at, err);
    while (status == QUIRE_OK && at < n) {
        struct utf8_scan scan = utf8_scan(bytes + at, size_min(n - at, BLOCK_BYTES));
        if (scan.n_valid > 0)
            status = take_characters(encoder, bytes + at, scan.n_valid, err);
        at += scan.n_valid;
        if (status == QUIRE_OK && scan.n_invalid > 0)
            return invalid(encoder, "no character starts or it breaks off", err);
        if (scan.n_valid == 0) {
            encoder->n_partial = n - at;
            memcpy(encoder->partial, bytes + at, encoder->n_partial);
            break;
        }
    }
    return status;
}

static quire_status finish_text(struct quire_encoder *encoder, quire_error *err)
{
    if (encoder->n_partial > 0)
        return invalid(encoder, "the text ends within the character", err);
    struct sink sink = raw_sink(encoder);
    quire_status status = added_search_finish(&encoder->raw, &sink, err);
    return status == QUIRE_OK ? finish_raw_text(encoder, err) : status;
}

/* --- the interface ------------------------------------------------------------------------------------------------ */

static void start_text(struct quire_encoder *encoder)
{
    encoder->n_fed = 0;
    encoder->n_partial = 0;
    encoder->raw.n_held = 0;
    encoder->normalized.n_held = 0;
    nfc_reset(&encoder->nfc);
    pretokenizer_reset(&encoder->pretokenizer);
    spaces_reset(&encoder->spaces);
    unigram_reset(&encoder->unigram);
}

quire_status quire_encoder_open(quire_encoder **out, const quire_tokenizer *tokenizer, bool parse_special,
                                quire_error *err)
{
    struct quire_encoder *encoder = mem_calloc(1, sizeof *encoder, "an encoder", err);
    if (!encoder)
        return QUIRE_ERR_NO_MEMORY;
    quire_status status = tokenizer->vocab.pieces ? QUIRE_OK : bpe_init(&encoder->bpe, &tokenizer->vocab, err);
    if (status != QUIRE_OK) {
        free(encoder);
        return status;
    }
    encoder->tokenizer = tokenizer;
    added_search_init(&encoder->raw, &tokenizer->added[parse_special][ADDED_RAW]);
    added_search_init(&encoder->normalized, &tokenizer->added[parse_special][ADDED_NORMALIZED]);
    nfc_init(&encoder->nfc, tokenizer->unicode);
    pretokenizer_init(&encoder->pretokenizer, tokenizer->unicode);
    spaces_init(&encoder->spaces, tokenizer->vocab.pieces);
    unigram_init(&encoder->unigram, &tokenizer->vocab);
    *out = encoder;
    return QUIRE_OK;
}

void quire_encoder_close(quire_encoder *encoder)
{
    if (!encoder)
        return;
    nfc_release(&encoder->nfc);
    pretokenizer_release(&encoder->pretokenizer);
    bpe_release(&encoder->bpe);
    spaces_release(&encoder->spaces);
    unigram_release(&encoder->unigram);
    free(encoder->ids.ids);
    free(encoder);
}

/* The end of both calls: what they give, or, after an error, an encoder that is ready for another text. */
static quire_status give_ids(struct quire_encoder *encoder, quire_status status, quire_ids *out)
{
    if (status == QUIRE_OK)
        *out = (quire_ids){encoder->ids.ids, encoder->ids.n};
    else
        start_text(encoder);
    return status;
}

quire_status quire_encoder_feed(quire_encoder *encoder, const char *bytes, size_t n, quire_ids *out, quire_error *err)
{
    encoder->ids.n = 0;
    return give_ids(encoder, take_bytes(encoder, (const uint8_t *)bytes, n, err), out);
}

quire_status quire_encoder_finish(quire_encoder *encoder, quire_ids *out, quire_error *err)
{
    encoder->ids.n = 0;
    quire_status status = finish_text(encoder, err);
    start_text(encoder);
    return give_ids(encoder, status, out);
}

quire_status quire_encode(const quire_tokenizer *tokenizer, const char *bytes, size_t n, bool parse_special,
                          int32_t **ids, size_t *n_ids, quire_error *err)
{
    quire_encoder *encoder = NULL;
    quire_status status = quire_encoder_open(&encoder, tokenizer, parse_special, err);
    if (status == QUIRE_OK)
        status = take_bytes(encoder, (const uint8_t *)bytes, n, err);
    if (status == QUIRE_OK)
        status = finish_text(encoder, err);
    if (status == QUIRE_OK)
        status = id_list_reserve(&encoder->ids, 1, err); /* so that no text, too, has a list to free */
    if (status == QUIRE_OK) {
        *ids = encoder->ids.ids;
        *n_ids = encoder->ids.n;
        encoder->ids = (struct id_list){0}; /* the caller's now */
    }
    quire_encoder_close(encoder);
    return status;
}
